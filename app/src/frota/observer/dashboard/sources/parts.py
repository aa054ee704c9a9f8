"""The state of each part of the fleet as the page shows it: not configured, waiting, ok, or why it is unavailable."""

from collections.abc import Callable
from typing import Any

from frota.logs import log
from frota.logs.log import printable

NOT_CONFIGURED, WAITING, OK, UNAVAILABLE = "not configured", "waiting", "ok", "unavailable"
PARTS = ("prometheus", "sensors", "images", "list", "cpu", "peers", "journals")
_MAX_REASON_CHARACTERS = 300


class Parts:
    """The states; `changed` is called after a change."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.states: dict[str, dict[str, Any]] = {name: {"state": NOT_CONFIGURED} for name in PARTS}

    def configure(self, name: str) -> None:
        """Note that a part is configured."""
        self.states[name] = {"state": WAITING}

    def ok(self, name: str) -> None:
        """Note that a part answers."""
        if self.states[name]["state"] == UNAVAILABLE:
            log.record("INFO", "part_available", f"{name}: available again", PART=name)
        self._set(name, {"state": OK})

    def unavailable(self, name: str, reason: str) -> None:
        """Note why a part does not answer; logged once, until it answers again."""
        reason = printable(reason)[:_MAX_REASON_CHARACTERS]
        if self.states[name]["state"] != UNAVAILABLE:
            log.record("WARNING", "part_unavailable", f"{name}: {reason}", PART=name)
        self._set(name, {"state": UNAVAILABLE, "reason": reason})

    def _set(self, name: str, state: dict[str, Any]) -> None:
        if state != self.states[name]:
            self.states[name] = state
            self._changed()
