"""What viewers are told: all hosts, or the history of one."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from frota.cpu_metrics import messages, records
from frota.cpu_metrics.framing import Ask, BadMessage
from frota.cpu_metrics.history import History
from frota.cpu_metrics.hosts import Hosts

_AT_ONCE = 50  # hosts, or chunks of history, between two turns of others
_END = orjson.dumps({"frota": messages.VERSION, "end": True}) + b"\n"


class Replies:
    """Answers questions, the history read in a thread of its own."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self._hosts, self._history = hosts, History(directory)
        self._thread = ThreadPoolExecutor(1, "replies")

    async def open(self) -> None:
        """Open the history. Raises OSError."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._history.open)

    def close(self) -> None:
        """Answer nothing any more."""
        self._thread.submit(self._history.close)
        self._thread.shutdown()

    async def to(self, ask: Ask) -> AsyncIterator[bytes]:
        """Yield the lines of an answer. Raises BadMessage, OSError."""
        if ask.what == "hosts":
            every, now = list(self._hosts), time.time()
            for start in range(0, len(every), _AT_ONCE):
                yield b"".join(orjson.dumps(host.shown(now)) + b"\n" for host in every[start : start + _AT_ONCE])
                await asyncio.sleep(0)  # the turn of others
        else:
            async for piece in self._past(ask):
                yield piece
        yield _END

    async def _past(self, ask: Ask) -> AsyncIterator[bytes]:
        host = self._hosts.get(ask.host)
        if host is None:
            raise BadMessage(messages.UNKNOWN_HOST.format(ask.host))
        since = time.time() - ask.seconds
        tail = [packed for packed in host.tail if records.moment(packed)[0] >= since]
        loop = asyncio.get_running_loop()
        chunks = await loop.run_in_executor(self._thread, self._history.chunks, host.kept.id, since)
        for start in range(0, len(chunks), _AT_ONCE):
            lines = await loop.run_in_executor(self._thread, _unfolded, chunks[start : start + _AT_ONCE])
            if start == 0:
                first, end, rest = lines.partition(b"\n")
                lines = _from(since, first) + end + rest
            yield lines
        if tail:
            yield records.line(tail)


def _unfolded(chunks: list[bytes]) -> bytes:
    return b"".join(map(zlib.decompress, chunks))


def _from(since: float, line: bytes) -> bytes:
    """Return a line with columns without what is older."""
    columns = orjson.loads(line)
    places = [place for place, at in enumerate(columns["time"]) if at >= since]
    return orjson.dumps({name: [column[place] for place in places] for name, column in columns.items()})
