"""What viewers are told: all hosts, or the history of one."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from frota.cpu_metrics import chunk, messages
from frota.cpu_metrics.framing import Ask, BadMessage
from frota.cpu_metrics.server.history import History, Past
from frota.cpu_metrics.server.hosts import Hosts
from frota.logs import log
from frota.logs.log import printable

_AT_ONCE = 20  # hosts, or chunks of history, between two turns of others
_MOST_DAMAGED = 1000  # damaged chunks that are counted
_END = orjson.dumps({"frota": messages.VERSION, "end": True}) + b"\n"


class Responses:
    """Answers questions, the history read in a thread of its own."""

    def __init__(self, hosts: Hosts, directory: Path) -> None:
        self._hosts, self._history = hosts, History(directory)
        self._thread = ThreadPoolExecutor(1, "replies")
        self._damaged: set[tuple[int, int]] = set()  # chunks that the log has already

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
            every, now = list(self._hosts), self._hosts.now()
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
        since = self._hosts.now() - ask.seconds
        last, behind = host.newest()  # at the same moment: nothing is between them, or in both
        loop, after = asyncio.get_running_loop(), 0
        while after < last:
            after, lines = await loop.run_in_executor(self._thread, self._stretch, host.kept.id, since, after, last)
            if lines:
                yield lines
        if newest := [packed for packed in behind if chunk.moment(packed)[0] >= since]:
            yield chunk.line(newest)

    def _stretch(self, host: int, since: float, after: int, last: int) -> tuple[int, bytes]:
        """Return the next chunks' lines, and the ordinal up to which they are."""
        chunks = self._history.chunks(host, since, after, last, _AT_ONCE)
        after = chunks[-1].ordinal if len(chunks) == _AT_ONCE else last
        return after, b"".join(self._readable(host, chunk, since) for chunk in chunks)

    def _readable(self, host: int, chunk: Past, since: float) -> bytes:
        try:
            return _unfolded(chunk, since)
        except (zlib.error, ValueError, TypeError, LookupError) as error:
            if (host, chunk.ordinal) not in self._damaged and len(self._damaged) < _MOST_DAMAGED:
                self._damaged.add((host, chunk.ordinal))
                text = (
                    f"{self._history.file}: chunk {chunk.ordinal} of host {host} is left out: {printable(str(error))}"
                )
                log.record("ERROR", "history_corrupted", text)
            return b""


def _unfolded(chunk: Past, since: float) -> bytes:
    line = zlib.decompress(chunk.columns)
    if chunk.began is not None and chunk.began >= since:
        return line
    columns = orjson.loads(line)
    places = [place for place, at in enumerate(columns["time"]) if at >= since]
    if not places:
        return b""
    return orjson.dumps({name: [column[place] for place in places] for name, column in columns.items()}) + b"\n"
