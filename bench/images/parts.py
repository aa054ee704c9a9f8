"""The upper limit for a worker: `python -m bench.images.parts BROKER_PORT S3_PORT CONVERTERS`.

The parts of the worker alone: consumes an image, converts it, puts it into S3, publishes an event, acknowledges the
image. It does not check, log or retry anything. SIGTERM ends it after the images that it has.
"""

import asyncio
import signal
import sys

import pika  # type: ignore[import-untyped]
import uvloop

from bench.images.work import PREFETCH_PER_CONVERTER
from frota.images import settings
from frota.images.broker import topology
from frota.images.broker.consumer import Consumer, Delivery
from frota.images.broker.publisher import Publisher
from frota.images.converter.pool import ConverterPool
from frota.images.messages import EVENTS, QUEUE, result_keys
from frota.images.s3.bucket import S3Client
from frota.images.settings import WorkerSettings
from frota.logs import log

METADATA = {"trace-id": 32 * "a", "source-sha256": 64 * "0"}
EVENT = 400 * b"e"  # the length of the worker's events


async def main(broker_port: int, s3_port: int, converters: int) -> None:
    """Work until SIGTERM."""
    config = WorkerSettings(brokers=(("127.0.0.1", broker_port),), s3_endpoint=f"http://127.0.0.1:{s3_port}")
    stopping, deliveries = asyncio.Event(), set[asyncio.Task[None]]()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    objects = S3Client(config, threads=4 * converters)
    publisher = Publisher(config, topology.declare)

    async def work(delivery: Delivery) -> None:
        grey = await pool.convert(delivery.body, ".jpg")
        key = result_keys(delivery.properties.headers["filename"], "")[0]
        await objects.put_new("results", key, grey.data, grey.media_type, METADATA)
        properties = pika.BasicProperties(message_id=delivery.properties.message_id, delivery_mode=2)
        await publisher.publish(EVENTS, "", EVENT, properties)
        delivery.ack()

    def start_work(delivery: Delivery) -> None:
        task = asyncio.create_task(work(delivery))
        deliveries.add(task)
        task.add_done_callback(deliveries.discard)

    async with ConverterPool(converters) as pool:
        consumer = Consumer(config, QUEUE, PREFETCH_PER_CONVERTER * converters, start_work, topology.declare)
        tasks = [asyncio.create_task(run) for run in (publisher.run(), consumer.run())]
        await stopping.wait()
        await asyncio.gather(*deliveries)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await objects.close()


if __name__ == "__main__":
    log.configure(settings.SYSTEM, QUEUE, "WARNING")
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
