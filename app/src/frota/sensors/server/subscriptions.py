"""Kept readings for those who look: the last ones from the log's files, then live ones as they become durable."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from frota.logs import log
from frota.net.addresses import endpoint
from frota.sensors import messages
from frota.sensors.history import Damaged, Fields, Illegible, history, legible
from frota.sensors.readings import Query
from frota.sensors.server.transport import Peer
from frota.storage.wal.group_commit import Entry, WriteAheadLog
from frota.storage.wal.reader import Damage
from frota.storage.wal.segment import DATA, Record

_CHUNK = 200  # readings sent at once: little enough that other threads are not kept waiting
_MOST_WAITING = 1 << 20  # bytes of records that may wait for a slow follower


def to_lines(found: Iterator[Fields]) -> bytes:
    """Return up to one chunk of readings as JSON lines, nothing at the end."""
    some = itertools.islice(found, _CHUNK)
    return b"".join(json.dumps(fields, ensure_ascii=False).encode() + b"\n" for fields in some)


class Subscription:
    """The live records one viewer has not been sent yet, bounded."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._waiting: deque[Record] = deque()
        self._selected: Iterator[Fields] = iter(())
        self._bytes = 0
        self._arrived = asyncio.Event()

    def offer(self, group: list[Entry]) -> None:
        """Take what has become durable; more than is allowed to wait ends the following instead."""
        for payload, time_us, producer, number, *_ in group:
            if payload is not None and self._bytes <= _MOST_WAITING:
                self._waiting.append(Record(DATA, time_us, producer, number, payload))
                self._bytes += len(payload)
        self._arrived.set()

    async def lines(self) -> bytes:
        """Wait for the next readings that are asked for, as JSON lines. Raises OverflowError for a slow viewer."""
        while not (lines := to_lines(self._selected)):
            if self._bytes > _MOST_WAITING:
                raise OverflowError
            if self._waiting:
                record = self._waiting.popleft()
                self._bytes -= len(record.payload)
                self._selected = legible(self._query.select(record), [])
            else:
                self._arrived.clear()
                await self._arrived.wait()
        return lines


class Subscriptions:
    """All viewers: each is sent kept readings, once or for ever; `most` at a time."""

    def __init__(self, directory: Path, wal: WriteAheadLog, damaged: Damaged, most: int) -> None:
        self.most = most
        self._directory, self._wal, self._damaged = directory, wal, damaged
        self._followers: set[Subscription] = set()
        self._viewers: set[asyncio.Task[None]] = set()
        self._readers = ThreadPoolExecutor(2, "history")

    def publish(self, group: list[Entry]) -> None:
        """Offer records that have become durable to those who follow."""
        for follower in self._followers:
            follower.offer(group)

    def begin(self, viewer: Peer, query: Query, follow: bool) -> "asyncio.Task[None]":
        """Serve a viewer beside everything else. Raises ValueError when there are too many."""
        if len(self._viewers) >= self.most:
            raise ValueError("leitores demais, tente mais tarde")
        task = asyncio.get_running_loop().create_task(self._show(viewer, query, follow))
        self._viewers.add(task)
        task.add_done_callback(self._viewers.discard)
        return task

    def cancel(self) -> None:
        """End all of them."""
        for task in list(self._viewers):
            task.cancel()

    def close(self) -> None:
        """Read nothing more."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    async def _show(self, viewer: Peer, query: Query, follow: bool) -> None:
        """Send what is kept, then, to a follower, what becomes durable from then on, without a gap or a repetition."""
        await self._wal.drain()  # the answers to what this connection sent before come first
        follower = Subscription(query._replace(last=0, since_us=0))
        if follow:
            self._followers.add(follower)
        try:
            illegible = await self._send_kept(viewer, query)
            while follow:
                await viewer.send(await follower.lines())
                await asyncio.sleep(0)  # sensors first
            viewer.write(f"{messages.END}{messages.ILLEGIBLE.format(illegible) if illegible else ''}\n".encode())
        except OverflowError:
            viewer.write(b"frota end lento demais, conecte-se de novo\n")
        except Exception as error:  # noqa: BLE001 -- the edge of a task: nobody else would hear of it, nor the viewer
            log.record(
                "ERROR", "internal_error", "a viewer's query failed", error=error, PEER=endpoint(*viewer.address)
            )
            viewer.write(b"frota end erro interno do servidor\n")
        finally:
            self._followers.discard(follower)
        viewer.finish()

    async def _send_kept(self, viewer: Peer, query: Query) -> int:
        """Send what is kept; return how many readings cannot be shown."""
        illegible = 0

        def damaged(damage: Damage | Illegible) -> None:
            nonlocal illegible
            illegible += damage.readings if isinstance(damage, Illegible) else 0
            self._damaged(damage)

        # Nothing was awaited between adding the follower and taking the position.
        kept = history(self._directory, query, damaged, self._wal.position, lambda: not viewer.closed)
        loop = asyncio.get_running_loop()
        while lines := await loop.run_in_executor(self._readers, to_lines, kept):
            await viewer.send(lines)
        return illegible
