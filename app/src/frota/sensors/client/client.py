"""The sensors' client: measures (here: simulates) at an interval, spools, and delivers when the server is available."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from frota.core.backoff import Backoff
from frota.core.tasks import EssentialTasks
from frota.logs import log
from frota.net.addresses import endpoint
from frota.net.exposition import Metric, counter, gauge
from frota.net.http import MonitoringServer
from frota.sensors.client.delivery import Delivery
from frota.sensors.client.spool import Spool
from frota.sensors.messages import Reading
from frota.sensors.settings import ClientSettings

_FIRST_PAUSE_S = 0.25


class SensorClient:
    """The service behind `frota sensors simulate`; `end` stops the process."""

    def __init__(self, config: ClientSettings, directory: Path, end: Callable[[int], None]) -> None:
        self._config, self._directory, self._end = config, directory, end
        self._spool_changed = asyncio.Event()
        self._backoff = Backoff(min(_FIRST_PAUSE_S, config.max_backoff), config.max_backoff)
        self._measured = self._dropped_total = self._failures_total = 0
        self._delivery: Delivery | None = None
        self._tasks = EssentialTasks(end)

    async def start(self) -> str:
        """Open the spool and start to measure. Raises OSError and StateError."""
        self._spool = Spool(self._directory, self._config.spool_limit)
        self._monitoring = MonitoringServer(self._metrics(), self.healthy)
        await self._monitoring.start(self._config.metrics_host, self._config.metrics_port)
        self._tasks.start(self._measure(), self._deliver())
        return f"{self._config.sensor} to {endpoint(self._config.host, self._config.port)}"

    async def stop(self) -> None:
        """Stop. Readings without an answer stay in the spool; their numbers prevent duplicates."""
        await self._tasks.cancel()
        await self._monitoring.stop()
        if self._spool.waiting:
            log.record("INFO", "stopped", f"stopped; {self._spool.waiting} readings wait in {self._directory}")
        self._spool.close()

    def healthy(self) -> bool:
        """Tell whether both tasks run."""
        return self._tasks.alive()

    def reload(self) -> None:
        """Do nothing: no setting of a client changes live."""

    def _metrics(self) -> list[Metric]:
        spool = self._spool
        return [
            counter("frota_sensors_client_readings_total", "Readings of the sensor.", lambda: self._measured),
            counter(
                "frota_sensors_client_readings_delivered_total",
                "Readings that the server has stored, or rejected for good.",
                lambda: spool.delivered_total,
            ),
            counter(
                "frota_sensors_client_readings_dropped_total",
                "Readings dropped from the full spool.",
                lambda: self._dropped_total,
            ),
            gauge("frota_sensors_client_spool_readings", "Readings that wait for the server.", lambda: spool.waiting),
            gauge(
                "frota_sensors_client_connected",
                "Whether there is a connection to the server.",
                lambda: int(self._delivery is not None and self._delivery.connected),
            ),
            counter(
                "frota_sensors_client_connections_failed_total",
                "Connections that failed or were lost.",
                lambda: self._failures_total,
            ),
        ]

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while not self._config.count or self._measured < self._config.count:
            self._measure_once()
            due = max(due + self._config.interval, loop.time())
            await asyncio.sleep(due - loop.time())

    def _measure_once(self) -> None:
        config = self._config
        value = round(random.uniform(config.low, config.high), 2)
        self._measured += 1
        try:
            dropped = self._spool.append(str(Reading(config.sensor, config.label, str(value), config.unit)))
        except OSError as error:
            text = f"a reading was lost, it could not be spooled: {self._directory}: {error}"
            log.record("ERROR", "spool_failed", text, SENSOR=config.sensor)
            return
        self._dropped_total += dropped
        if dropped:
            text = f"the spool is full ({config.spool_limit}): the oldest reading was dropped"
            log.record("WARNING", "spool_full", text, SENSOR=config.sensor, COUNT=dropped)
        self._spool_changed.set()

    async def _deliver(self) -> None:
        while True:
            try:
                self._delivery = Delivery(self._config, self._spool, self._spool_changed, self._delivered)
                await self._delivery.run()
            except* (OSError, ValueError) as group:
                self._failed(_first(group))
            await asyncio.sleep(self._backoff.pause())

    def _delivered(self) -> None:
        self._backoff.reset()
        if self._measured == self._config.count and not self._spool.waiting:
            self._end(0)

    def _failed(self, error: BaseException) -> None:
        self._failures_total += 1
        where = endpoint(self._config.host, self._config.port)
        log.record("ERROR", "connect_failed", "Erro ao conectar ao servidor.", PEER=where, REASON=str(error))
        text = f"{where}: {error or type(error).__name__}; {self._spool.waiting} readings wait"
        log.record("WARNING", "spool_waiting", text, PEER=where, COUNT=self._spool.waiting)


def _first(group: BaseExceptionGroup) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
