"""What no worker of this kind can be faster than: `python -m bench.images.parts BROKER_PORT S3_PORT CONVERTERS`.

The worker's own parts with nothing in between: takes an image from the queue, converts it, puts it into S3, publishes
an event, acknowledges. Nothing is checked, logged, tried again or handed over; SIGTERM ends it when it
has nothing to do.
"""

import asyncio
import signal
import sys

import pika  # type: ignore[import-untyped]
import uvloop

from bench.images.work import HANDED_OUT
from frota.images import settings
from frota.images.broker import topology
from frota.images.broker.consumer import Consumer, Delivery
from frota.images.broker.publisher import Publisher
from frota.images.converter.pool import ConverterPool
from frota.images.messages import EVENTS, QUEUE, result_keys
from frota.images.s3.bucket import S3Client
from frota.images.settings import WorkerSettings
from frota.logs import log

ABOUT = {"trace-id": 32 * "a", "source-sha256": 64 * "0"}
EVENT = 400 * b"e"  # as long as the worker's


async def main(broker_port: int, s3_port: int, converters: int) -> None:
    """Work until SIGTERM."""
    config = WorkerSettings(brokers=(("127.0.0.1", broker_port),), s3_endpoint=f"http://127.0.0.1:{s3_port}")
    stopping, working = asyncio.Event(), set[asyncio.Task[None]]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    objects = S3Client(config, threads=4 * converters)
    publisher = Publisher(config, topology.declare)

    async def work(delivery: Delivery) -> None:
        grey = await pool.convert(delivery.body, ".jpg")
        key = result_keys(delivery.properties.headers["filename"], "")[0]
        await objects.put_new("results", key, grey.data, grey.media_type, ABOUT)
        properties = pika.BasicProperties(message_id=delivery.properties.message_id, delivery_mode=2)
        await publisher.publish(EVENTS, "", EVENT, properties)
        delivery.ack()

    def take(delivery: Delivery) -> None:
        task = asyncio.create_task(work(delivery))
        working.add(task)
        task.add_done_callback(working.discard)

    async with ConverterPool(converters) as pool:
        consumer = Consumer(config, QUEUE, HANDED_OUT * converters, take, topology.declare)
        tasks = [asyncio.create_task(one) for one in (publisher.run(), consumer.run())]
        await stopping.wait()
        await asyncio.gather(*working)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await objects.close()


if __name__ == "__main__":
    log.configure(settings.SYSTEM, QUEUE, "WARNING")
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
