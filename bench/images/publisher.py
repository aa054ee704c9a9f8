"""Our publisher without the rest: `python -m bench.images.publisher PORT SECONDS WINDOW LIMIT FILE`.

Does what peer.py does, and prints the same account, with `frota.images.broker.publisher`: WINDOW tasks publish a file
to the queue `images` again and again, each when its last message is confirmed.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from uuid import uuid4

import pika  # type: ignore[import-untyped]
import uvloop

from bench.images.account import account
from frota.images import messages, settings
from frota.images.broker import topology
from frota.images.broker.publisher import Publisher
from frota.images.messages import QUEUE, QueuedImage
from frota.images.settings import BrokerConfig
from frota.logs import log


async def main(port: int, seconds: float, window: int, limit: int, body: bytes) -> None:
    """Publish, and print the account."""
    publisher = Publisher(BrokerConfig(brokers=(("127.0.0.1", port),)), topology.declare)
    connecting = asyncio.create_task(publisher.run())
    await publisher.session()
    latencies: list[float] = []
    begin = time.monotonic() + seconds / 4
    until, acknowledged, busy = begin + seconds, 0, 0.0

    async def publish() -> None:
        nonlocal acknowledged, busy, until
        while (published := time.monotonic()) < until:
            ticket = QueuedImage(uuid4().hex, "foto.jpg", 32 * "a", 64 * "0", len(body))
            properties = pika.BasicProperties(
                message_id=ticket.id, delivery_mode=2, timestamp=int(time.time()), headers=ticket.headers()
            )
            await publisher.publish("", QUEUE, body, properties)
            acknowledged += 1
            if begin <= (now := time.monotonic()) < until:
                busy = busy or time.process_time()
                latencies.append(now - published)
                until = now if len(latencies) >= limit else until

    await asyncio.gather(*(publish() for _ in range(window)))
    print(json.dumps(account(latencies, until - begin, acknowledged, 0, time.process_time() - busy)))
    connecting.cancel()
    await asyncio.wait([connecting])


if __name__ == "__main__":
    log.configure(settings.SYSTEM, messages.QUEUE, "WARNING")
    numbers = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    uvloop.run(main(*numbers, Path(sys.argv[5]).read_bytes()))
