"""Kept readings for those who look: the last ones from the log's files, then live ones as they become durable."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frota.core import log
from frota.core.log import printable
from frota.net.addresses import endpoint
from frota.sensors import messages
from frota.sensors.readings import Kept, Query
from frota.storage.wal import segment
from frota.storage.wal.group_commit import Entry
from frota.storage.wal.log import Position
from frota.storage.wal.reader import Damage, Reader
from frota.storage.wal.segment import DATA, Record

if TYPE_CHECKING:
    from frota.sensors.server.connection import Connection
    from frota.sensors.server.server import SensorServer

_CHUNK = 200  # readings sent at once: little enough that other threads are not kept waiting
_MOST_WAITING = 1 << 20  # bytes of records that may wait for a slow follower


class Illegible(NamedTuple):
    """Readings of one segment that cannot be shown: how many, and the text of the first."""

    path: Path
    readings: int
    example: str

    def __str__(self) -> str:
        what = "1 reading" if self.readings == 1 else f"{self.readings} readings"
        return f"{self.path}: {what} cannot be read and left out, for example {printable(self.example[:80])!r}"


Fields = dict[str, Any]
Damaged = Callable[[Damage | Illegible], None]


def history(
    directory: Path,
    query: Query,
    damaged: Damaged,
    until: Position | None = None,
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[Fields]:
    """Yield the readings that are asked for, oldest first; end soon when they are no longer `wanted`.

    Nothing is read before the first reading is taken, which may then take as long as reading the whole log. What
    cannot be read goes to `damaged`, more than once if it is met more than once; it counts for those asked for.
    """
    reader = Reader(directory, until, damaged)
    numbers, skip = reader.find_last(query.last, query.count, query.since_us / 1e6, wanted)
    for number in itertools.takewhile(lambda _: wanted(), numbers):
        found = itertools.chain.from_iterable(map(query.select, reader.records(number)))
        illegible: list[str] = []
        yield from _legible(itertools.islice(found, skip, None), illegible)
        if illegible:
            damaged(Illegible(segment.path_of(directory, number), len(illegible), illegible[0]))
        skip = 0


def _legible(found: Iterator[Kept], illegible: list[str]) -> Iterator[Fields]:
    """Yield what can be shown of readings; the texts of the others go to `illegible`."""
    for kept in found:
        try:
            fields = kept.fields()
        except ValueError:
            illegible.append(kept.text)
        else:
            yield fields


def to_lines(found: Iterator[Fields]) -> bytes:
    """Return up to one chunk of readings as JSON lines, nothing at the end."""
    some = itertools.islice(found, _CHUNK)
    return b"".join(json.dumps(fields, ensure_ascii=False).encode() + b"\n" for fields in some)


class Follower:
    """The live records one viewer has not been sent yet, bounded."""

    def __init__(self, query: Query) -> None:
        self._query = query
        self._waiting: deque[Record] = deque()
        self._selected: Iterator[Fields] = iter(())
        self._bytes = 0
        self._arrived = asyncio.Event()

    def offer(self, group: list[Entry]) -> None:
        """Take what has become durable; more than is allowed to wait ends the following instead."""
        for payload, time_us, writer, number, *_ in group:
            if payload is not None and self._bytes <= _MOST_WAITING:
                self._waiting.append(Record(DATA, time_us, writer, number, payload))
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
                self._selected = _legible(self._query.select(record), [])
            else:
                self._arrived.clear()
                await self._arrived.wait()
        return lines


async def show(server: "SensorServer", connection: "Connection", query: Query, follow: bool) -> None:
    """Send what is kept, then, to a follower, what becomes durable from then on, without a gap or a repetition."""
    await server.log.drain()  # the answers to what this connection sent before come first
    follower = Follower(query._replace(last=0, since_us=0))
    illegible = 0

    def damaged(damage: Damage | Illegible) -> None:
        nonlocal illegible
        illegible += damage.readings if isinstance(damage, Illegible) else 0
        server.event_log.damage(damage)

    if follow:
        server.followers.add(follower)
    try:
        # Nothing may be awaited between adding the follower and taking the position.
        kept = history(server.directory, query, damaged, server.log.position, lambda: not connection.closed)
        loop = asyncio.get_running_loop()
        while lines := await loop.run_in_executor(server.readers, to_lines, kept):
            await connection.send(lines)
        while follow:
            await connection.send(await follower.lines())
            await asyncio.sleep(0)  # sensors first
        connection.write(f"{messages.END}{messages.ILLEGIBLE.format(illegible) if illegible else ''}\n".encode())
    except OverflowError:
        connection.write(b"frota end lento demais, conecte-se de novo\n")
    except Exception as error:  # noqa: BLE001 -- the edge of a task: nobody else would hear of it, nor the viewer
        log.record("ERROR", "internal", "a viewer was not served", error=error, PEER=endpoint(*connection.address))
        connection.write(b"frota end erro interno do servidor\n")
    finally:
        server.followers.discard(follower)
    connection.finish()
