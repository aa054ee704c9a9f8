"""The agent's connection to its server: look up, connect, deliver, and reconnect with backoff after each failure."""

import math
import os
from collections.abc import Callable
from typing import Any

from frota.core.backoff import Backoff, jittered
from frota.core.errors import ConnectionRejected, WrongServer
from frota.cpu import messages
from frota.cpu.agent.delivery import LegacyDelivery, NameConflict, NativeDelivery, SampleRejected
from frota.cpu.agent.spool import Spool
from frota.cpu.agent.tcp_link import Link, Lookup
from frota.cpu.messages import Sample
from frota.cpu.settings import AgentSettings
from frota.logs import log

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.25, 5.0
_FIRST_CONFLICT_PAUSE_S, _MAX_CONFLICT_PAUSE_S = 5.0, 60.0  # while the server serves another agent of the same name
_NAME_SETTLED_S = 60.0  # after which a connection shows that no other agent has the name


class Uplink:
    """Delivers the samples of the spool; without one (the legacy protocol), each sample once.

    `wake` makes the agent's loop call `step`; any thread may call it. Times are of the monotonic clock, in seconds.
    """

    def __init__(self, config: AgentSettings, spool: Spool | None, wake: Callable[[], None]) -> None:
        self._config, self._spool, self._wake = config, spool, wake
        self._server = f"{config.host}:{config.port}"
        self._lookup: Lookup | None = None
        self._addresses: list[tuple[int, Any]] = []  # not tried yet
        self._delivery: NativeDelivery | LegacyDelivery | None = None
        self._connected = False
        self._instance = os.urandom(16).hex()  # id of this process
        self._failures = Backoff(_FIRST_PAUSE_S, _MAX_PAUSE_S)  # reset by a delivered sample
        self._conflicts = Backoff(_FIRST_CONFLICT_PAUSE_S, _MAX_CONFLICT_PAUSE_S)  # reset when the name is settled
        self._settled_at = math.inf
        self._retry_at = 0.0
        self._logged_reason = ""
        self._logged_lost = 0  # samples

    @property
    def link(self) -> Link | None:
        """The connection to poll, if there is one."""
        return self._delivery.link if self._delivery else None

    @property
    def connected(self) -> bool:
        """Whether the server has accepted the connection."""
        return self._connected

    @property
    def deadline(self) -> float:
        """When `step` must be called at the latest."""
        if self._delivery:
            return self._delivery.deadline
        return math.inf if self._lookup else self._retry_at

    def step(self, now: float, sample: Sample | None = None) -> None:
        """Connect, send and receive as far as possible without blocking; `sample` is a new one, also in the spool."""
        try:
            if self._delivery is None:
                self._connect(now)
            if self._delivery:
                self._delivery.step(now, sample)
                self._check_progress(self._delivery, now)
        except OSError as error:
            self._fail(error, now)

    def reconfigure(self, config: AgentSettings) -> None:
        """Use other settings; announce a new interval to the server."""
        changed = config.interval != self._config.interval
        self._config = config
        if isinstance(self._delivery, NativeDelivery) and changed:
            try:
                self._delivery.reconfigure(self._hello(), config.interval)
            except OSError:
                return  # the next step fails, too, and logs it

    def close(self) -> None:
        """Close the connection."""
        if self._delivery:
            self._delivery.link.close()
            self._delivery = None

    def _connect(self, now: float) -> None:
        if not self._addresses:
            if self._lookup is None:
                if now < self._retry_at:
                    return
                self._lookup = Lookup(self._config.host, self._config.port, self._wake)
            try:
                addresses = self._lookup.addresses()
            except OSError:
                self._lookup = None
                raise
            if addresses is None:
                return
            self._addresses, self._lookup = addresses, None
        link = Link(*self._addresses.pop(0))
        if self._spool is None:
            self._delivery = LegacyDelivery(link, now)
        else:
            self._delivery = NativeDelivery(link, self._spool, self._hello(), self._config.interval, now)

    def _hello(self) -> bytes:
        run, acked = (self._spool.run, self._spool.acked) if self._spool is not None else ("", 0)
        return messages.hello(self._config.called, run, self._config.interval, acked, self._instance)

    def _check_progress(self, delivery: NativeDelivery | LegacyDelivery, now: float) -> None:
        """Log a new connection and lost samples; reset the backoff if the connection works."""
        if delivery.established and not self._connected:
            self._connected, self._logged_reason = True, ""
            self._settled_at = now + _NAME_SETTLED_S
            self._addresses = []
            log.record("INFO", "connected", messages.CONNECTED.format(self._server), PEER=self._server)
        if delivery.delivered:
            self._failures.reset()
        if now >= self._settled_at:
            self._conflicts.reset()
            self._settled_at = math.inf
        if self._spool is not None and (lost := self._spool.lost - self._logged_lost):
            self._logged_lost += lost
            causes = "spool full, rejected by the server, or agent killed"
            text = f"{lost} samples are lost ({causes}); {self._logged_lost} since the start"
            log.record("WARNING", "samples_lost", text, COUNT=lost)

    def _fail(self, error: OSError, now: float) -> None:
        self.close()
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if not _answered(error) and not self._connected and self._addresses:
            self._retry_at = now  # the host has another address
            return
        self._log_failure(error, reason)
        self._addresses, self._connected, self._logged_reason = [], False, reason
        self._settled_at = math.inf
        self._retry_at = now + self._pause(error)

    def _pause(self, error: OSError) -> float:
        """Return the seconds until the next attempt."""
        if isinstance(error, NameConflict):
            return self._conflicts.pause()
        self._failures.max_s = max(1.0, min(_MAX_PAUSE_S, self._config.interval))
        pause = self._failures.pause()
        # A server that answered with an error will most likely do so again a moment later.
        return jittered(self._failures.max_s) if _answered(error) else pause

    def _log_failure(self, error: OSError, reason: str) -> None:
        """Log each error that a server answered and each lost connection; a repeated reason of the others once."""
        suffix = f"; {len(self._spool)} samples wait in the spool" if self._spool else ""
        if isinstance(error, NameConflict):
            if reason == self._logged_reason:
                return
            event, text = "name_conflict", f"another agent, {reason}, has the name {self._config.called}, too: rename"
            text += f" one of them (CPU_NAME, --name); until then {self._server} accepts no samples from this one"
        elif isinstance(error, ConnectionRejected):
            event, text = "connection_rejected", f"{self._server} rejected the connection: {reason}"
        elif isinstance(error, WrongServer):
            event, text = "wrong_server", f"{self._server} is no metrics server: {reason}"
        elif self._connected:
            event, text = "disconnected", f"connection to {self._server} lost: {reason}"
        elif reason != self._logged_reason:
            event, text = "connect_failed", f"no connection to {self._server}: {reason}"
        else:
            return
        log.record("WARNING", event, text + suffix, PEER=self._server, REASON=reason, **self._trace_field(error))

    def _trace_field(self, error: OSError) -> dict[str, Any]:
        """Return the field with the trace id of a rejected sample, which the server logs, too."""
        if self._spool is None or not isinstance(error, SampleRejected):
            return {}
        from frota.core import trace  # here: its hashes are memory that the agent saves

        return {"TRACE_ID": trace.derive(self._spool.run, error.number)}


def _answered(error: OSError) -> bool:
    """Tell whether a server answered, though not as the agent needs it."""
    return isinstance(error, ConnectionRejected | WrongServer)
