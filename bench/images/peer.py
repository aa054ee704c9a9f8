"""The publisher that ours is measured against: `python -m bench.images.peer PORT SECONDS WINDOW LIMIT FILE`.

pika with asynchronous confirms, on the event loop that is its fastest: publishes a file to the queue `images` with at
most WINDOW messages unconfirmed, and does nothing else: nobody sends it the images, and it looks at none. A quarter of
SECONDS warms up. Prints the account that load.c prints.
"""

import asyncio
import json
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

from bench.images.account import account


class Peer:
    """Keeps the window full until the time is over, then waits for the confirms that are missing."""

    def __init__(self, channel: Channel, seconds: float, window: int, limit: int, body: bytes) -> None:
        self._channel, self._seconds, self._window, self._limit, self._body = channel, seconds, window, limit, body
        self._open: OrderedDict[int, float] = OrderedDict()  # when each was published
        self._number = 0
        self.latencies: list[float] = []
        self.errors = self.acknowledged = 0
        self.over = asyncio.get_running_loop().create_future()
        self._from = time.monotonic() + seconds / 4
        self._until = self._from + seconds
        self._busy_from = 0.0

    def begin(self, _frame: object) -> None:
        """Fill the window."""
        for _ in range(self._window):
            self._publish()

    def confirm(self, frame: Any) -> None:
        """Take a confirm, of one message or of all up to it; publish as many."""
        method, now = frame.method, time.monotonic()
        if not isinstance(method, pika.spec.Basic.Ack):
            self.errors += 1
        while self._open:
            number = next(iter(self._open)) if method.multiple else method.delivery_tag
            if number > method.delivery_tag or number not in self._open:
                break
            self._confirmed(self._open.pop(number), now)
        if not self._open and now >= self._until and not self.over.done():
            self.over.set_result(None)

    def account(self) -> dict[str, Any]:
        """Return what was measured."""
        seconds, busy = self._until - self._from, time.process_time() - self._busy_from
        return {
            **account(self.latencies, seconds, self.acknowledged, self.errors, busy),
            "unanswered": len(self._open),
        }

    def _confirmed(self, published: float, now: float) -> None:
        self.acknowledged += 1
        if self._from <= now < self._until:
            self._busy_from = self._busy_from or time.process_time()
            self.latencies.append(now - published)
            if len(self.latencies) >= self._limit:
                self._until = now
        if now < self._until:
            self._publish()

    def _publish(self) -> None:
        self._number += 1
        self._open[self._number] = time.monotonic()
        headers = {"filename": "foto.jpg", "traceparent": "00-" + 32 * "a", "sha256": 64 * "0", "size": len(self._body)}
        properties = pika.BasicProperties(
            message_id=uuid4().hex, delivery_mode=2, timestamp=int(time.time()), headers=headers
        )
        self._channel.basic_publish("", "images", self._body, properties, mandatory=True)


async def main(port: int, seconds: float, window: int, limit: int, body: bytes) -> None:
    """Publish, and print the account."""
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
    peer = Peer(channel, seconds, window, limit, body)
    channel.confirm_delivery(peer.confirm, callback=peer.begin)
    await asyncio.wait((peer.over, closed), return_when=asyncio.FIRST_COMPLETED)
    print(json.dumps(peer.account()))
    if not closed.done():
        connection.close()
        await closed


if __name__ == "__main__":
    numbers = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    uvloop.run(main(*numbers, Path(sys.argv[5]).read_bytes()))
