"""The open pages: what each of them wants to see, and a bounded queue of Server-Sent Events for each.

What concerns many viewers is encoded once. The format: html.spec.whatwg.org/multipage/server-sent-events.html. JSON has
no newline, so that no content can end an event.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from frota.observer.dashboard.journal import Filter, Record
from frota.observer.dashboard.sessions import Session

TOPICS = ("fleet", "sensors", "images", "list", "cpu", "peers", "journal")
STATE = "state"  # of the parts; every viewer gets it
MAX_QUEUED_BYTES = 1 << 20  # of a viewer; more means that it does not read
HEARTBEAT_S = 15.0
_HEARTBEAT = b": \n\n"
_FLUSH_S = 0.1  # journal records are sent together
_MAX_RECORDS = 100  # of a viewer in this time; further ones are counted


def event(topic: str, content: Any) -> bytes:
    """Encode an event; the content of a forged field stays inside a JSON string."""
    return b"event: %b\ndata: %b\n\n" % (topic.encode(), orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS))


class Viewer:
    """An open page. `abort` ends its connection."""

    def __init__(self, session: Session, topics: Iterable[str], records: Filter, abort: Callable[[], None]) -> None:
        self.session, self.topics, self.records = session, frozenset(topics), records
        self._abort = abort
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._ready = asyncio.Event()
        self._pending: list[Record] = []
        self._skipped = 0
        self.closed = ""  # the reason

    def put(self, data: bytes) -> None:
        """Queue an encoded event; a viewer that does not read is disconnected."""
        if self.closed:
            return
        self._queue.append(data)
        self._queued_bytes += len(data)
        self._ready.set()
        if self._queued_bytes > MAX_QUEUED_BYTES:
            self.close("slow")
            self._abort()

    def offer(self, record: Record) -> None:
        """Take a journal record that the filter selects, or count it if there are too many."""
        if not self.records.selects(record):
            return
        if len(self._pending) < _MAX_RECORDS:
            self._pending.append(record)
        else:
            self._skipped += 1

    def flush(self) -> None:
        """Queue the records that were taken."""
        if self._pending:
            content = {"records": [record.shown for record in self._pending], "skipped": self._skipped}
            self._pending, self._skipped = [], 0
            self.put(event("journal", content))

    def close(self, reason: str) -> None:
        """End the stream after what is queued."""
        self.closed = self.closed or reason
        self._ready.set()

    async def next(self) -> bytes:
        """Wait for events, and return all that are queued; b"" at the end."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self._ready.wait()
        except TimeoutError:
            return _HEARTBEAT
        self._ready.clear()
        if self.closed:
            return b""
        data = b"".join(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        return data


class Viewers:
    """All viewers, `limit` at most; sources work only for topics that somebody sees."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._viewers: set[Viewer] = set()
        self._latest: dict[str, Callable[[], Any]] = {}
        self._wanted = {topic: asyncio.Event() for topic in TOPICS}
        self._records = asyncio.Event()
        self.rejected_total = self.slow_total = self.events_total = self.bytes_total = 0

    def __len__(self) -> int:
        return len(self._viewers)

    def keep(self, topic: str, latest: Callable[[], Any]) -> None:
        """Declare what a new viewer of a topic gets first; None for nothing."""
        self._latest[topic] = latest

    def add(self, viewer: Viewer) -> None:
        """Add a viewer, and send it the present state. Raises OverflowError for one too many."""
        if len(self._viewers) >= self.limit:
            self.rejected_total += 1
            raise OverflowError
        self._viewers.add(viewer)
        for topic in (STATE, *viewer.topics):
            latest = self._latest.get(topic)
            if latest and (content := latest()) is not None:
                viewer.put(event(topic, content))
        self._notice()

    def remove(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self._viewers.discard(viewer)
        self.slow_total += viewer.closed == "slow"
        self._notice()

    def wants(self, topic: str) -> bool:
        """Tell whether somebody sees a topic."""
        return self._wanted[topic].is_set()

    async def wanted(self, topic: str) -> None:
        """Wait until somebody sees a topic."""
        await self._wanted[topic].wait()

    def publish(self, topic: str, content: Any) -> None:
        """Send an event to those who see the topic."""
        readers = [viewer for viewer in self._viewers if topic == STATE or topic in viewer.topics]
        if readers:
            data = event(topic, content)
            self.events_total += len(readers)
            self.bytes_total += len(data) * len(readers)
            for viewer in readers:
                viewer.put(data)

    def publish_records(self, records: Iterable[Record]) -> None:
        """Offer journal records to those who see them."""
        readers = [viewer for viewer in self._viewers if "journal" in viewer.topics]
        for record in records if readers else ():
            for viewer in readers:
                viewer.offer(record)
        self._records.set()

    async def flush_records(self) -> None:
        """Send the offered records, some times a second, for ever."""
        while True:
            await self._records.wait()
            self._records.clear()
            for viewer in list(self._viewers):
                viewer.flush()
            await asyncio.sleep(_FLUSH_S)  # the next ones are sent together

    def close(self, reason: str) -> None:
        """End all streams."""
        for viewer in list(self._viewers):
            viewer.close(reason)

    def _notice(self) -> None:
        for topic, wanted in self._wanted.items():
            if any(topic in viewer.topics for viewer in self._viewers):
                wanted.set()
            else:
                wanted.clear()
