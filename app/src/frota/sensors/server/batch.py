"""The short cut for the most frequent case: many connections, each with exactly one reading and no newline.

What they send in one turn of the event loop is parsed, judged and stored together, as one record; doing so one by one
costs more than twice the time. Anything else is handed back to its connection, which takes the long way.
"""

import asyncio
import re
from typing import Protocol

from frota.logs import log
from frota.sensors import messages, readings
from frota.sensors.framing import Framer
from frota.sensors.messages import ANSWER
from frota.sensors.server.event_log import EventLog
from frota.sensors.staleness import SensorMonitor
from frota.storage.wal.group_commit import WriteAheadLog
from frota.storage.wal.log import DiskFull

LONGEST = 128  # bytes of a packet for which the short cut is tried


class Sender(Protocol):
    """What a round needs of a connection."""

    framer: Framer
    head: bytes
    head_outside: bytes
    in_batch: bool
    address: tuple[str, int]

    def take(self, data: bytes) -> None:
        """Take a packet the long way."""

    def write(self, data: bytes) -> None:
        """Send."""

    def not_stored(self, count: int, error: DiskFull) -> None:
        """Refuse readings for which there is no room."""


class Sink(Protocol):
    """What a round needs of the server: where readings go, and what is said of them."""

    now: float
    loop: asyncio.AbstractEventLoop
    wal: WriteAheadLog
    watch: SensorMonitor
    event_log: EventLog

    def limit_backlog(self) -> None:
        """Apply backpressure if too much waits for the disk."""


class Batcher:
    """What has arrived in this turn; `pattern` is that of a reading that a known unit ends."""

    def __init__(self, server: Sink, pattern: re.Pattern[str]) -> None:
        self._server = server
        self._lines = re.compile(f"^{pattern.pattern}$", re.MULTILINE)
        self._connections: list[Sender] = []
        self._packets: list[bytes] = []

    def add(self, connection: Sender, packet: bytes) -> None:
        """Take a packet of a connection that has none in this round."""
        if not self._packets:
            self._server.loop.call_soon(self.flush)
        self._connections.append(connection)
        self._packets.append(packet)

    def flush(self) -> None:
        """Sink what has arrived; does nothing when that was done already."""
        connections, packets = self._connections, self._packets
        if not packets:
            return
        self._connections, self._packets = [], []
        for connection in connections:
            connection.in_batch = False
        found = self._parse(packets)
        outside = None if found is None else self._judge(found)
        if found is None or outside is None:
            for connection, packet in zip(connections, packets, strict=True):
                connection.take(packet)
            return
        for connection in connections:
            connection.framer.after_reading = True
        server = self._server
        heads = [connection.head for connection in connections]
        for index in outside:
            heads[index] = connections[index].head_outside
        payload = readings.join(heads, packets)
        server.wal.append(payload, self._stored, connections)
        server.event_log.readings(connections, found, outside)
        server.limit_backlog()

    def _judge(self, found: list[messages.Parts]) -> list[int] | None:
        """Return which readings are out of range; None if that fails, for then each connection must go its own way."""
        try:
            return self._server.watch.check(found, self._server.now)
        except Exception as error:  # noqa: BLE001 -- one reading must not cost the others of its round their answers
            log.record(
                "ERROR", "internal_error", "error in a batch, its readings are processed one by one", error=error
            )
            return None

    def _parse(self, packets: list[bytes]) -> list[messages.Parts] | None:
        """Return one reading for each packet, None if not every packet is exactly one reading."""
        data = b"\n".join(packets)
        if data.count(b"\n") != len(packets) - 1:
            return None
        try:
            found = self._lines.findall(data.decode())
        except UnicodeDecodeError:
            return None
        return found if len(found) == len(packets) else None

    def _stored(self, connections: list[Sender], error: DiskFull | None) -> None:
        if error is None:
            for connection in connections:
                connection.write(ANSWER)
        else:
            for connection in connections:
                connection.not_stored(1, error)
