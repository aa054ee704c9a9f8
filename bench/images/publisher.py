"""The producer's publisher alone: `python -m bench.images.publisher PORT SECONDS WINDOW LIMIT FILE`.

Does the same as pika_publisher.py, with `frota.images.broker.publisher`: WINDOW tasks publish a file to the queue
`images`, each as soon as its last message is confirmed.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from uuid import uuid4

import pika  # type: ignore[import-untyped]
import uvloop

from bench.core.load import make_stats
from bench.core.process import peak_memory
from frota.images import messages, settings
from frota.images.broker import topology
from frota.images.broker.publisher import Publisher
from frota.images.messages import QUEUE, QueuedImage
from frota.images.settings import BrokerConfig
from frota.logs import log


async def main(port: int, seconds: float, window: int, limit: int, body: bytes) -> None:
    """Publish, and print the statistics."""
    publisher = Publisher(BrokerConfig(brokers=(("127.0.0.1", port),)), topology.declare)
    connecting = asyncio.create_task(publisher.run())
    await publisher.session()
    latencies: list[float] = []
    start = time.monotonic() + seconds / 4
    end, acknowledged, busy_from = start + seconds, 0, 0.0

    async def publish() -> None:
        nonlocal acknowledged, busy_from, end
        while (published := time.monotonic()) < end:
            queued = QueuedImage(uuid4().hex, "foto.jpg", 32 * "a", 64 * "0", len(body))
            properties = pika.BasicProperties(
                message_id=queued.id, delivery_mode=2, timestamp=int(time.time()), headers=queued.headers()
            )
            await publisher.publish("", QUEUE, body, properties)
            acknowledged += 1
            if start <= (now := time.monotonic()) < end:
                busy_from = busy_from or time.process_time()
                latencies.append(now - published)
                end = now if len(latencies) >= limit else end

    await asyncio.gather(*(publish() for _ in range(window)))
    stats = make_stats(latencies, end - start, [acknowledged], time.process_time() - busy_from)
    print(json.dumps({**stats, "peak": peak_memory(os.getpid())}))
    connecting.cancel()
    await asyncio.wait([connecting])


if __name__ == "__main__":
    log.configure(settings.SYSTEM, messages.QUEUE, "WARNING")
    numbers = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    uvloop.run(main(*numbers, Path(sys.argv[5]).read_bytes()))
