"""The agent: takes a sample at each interval and delivers it to the server, in one loop over poll(2).

It runs on every host. Half of the memory of a small Python process is what it imports, so it imports no asyncio, no
loguru and no TLS.
"""

import math
import select
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from frota.core import commands, systemd
from frota.core.errors import StateError
from frota.core.settings import SettingsError
from frota.cpu.agent.sampling import FIRST_SAMPLE_DELAY_S, Sampler
from frota.cpu.agent.spool import Spool
from frota.cpu.agent.spool_file import SpoolFile
from frota.cpu.agent.uplink import Uplink
from frota.cpu.agent.wakeups import Wakeups
from frota.cpu.messages import Sample
from frota.cpu.settings import AGENT_UNIT, PREFIX, SYSTEM, AgentSettings
from frota.logs import log

if TYPE_CHECKING:
    from frota.cpu.agent.monitoring import Monitoring


def run(config: AgentSettings, read_settings: Callable[[], AgentSettings]) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit status. `read_settings` is called at each reload."""
    wakeups = Wakeups()
    try:
        sampler = Sampler()
        if config.protocol == "original":
            return Agent(config, read_settings, sampler, wakeups, None).run()
        spool_file = SpoolFile(config.directory)
        spool = spool_file.load(config.spool_samples, config.interval)
    except (StateError, OSError) as error:
        log.record("ERROR", "start_failed", f"cannot start: {error}")
        return 1
    try:
        agent = Agent(config, read_settings, sampler, wakeups, spool)
        agent.spool_file = spool_file
        return agent.run()
    finally:
        _save(spool_file, spool)


def _save(spool_file: SpoolFile, spool: Spool) -> None:
    count = len(spool)
    try:
        spool_file.save(spool)
    except OSError as error:
        text = f"cannot write the spool of {count} samples, those that are not on disk already are lost: {error}"
        log.record("ERROR", "spool_failed", text, COUNT=count)
    else:
        log.record("INFO", "stopped", f"stopped; {count} samples are in the spool for the next start", COUNT=count)
    spool_file.close()


class Agent:
    """The loop: take a sample when one is due, advance the uplink, handle signals, notify the watchdog.

    Without a spool (the legacy protocol) each sample is sent once or dropped. Times are of the monotonic clock.
    """

    def __init__(
        self,
        config: AgentSettings,
        read_settings: Callable[[], AgentSettings],
        sampler: Sampler,
        wakeups: Wakeups,
        spool: Spool | None,
    ) -> None:
        self._config, self._read_settings, self._sampler, self._wakeups = config, read_settings, sampler, wakeups
        self._spool = spool
        self.spool_file: SpoolFile | None = None  # None keeps the spool in memory alone
        self._uplink = Uplink(config, spool, wakeups.wake)
        self.next_sample = time.monotonic() + FIRST_SAMPLE_DELAY_S  # when the next one is due
        self._last_sample: float | None = None  # when the last one was due
        self._ready = self._spool_full = self._sampling_failed = self._spool_failed = False  # each is reported once
        self._samples_total = 0
        self._monitoring = self._open_monitoring(config) if config.metrics_port else None
        self._watchdog = systemd.watchdog_seconds()
        self._next_watchdog = 0.0 if self._watchdog else math.inf

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the exit status."""
        while True:
            for number in self._wait():
                if number == signal.SIGHUP:
                    self._reload()
                elif number:
                    systemd.notify("STOPPING=1")
                    self._uplink.close()
                    return 0
            now = time.monotonic()
            if self._monitoring:
                self._monitoring.step(now)
            self._uplink.step(now, self.sample(now) if now >= self.next_sample else None)
            if now >= self._next_watchdog and self._watchdog:
                systemd.notify("WATCHDOG=1")
                self._next_watchdog = now + self._watchdog / 2

    def _open_monitoring(self, config: AgentSettings) -> "Monitoring":
        from frota.cpu.agent import metrics  # here: most agents do without its memory
        from frota.cpu.agent.monitoring import Monitoring

        own = metrics.metrics(lambda: self._samples_total, self._spool, self._uplink)
        return Monitoring(config.metrics_host, config.metrics_port, own)

    def _wait(self) -> bytes:
        """Wait for the next deadline, the connection, or a wakeup; return the numbers of the signals received."""
        poll = select.poll()
        poll.register(self._wakeups, select.POLLIN)
        if link := self._uplink.link:
            poll.register(link, link.poll_events)
        deadline = min(self.next_sample, self._uplink.deadline, self._next_watchdog)
        if self._monitoring:
            for polled in self._monitoring.polled():
                poll.register(*polled)
            deadline = min(deadline, self._monitoring.deadline)
        poll.poll(max(0, math.ceil((deadline - time.monotonic()) * 1000)))
        return self._wakeups.read()

    def sample(self, now: float) -> Sample | None:
        """Take a sample, None if the CPU cannot be measured, and schedule the next.

        The schedule is a grid of intervals: after a pause the agent skips the samples that it missed.
        """
        self._last_sample = self.next_sample
        self.next_sample += self._config.interval * (1 + (now - self.next_sample) // self._config.interval)
        try:
            sample = self._sampler.sample()
        except OSError as error:
            if not self._sampling_failed:
                log.record("ERROR", "sampling_failed", f"cannot measure the CPU, no samples until it works: {error}")
            self._sampling_failed = True
            return None
        self._sampling_failed = False
        self._samples_total += 1
        if self._spool is not None:
            self._store(self._spool, sample)
        if not self._ready:
            self._ready = True
            server = f"{self._config.host}:{self._config.port}"
            systemd.notify("READY=1", f"STATUS={self._config.called} to {server} every {self._config.interval:g} s")
        return sample

    def _store(self, spool: Spool, sample: Sample) -> None:
        dropped = spool.add(sample)
        if dropped and not self._spool_full:
            text = f"the spool is full: {len(spool)} samples wait for the server, each new one replaces the oldest"
            log.record("WARNING", "spool_full", text, COUNT=len(spool))
        self._spool_full = dropped > 0
        if self.spool_file is not None:
            self._checkpoint(self.spool_file, spool)

    def _checkpoint(self, spool_file: SpoolFile, spool: Spool) -> None:
        try:
            spool_file.checkpoint(spool, self._config.interval)
        except OSError as error:
            if not self._spool_failed:
                text = f"cannot write the spool, a kill of the agent would lose {len(spool)} samples: {error}"
                log.record("ERROR", "spool_failed", text, COUNT=len(spool))
            self._spool_failed = True
        else:
            self._spool_failed = False

    def _reload(self) -> None:
        systemd.reloading()
        try:
            self._apply(commands.take_live(self._config, self._read_settings(), PREFIX))
            log.record("INFO", "reloaded", "configuration reloaded")
        except SettingsError as error:
            log.record("ERROR", "reload_failed", f"configuration unchanged: {error}")
        systemd.notify("READY=1")

    def _apply(self, config: AgentSettings) -> None:
        if self._last_sample is not None and config.interval != self._config.interval:
            self.next_sample = max(time.monotonic(), self._last_sample + config.interval)
        self._config = config
        log.configure_direct(SYSTEM, AGENT_UNIT, config.log_level)
        if self._spool is not None:
            self._spool.limit = config.spool_samples
        self._uplink.reconfigure(config)
