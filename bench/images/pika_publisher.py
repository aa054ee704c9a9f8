"""The baseline of our publisher: `python -m bench.images.pika_publisher PORT SECONDS WINDOW LIMIT FILE`.

pika with asynchronous publisher confirms, on its fastest event loop. It publishes a file to the queue `images`, with at
most WINDOW unconfirmed messages; it receives and checks no images. The warm-up is a quarter of SECONDS. Prints the
same statistics as load.c, and its highest resident set as "peak".
"""

import asyncio
import json
import os
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika  # type: ignore[import-untyped]
import uvloop
from pika.adapters.asyncio_connection import AsyncioConnection  # type: ignore[import-untyped]
from pika.channel import Channel  # type: ignore[import-untyped]

from bench.core.load import Stats, make_stats
from bench.core.process import peak_memory


class PikaPublisher:
    """Keeps WINDOW messages unconfirmed until the measurement ends, then waits for the outstanding confirms."""

    def __init__(self, channel: Channel, seconds: float, window: int, limit: int, body: bytes) -> None:
        self._channel, self._seconds, self._window, self._limit, self._body = channel, seconds, window, limit, body
        self._unconfirmed: OrderedDict[int, float] = OrderedDict()  # delivery tag: time of publishing
        self._number = 0
        self.latencies: list[float] = []
        self.errors = self.acknowledged = 0
        self.finished = asyncio.get_running_loop().create_future()
        self._start = time.monotonic() + seconds / 4
        self._end = self._start + seconds
        self._busy_from = 0.0

    def start(self, _frame: object) -> None:
        """Publish the first WINDOW messages."""
        for _ in range(self._window):
            self._publish()

    def confirm(self, frame: Any) -> None:
        """Handle a confirm of one message, or of all messages up to one; publish as many again."""
        method, now = frame.method, time.monotonic()
        if not isinstance(method, pika.spec.Basic.Ack):
            self.errors += 1
        while self._unconfirmed:
            number = next(iter(self._unconfirmed)) if method.multiple else method.delivery_tag
            if number > method.delivery_tag or number not in self._unconfirmed:
                break
            self._confirmed(self._unconfirmed.pop(number), now)
        if not self._unconfirmed and now >= self._end and not self.finished.done():
            self.finished.set_result(None)

    def stats(self) -> Stats:
        """Return the statistics of the measurement."""
        busy = time.process_time() - self._busy_from
        stats = make_stats(self.latencies, self._end - self._start, [self.acknowledged], busy)
        return {**stats, "errors": self.errors, "unanswered": len(self._unconfirmed), "peak": peak_memory(os.getpid())}

    def _confirmed(self, published: float, now: float) -> None:
        self.acknowledged += 1
        if self._start <= now < self._end:
            self._busy_from = self._busy_from or time.process_time()
            self.latencies.append(now - published)
            if len(self.latencies) >= self._limit:
                self._end = now
        if now < self._end:
            self._publish()

    def _publish(self) -> None:
        self._number += 1
        self._unconfirmed[self._number] = time.monotonic()
        headers = {"filename": "foto.jpg", "traceparent": "00-" + 32 * "a", "sha256": 64 * "0", "size": len(self._body)}
        properties = pika.BasicProperties(
            message_id=uuid4().hex, delivery_mode=2, timestamp=int(time.time()), headers=headers
        )
        self._channel.basic_publish("", "images", self._body, properties, mandatory=True)


async def main(port: int, seconds: float, window: int, limit: int, body: bytes) -> None:
    """Publish, and print the statistics."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[Channel] = loop.create_future()
    closed = loop.create_future()
    connection = AsyncioConnection(
        pika.ConnectionParameters("127.0.0.1", port, heartbeat=0),
        on_open_callback=lambda connection: connection.channel(on_open_callback=opened.set_result),
        on_open_error_callback=lambda _, error: opened.set_exception(error),
        on_close_callback=lambda *_: closed.set_result(None),
        custom_ioloop=loop,
    )
    channel = await opened
    publisher = PikaPublisher(channel, seconds, window, limit, body)
    channel.confirm_delivery(publisher.confirm, callback=publisher.start)
    await asyncio.wait((publisher.finished, closed), return_when=asyncio.FIRST_COMPLETED)
    print(json.dumps(publisher.stats()))
    if not closed.done():
        connection.close()
        await closed


if __name__ == "__main__":
    numbers = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    uvloop.run(main(*numbers, Path(sys.argv[5]).read_bytes()))
