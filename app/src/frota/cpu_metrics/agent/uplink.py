"""The agent's way to its server: looked up, connected, and after every failure tried again, for ever."""

import math
import os
from collections.abc import Callable
from typing import Any

from frota.core.backoff import Backoff, jittered
from frota.cpu_metrics import messages
from frota.cpu_metrics.agent.delivery import NameTakenError, Native, NoServerError, Original, RefusedError
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.agent.tcp_link import Link, Lookup
from frota.cpu_metrics.messages import Sample
from frota.cpu_metrics.settings import AgentSettings
from frota.logs import log

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 5.0
_NAME_PAUSE_SECONDS, _LONGEST_NAME_PAUSE_SECONDS = 5.0, 60.0  # while another agent has the name
_SETTLED_SECONDS = 60.0  # of a connection, after which the name is taken for this agent's own


class Uplink:
    """Delivers what is in the spool; without one, every sample once, as the original does.

    `awaken` lets the agent's loop call `step`, from whatever thread.
    """

    def __init__(self, config: AgentSettings, spool: Spool | None, awaken: Callable[[], None]) -> None:
        self._config, self._spool, self._awaken = config, spool, awaken
        self._where = f"{config.host}:{config.port}"
        self._lookup: Lookup | None = None
        self._addresses: list[tuple[int, Any]] = []
        self._delivery: Native | Original | None = None
        self._connected = False
        self._instance = os.urandom(16).hex()  # of this process
        self._failures = Backoff(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)  # since the server was last seen to work
        self._conflicts = Backoff(_NAME_PAUSE_SECONDS, _LONGEST_NAME_PAUSE_SECONDS)  # since the name was its own
        self._settled = math.inf
        self._told = ""  # the reason that the log has already
        self._lost = 0  # samples that the log has already
        self._retry = 0.0

    @property
    def link(self) -> Link | None:
        """The connection to wait for, if there is one."""
        return self._delivery.link if self._delivery else None

    @property
    def deadline(self) -> float:
        """When `step` is due at the latest, on the monotonic clock."""
        if self._delivery:
            return self._delivery.deadline
        return math.inf if self._lookup else self._retry

    def step(self, now: float, sample: Sample | None = None) -> None:
        """Do what can be done now; `sample` is one that was just made."""
        try:
            if self._delivery is None:
                self._connect(now)
            if self._delivery:
                self._delivery.step(now, sample)
                self._look(self._delivery, now)
        except (OSError, RefusedError, NoServerError) as error:
            self._failed(error, now)

    def reconfigure(self, config: AgentSettings) -> None:
        """Tell the server of another interval."""
        told = config.interval == self._config.interval
        self._config = config
        if isinstance(self._delivery, Native) and not told:
            try:
                self._delivery.changed(self._hello(), config.interval)
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
                if now < self._retry:
                    return
                self._lookup = Lookup(self._config.host, self._config.port, self._awaken)
            try:
                found = self._lookup.addresses()
            except OSError:
                self._lookup = None
                raise
            if found is None:
                return
            self._addresses, self._lookup = found, None
        link = Link(*self._addresses.pop(0))
        if self._spool is None:
            self._delivery = Original(link, now)
        else:
            self._delivery = Native(link, self._spool, self._hello(), self._config.interval, now)

    def _hello(self) -> bytes:
        run, acked = (self._spool.run, self._spool.acked) if self._spool is not None else ("", 0)
        return messages.hello(self._config.called, run, self._config.interval, acked, self._instance)

    def _look(self, delivery: Native | Original, now: float) -> None:
        """See whether the connection has got further."""
        if delivery.greeted and not self._connected:
            self._connected, self._told = True, ""
            self._settled = now + _SETTLED_SECONDS
            self._addresses = []
            log.record("INFO", "connected", messages.CONNECTED.format(self._where), PEER=self._where)
        if delivery.proven:
            self._failures.reset()
        if now >= self._settled:
            self._conflicts.reset()
            self._settled = math.inf
        if self._spool is not None and (lost := self._spool.lost - self._lost):
            self._lost += lost
            text = f"{lost} samples are lost: they waited for too long, or their agent was killed; {self._lost} in all"
            log.record("WARNING", "samples_lost", text, COUNT=lost)

    def _failed(self, error: Exception, now: float) -> None:
        self.close()
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, OSError) and not self._connected and self._addresses:
            self._retry = now  # the host has another address
            return
        self._tell(error, reason)
        self._addresses, self._connected, self._told = [], False, reason
        self._settled = math.inf
        self._retry = now + self._pause(error)

    def _pause(self, error: Exception) -> float:
        if isinstance(error, NameTakenError):
            return self._conflicts.pause()
        self._failures.max_s = max(1.0, min(_LONGEST_PAUSE_SECONDS, self._config.interval))
        pause = self._failures.pause()
        # A server that refused will do so again a moment later.
        return pause if isinstance(error, OSError) else jittered(self._failures.max_s)

    def _tell(self, error: Exception, reason: str) -> None:
        """Log a failure: each answer of a server, but what no server says, or each says again, only when it is new."""
        waiting = f"; {len(self._spool)} samples wait" if self._spool else ""
        if isinstance(error, NameTakenError):
            if reason == self._told:
                return
            event, text = "name_conflict", f"another agent, {reason}, is called {self._config.called}, too: give one of"
            text += f" them another name (CPU_NAME, --name); until then {self._where} takes nothing from here"
        elif isinstance(error, RefusedError):
            event, text = "connection_rejected", f"{self._where} refuses: {reason}"
        elif isinstance(error, NoServerError):
            event, text = "wrong_server", f"{self._where} is no server of ours: {reason}"
        elif self._connected:
            event, text = "disconnected", f"connection to {self._where} lost: {reason}"
        elif reason != self._told:
            event, text = "connect_failed", f"no connection to {self._where}: {reason}"
        else:
            return
        log.record("WARNING", event, text + waiting, PEER=self._where, REASON=reason)
