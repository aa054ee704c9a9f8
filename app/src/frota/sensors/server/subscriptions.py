"""Streams of readings for `frota sensors history` and `frota sensors tail`.

A stream begins with stored readings, read from the WAL's files; a live one continues with what becomes durable.
"""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from frota.logs import log
from frota.net.addresses import endpoint
from frota.net.tcp_server import State
from frota.sensors import messages
from frota.sensors.history import Damaged, Fields, Illegible, history, legible
from frota.sensors.readings import Query
from frota.storage.wal.group_commit import Entry, WriteAheadLog
from frota.storage.wal.reader import Damage
from frota.storage.wal.segment import DATA, Record

_CHUNK_READINGS = 200  # sent at once; encoding them does not delay the event loop noticeably
_MAX_QUEUED_BYTES = 1 << 20  # of records that a slow subscriber has not been sent yet


class Peer(Protocol):
    """The connection of a subscriber."""

    address: tuple[str, int]
    state: State

    def write(self, data: bytes) -> None:
        """Send."""

    async def send(self, data: bytes) -> None:
        """Send, and wait while the peer does not read."""

    def finish(self) -> None:
        """End our side of the connection."""


def to_lines(readings: Iterator[Fields]) -> bytes:
    """Return the next chunk of readings as lines of JSON, b"" at the end."""
    chunk = itertools.islice(readings, _CHUNK_READINGS)
    return b"".join(json.dumps(fields, ensure_ascii=False).encode() + b"\n" for fields in chunk)


class Subscription:
    """The queue of durable records that one subscriber has not been sent yet."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._queue: deque[Record] = deque()
        self._queued_bytes = 0
        self._selected: Iterator[Fields] = iter(())
        self._arrived = asyncio.Event()

    def publish(self, group: list[Entry]) -> None:
        """Queue a committed group; once the queue is full, nothing more, and `lines` raises."""
        for payload, time_us, producer, number, *_ in group:
            if payload is not None and self._queued_bytes <= _MAX_QUEUED_BYTES:
                self._queue.append(Record(DATA, time_us, producer, number, payload))
                self._queued_bytes += len(payload)
        self._arrived.set()

    async def lines(self) -> bytes:
        """Wait for the next matching readings, as lines of JSON. Raises OverflowError for a slow subscriber."""
        while not (lines := to_lines(self._selected)):
            if self._queued_bytes > _MAX_QUEUED_BYTES:
                raise OverflowError
            if self._queue:
                record = self._queue.popleft()
                self._queued_bytes -= len(record.payload)
                self._selected = legible(self._query.select(record), [])
            else:
                self._arrived.clear()
                await self._arrived.wait()
        return lines


class Subscriptions:
    """All streams, `max_streams` at most, each in a task of its own."""

    def __init__(self, directory: Path, wal: WriteAheadLog, damaged: Damaged, max_streams: int) -> None:
        self.max_streams = max_streams
        self._directory, self._wal, self._damaged = directory, wal, damaged
        self._live: set[Subscription] = set()
        self._streams: dict[Peer, asyncio.Task[None]] = {}
        self._readers = ThreadPoolExecutor(2, "history")

    def __len__(self) -> int:
        return len(self._streams)

    def publish(self, group: list[Entry]) -> None:
        """Send a committed group to the live subscribers."""
        for subscription in self._live:
            subscription.publish(group)

    def start(self, peer: Peer, query: Query, *, live: bool) -> None:
        """Start a stream, which finishes the connection at its end. Raises ValueError if there are too many."""
        if len(self._streams) >= self.max_streams:
            raise ValueError("leitores demais, tente mais tarde")
        task = asyncio.get_running_loop().create_task(self._stream(peer, query, live=live))
        self._streams[peer] = task
        task.add_done_callback(lambda _: self._streams.pop(peer, None))

    def cancel(self, peer: Peer) -> None:
        """Cancel the stream of a connection that is gone, if it has one."""
        if task := self._streams.get(peer):
            task.cancel()

    def cancel_all(self) -> None:
        """Cancel every stream."""
        for task in self._streams.values():
            task.cancel()

    def close(self) -> None:
        """Stop the threads that read files."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def _stream(self, peer: Peer, query: Query, *, live: bool) -> None:
        """Send stored readings, then, if `live`, those that become durable, without a gap or a duplicate."""
        await self._wal.drain()  # answers to earlier readings of this connection come first
        subscription = Subscription(query._replace(last=0, since_us=0))
        if live:
            self._live.add(subscription)
        try:
            illegible = await self._send_stored(peer, query)
            while live:
                await peer.send(await subscription.lines())
                await asyncio.sleep(0)  # sensors first
            peer.write(f"{messages.END}{messages.ILLEGIBLE.format(illegible) if illegible else ''}\n".encode())
        except OverflowError:
            peer.write(b"frota end lento demais, conecte-se de novo\n")
        except Exception as error:  # noqa: BLE001 -- the edge of a task: log the error, and tell the subscriber
            text = "a stream of readings failed; its connection is closed"
            log.record("ERROR", "internal_error", text, error=error, PEER=endpoint(*peer.address))
            peer.write(b"frota end erro interno do servidor\n")
        finally:
            self._live.discard(subscription)
        peer.finish()

    async def _send_stored(self, peer: Peer, query: Query) -> int:
        """Send stored readings; return how many of them are illegible."""
        illegible = 0

        def damaged(damage: Damage | Illegible) -> None:
            nonlocal illegible
            illegible += damage.readings if isinstance(damage, Illegible) else 0
            self._damaged(damage)

        # No await since the subscription was added: the position is where its live readings begin.
        stored = history(self._directory, query, damaged, self._wal.position, lambda: peer.state is not State.CLOSED)
        loop = asyncio.get_running_loop()
        while lines := await loop.run_in_executor(self._readers, to_lines, stored):
            await peer.send(lines)
        return illegible
