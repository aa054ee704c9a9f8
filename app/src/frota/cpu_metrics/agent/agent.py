"""The agent: measures at an interval, keeps what is not delivered, and lives in one loop without a framework.

Half of the memory of a small Python process is what it imports: no event loop, no log library, no TLS here.
"""

import math
import select
import signal
import time
from collections.abc import Callable

from frota.core import commands, systemd
from frota.core.errors import StateError
from frota.core.settings import SettingsError
from frota.cpu_metrics.agent.sampling import FIRST_SECONDS, Sampler
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.agent.spool_file import SpoolFile
from frota.cpu_metrics.agent.uplink import Uplink
from frota.cpu_metrics.agent.wakeups import Wakeups
from frota.cpu_metrics.messages import Sample
from frota.cpu_metrics.settings import AGENT_UNIT, PREFIX, SYSTEM, AgentSettings
from frota.logs import log


def run(config: AgentSettings, reread: Callable[[], AgentSettings]) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit status."""
    wakeups = Wakeups()
    try:
        sampler = Sampler()
        if config.protocol == "original":
            return Agent(config, reread, sampler, wakeups, None).live()
        folder = SpoolFile(config.directory)
        spool = folder.take(config.keep_samples, config.interval)
    except (StateError, OSError) as error:
        log.record("ERROR", "start_failed", f"cannot start: {error}")
        return 1
    try:
        agent = Agent(config, reread, sampler, wakeups, spool)
        agent.folder = folder
        return agent.live()
    finally:
        _leave(folder, spool)


def _leave(folder: SpoolFile, spool: Spool) -> None:
    try:
        folder.leave(spool)
    except OSError as error:
        text = f"{len(spool)} samples wait, but cannot be written; what is not on disk already is lost: {error}"
        log.record("ERROR", "spool_failed", text, COUNT=len(spool))
    else:
        log.record("INFO", "stopped", f"stopped; {len(spool)} samples wait for the next start", COUNT=len(spool))
    folder.close()


class Agent:
    """The loop: a sample when one is due, a step of the uplink, whatever signals and systemd want."""

    def __init__(
        self,
        config: AgentSettings,
        reread: Callable[[], AgentSettings],
        sampler: Sampler,
        wakeups: Wakeups,
        spool: Spool | None,
    ) -> None:
        self._config, self._reread, self._sampler, self._wakeups = config, reread, sampler, wakeups
        self._spool = spool
        self.folder: SpoolFile | None = None  # where what waits is written
        self._uplink = Uplink(config, spool, wakeups.awaken)
        self._due = time.monotonic() + FIRST_SECONDS
        self._sampled: float | None = None  # when the last one was due
        self._ready = self._overflowing = self._failing = self._forgetful = False
        self._watchdog = systemd.watchdog_seconds()
        self._feed = 0.0 if self._watchdog else math.inf

    def live(self) -> int:
        """Go round until a signal ends it."""
        while True:
            for number in self._wait():
                if number == signal.SIGHUP:
                    self._reload()
                elif number:
                    systemd.notify("STOPPING=1")
                    self._uplink.close()
                    return 0
            now = time.monotonic()
            self._uplink.step(now, self._sample(now) if now >= self._due else None)
            if now >= self._feed and self._watchdog:
                systemd.notify("WATCHDOG=1")
                self._feed = now + self._watchdog / 2

    def _wait(self) -> bytes:
        """Wait until there is something to do; return the signals that have come."""
        poll = select.poll()
        poll.register(self._wakeups, select.POLLIN)
        if link := self._uplink.link:
            poll.register(link, link.awaited)
        until = min(self._due, self._uplink.deadline, self._feed)
        poll.poll(max(0, math.ceil((until - time.monotonic()) * 1000)))
        return self._wakeups.received()

    def _sample(self, now: float) -> Sample | None:
        """Take a sample, and set when the next is due: on the grid of the interval, whatever was missed."""
        self._sampled = self._due
        self._due += self._config.interval * (1 + (now - self._due) // self._config.interval)
        try:
            sample = self._sampler.sample()
        except OSError as error:
            if not self._failing:
                log.record("ERROR", "sampling_failed", f"no sample: {error}")
            self._failing = True
            return None
        self._failing = False
        if self._spool is not None:
            self._keep(self._spool, sample)
        if not self._ready:
            self._ready = True
            where = f"{self._config.host}:{self._config.port}"
            systemd.notify("READY=1", f"STATUS={self._config.called} to {where} every {self._config.interval:g} s")
        return sample

    def _keep(self, spool: Spool, sample: Sample) -> None:
        dropped = spool.add(sample)
        if dropped and not self._overflowing:
            text = f"{len(spool)} samples wait for the server, no more are kept: from now on the oldest are dropped"
            log.record("WARNING", "spool_full", text, COUNT=len(spool))
        self._overflowing = dropped > 0
        if self.folder is not None:
            self._write_down(self.folder, spool)

    def _write_down(self, folder: SpoolFile, spool: Spool) -> None:
        try:
            folder.keep(spool, self._config.interval)
        except OSError as error:
            if not self._forgetful:
                text = f"what waits for the server cannot be written, a kill would lose it: {error}"
                log.record("ERROR", "spool_failed", text, COUNT=len(spool))
            self._forgetful = True
        else:
            self._forgetful = False

    def _reload(self) -> None:
        systemd.reloading()
        try:
            self._take(commands.take_live(self._config, self._reread(), PREFIX))
            log.record("INFO", "reloaded", "configuration reloaded")
        except SettingsError as error:
            log.record("ERROR", "reload_failed", f"configuration unchanged: {error}")
        systemd.notify("READY=1")

    def _take(self, config: AgentSettings) -> None:
        if self._sampled is not None and config.interval != self._config.interval:
            self._due = max(time.monotonic(), self._sampled + config.interval)
        self._config = config
        log.configure_direct(SYSTEM, AGENT_UNIT, config.log_level)
        if self._spool is not None:
            self._spool.limit = config.keep_samples
        self._uplink.reconfigure(config)
