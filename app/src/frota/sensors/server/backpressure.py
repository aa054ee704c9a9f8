"""Backpressure: how many readings may wait for the disk.

Readings are appended to the write-ahead log here; above the high watermark, the server reads from no connection.
"""

from typing import Any

from frota.net.tcp_server import CoarseClock, Watermarks
from frota.sensors.messages import Parts
from frota.sensors.staleness import SensorMonitor
from frota.storage.wal.group_commit import Callback, WriteAheadLog
from frota.storage.wal.segment import NO_PRODUCER


class ReadingStore:
    """Appends readings to the WAL; `watermarks` limit how many bytes of them wait for the disk."""

    def __init__(self, wal: WriteAheadLog, monitor: SensorMonitor, clock: CoarseClock, watermarks: Watermarks) -> None:
        self.wal = wal
        self._monitor, self._clock, self._watermarks = monitor, clock, watermarks

    def check(self, readings: list[Parts]) -> list[int]:
        """Note when these sensors were last seen; return the indices of the readings that are out of range."""
        return self._monitor.check(readings, self._clock.now)

    def append(
        self, payload: bytes, done: Callback, argument: Any, producer: bytes = NO_PRODUCER, number: int = 0
    ) -> None:
        """Append a record; done(argument, error) is called once it is durable, or the disk is full."""
        self.wal.append(payload, done, argument, producer, number)
        self._watermarks.update(self.wal.backlog)

    def committed(self) -> None:
        """Note that a group has been committed: reading may resume."""
        self._watermarks.update(self.wal.backlog)
