"""The outbox: status events that a stopping worker could not publish, in a file for its next start."""

from collections.abc import Sequence
from pathlib import Path

from frota.core.errors import MalformedMessage
from frota.images.messages import StatusEvent
from frota.logs import log
from frota.storage import files

_MAX_EVENTS = 10_000  # of half a KiB each


class Outbox:
    """Events in `directory`, one per line. They stay until all are published: duplicates are harmless.

    A disk error is only logged: the results themselves are in S3.
    """

    def __init__(self, directory: Path, max_events: int = _MAX_EVENTS) -> None:
        self._max_events = max_events
        self._file = directory / "owed.jsonl"

    def read(self) -> list[StatusEvent]:
        """Return the stored events; malformed lines are skipped, and logged once."""
        try:
            lines = self._file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            log.record("ERROR", "outbox_failed", f"cannot read status events of {self._file}: {error}")
            return []
        events: list[StatusEvent] = []
        first_error = ""
        for line in lines:
            try:
                events.append(StatusEvent.read(line))
            except MalformedMessage as error:
                first_error = first_error or str(error)
        if bad := len(lines) - len(events):
            text = f"{self._file}: {bad} lines are damaged and skipped, their results are not reported: {first_error}"
            log.record("ERROR", "outbox_failed", text, COUNT=bad)
        return events

    def replace(self, events: Sequence[StatusEvent]) -> None:
        """Replace the stored events; return when the new ones are on disk."""
        if len(events) > self._max_events:
            lost = len(events) - self._max_events
            text = f"the outbox holds {self._max_events} status events: {lost} older ones are lost"
            log.record("ERROR", "outbox_failed", text, COUNT=lost)
        try:
            if events:
                files.replace(self._file, (event.encode() + b"\n" for event in events[-self._max_events :]))
            else:
                self._file.unlink(missing_ok=True)
        except OSError as error:
            log.record("ERROR", "outbox_failed", f"{self._file}: {len(events)} status events lost: {error}")
