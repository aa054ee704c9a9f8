"""The fast path: many connections that send exactly one legacy reading each, without a newline.

Packets of one turn of the event loop are parsed, checked and stored together, as one record; one by one they would
cost more than twice the CPU time. If one of them is no reading, every connection processes its own packet.
"""

import asyncio
import re
from typing import Protocol

from frota.logs import log
from frota.sensors import readings
from frota.sensors.framing import Framer
from frota.sensors.messages import ANSWER, Parts
from frota.sensors.server.backpressure import ReadingStore
from frota.sensors.server.event_log import EventLog, Peer
from frota.sensors.session import FLUSHED, Session
from frota.storage.wal.log import DiskFull

MAX_PACKET_BYTES = 128  # a longer packet is not batched


class Tcp(Protocol):
    """What a batch needs of a TCP connection."""

    def write(self, data: bytes) -> None:
        """Send."""


class Connection(Peer, Protocol):
    """What a batch needs of the handler of a connection. The heads are its records' first lines."""

    @property
    def tcp(self) -> Tcp:
        """The TCP connection."""

    framer: Framer
    session: Session
    head: bytes
    head_out_of_range: bytes

    def process(self, data: bytes) -> None:
        """Process a packet of any kind."""

    def reject_disk_full(self, count: int, error: DiskFull) -> None:
        """Answer that readings are not stored."""


class Batcher:
    """Collects the packets of one turn of the event loop; `pattern` matches a reading that a known unit ends."""

    def __init__(self, store: ReadingStore, event_log: EventLog, pattern: re.Pattern[str]) -> None:
        self._store, self._event_log, self._loop = store, event_log, asyncio.get_running_loop()
        self._lines = re.compile(f"^{pattern.pattern}$", re.MULTILINE)
        self._connections: list[Connection] = []
        self._packets: list[bytes] = []

    def collect(self, connection: Connection, packet: bytes) -> None:
        """Take the only packet of a connection in this batch; its session is in phase BATCHED."""
        if not self._packets:
            self._loop.call_soon(self.flush)
        self._connections.append(connection)
        self._packets.append(packet)

    def flush(self) -> None:
        """Store what was collected, if anything."""
        connections, packets = self._connections, self._packets
        if not packets:
            return
        self._connections, self._packets = [], []
        parts = self._parse(packets)
        out_of_range = None if parts is None else self._check(parts)
        if parts is None or out_of_range is None:
            _process_separately(connections, packets)
            return
        for connection in connections:
            connection.session.phase = FLUSHED
            connection.framer.after_reading = True
        heads = [connection.head for connection in connections]
        for index in out_of_range:
            heads[index] = connections[index].head_out_of_range
        self._store.append(readings.join(heads, packets), self._stored, connections)
        self._event_log.readings(connections, parts, out_of_range)

    def _check(self, parts: list[Parts]) -> list[int] | None:
        """Return which readings are out of range; None if that fails, and they are to be processed one by one."""
        try:
            return self._store.check(parts)
        except Exception as error:  # noqa: BLE001 -- one reading must not cost the others of its batch their answers
            log.record("ERROR", "internal_error", "a batch failed; its readings are processed one by one", error=error)
            return None

    def _parse(self, packets: list[bytes]) -> list[Parts] | None:
        """Return one reading per packet; None if any packet is not exactly one reading."""
        data = b"\n".join(packets)
        if data.count(b"\n") != len(packets) - 1:
            return None
        try:
            parts = self._lines.findall(data.decode())
        except UnicodeDecodeError:
            return None
        return parts if len(parts) == len(packets) else None

    def _stored(self, connections: list[Connection], error: DiskFull | None) -> None:
        if error is None:
            for connection in connections:
                connection.tcp.write(ANSWER)
        else:
            for connection in connections:
                connection.reject_disk_full(1, error)


def _process_separately(connections: list[Connection], packets: list[bytes]) -> None:
    for connection in connections:
        connection.session.phase = FLUSHED
    for connection, packet in zip(connections, packets, strict=True):
        connection.process(packet)
