"""The agent's way to its server: looked up, connected, and after every failure tried again, for ever."""

import math
import os
from collections.abc import Callable
from typing import Any

from frota.core.backoff import Backoff, jittered
from frota.cpu_metrics import messages
from frota.cpu_metrics.agent.delivery import (
    ConnectionRejected,
    LegacyDelivery,
    NameConflict,
    NativeDelivery,
    NoServerError,
)
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.agent.tcp_link import Link, Lookup
from frota.cpu_metrics.messages import Sample
from frota.cpu_metrics.settings import AgentSettings
from frota.logs import log

_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.25, 5.0
_FIRST_CONFLICT_PAUSE_S, _MAX_CONFLICT_PAUSE_S = 5.0, 60.0  # while another agent has the name
_NAME_SETTLED_S = 60.0  # of a connection, after which the name is taken for this agent's own


class Uplink:
    """Delivers what is in the spool; without one, every sample once, as the original does.

    `wake` lets the agent's loop call `step`, from whatever thread.
    """

    def __init__(self, config: AgentSettings, spool: Spool | None, wake: Callable[[], None]) -> None:
        self._config, self._spool, self._wake = config, spool, wake
        self._server = f"{config.host}:{config.port}"
        self._lookup: Lookup | None = None
        self._addresses: list[tuple[int, Any]] = []
        self._delivery: NativeDelivery | LegacyDelivery | None = None
        self._connected = False
        self._instance = os.urandom(16).hex()  # of this process
        self._failures = Backoff(_FIRST_PAUSE_S, _MAX_PAUSE_S)  # since the server was last seen to work
        self._conflicts = Backoff(_FIRST_CONFLICT_PAUSE_S, _MAX_CONFLICT_PAUSE_S)  # since the name was its own
        self._settled_at = math.inf
        self._logged_reason = ""  # the reason that the log has already
        self._logged_lost = 0  # samples that the log has already
        self._retry_at = 0.0

    @property
    def link(self) -> Link | None:
        """The connection to wait for, if there is one."""
        return self._delivery.link if self._delivery else None

    @property
    def deadline(self) -> float:
        """When `step` is due at the latest, on the monotonic clock."""
        if self._delivery:
            return self._delivery.deadline
        return math.inf if self._lookup else self._retry_at

    def step(self, now: float, sample: Sample | None = None) -> None:
        """Do what can be done now; `sample` is one that was just made."""
        try:
            if self._delivery is None:
                self._connect(now)
            if self._delivery:
                self._delivery.step(now, sample)
                self._check_progress(self._delivery, now)
        except (OSError, ConnectionRejected, NoServerError) as error:
            self._fail(error, now)

    def reconfigure(self, config: AgentSettings) -> None:
        """Tell the server of another interval."""
        told = config.interval == self._config.interval
        self._config = config
        if isinstance(self._delivery, NativeDelivery) and not told:
            try:
                self._delivery.reconfigure(self._hello(), config.interval)
            except OSError:
                return  # the next step finds out, and tells

    def close(self) -> None:
        """End the connection."""
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
        """See whether the connection has got further."""
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
            total = self._logged_lost
            text = f"{lost} samples are lost: they waited for too long, or their agent was killed; {total} in all"
            log.record("WARNING", "samples_lost", text, COUNT=lost)

    def _fail(self, error: Exception, now: float) -> None:
        self.close()
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, OSError) and not self._connected and self._addresses:
            self._retry_at = now  # the host has another address
            return
        self._log_failure(error, reason)
        self._addresses, self._connected, self._logged_reason = [], False, reason
        self._settled_at = math.inf
        self._retry_at = now + self._pause(error)

    def _pause(self, error: Exception) -> float:
        if isinstance(error, NameConflict):
            return self._conflicts.pause()
        self._failures.max_s = max(1.0, min(_MAX_PAUSE_S, self._config.interval))
        pause = self._failures.pause()
        # A server that refused will do so again a moment later.
        return pause if isinstance(error, OSError) else jittered(self._failures.max_s)

    def _log_failure(self, error: Exception, reason: str) -> None:
        """Log a failure: each answer of a server, but what no server says, or each says again, only when it is new."""
        waiting = f"; {len(self._spool)} samples wait" if self._spool else ""
        if isinstance(error, NameConflict):
            if reason == self._logged_reason:
                return
            event, text = "name_conflict", f"another agent, {reason}, is called {self._config.called}, too: give one of"
            text += f" them another name (CPU_NAME, --name); until then {self._server} takes nothing from here"
        elif isinstance(error, ConnectionRejected):
            event, text = "connection_rejected", f"{self._server} refuses: {reason}"
        elif isinstance(error, NoServerError):
            event, text = "wrong_server", f"{self._server} is no server of ours: {reason}"
        elif self._connected:
            event, text = "disconnected", f"connection to {self._server} lost: {reason}"
        elif reason != self._logged_reason:
            event, text = "connect_failed", f"no connection to {self._server}: {reason}"
        else:
            return
        log.record("WARNING", event, text + waiting, PEER=self._server, REASON=reason)
