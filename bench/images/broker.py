"""The queues of the images in the broker of the run: new ones for every measurement."""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping

from pika.adapters.blocking_connection import BlockingChannel  # type: ignore[import-untyped]

from bench.core import chroot, rabbitmq
from bench.core.errors import InvalidRunError
from bench.core.options import Options
from bench.core.process import POLL_INTERVAL_S
from frota.images.broker import topology
from frota.images.broker.session import connect, parameters
from frota.images.messages import DEAD, EVENTS, QUEUE
from frota.images.settings import BrokerConfig

EVENTS_QUEUE = "images.events"
COUNT_TIMEOUT_S = 20.0


def find_obstacle() -> str | None:
    """Return why no broker can run here, None if one can."""
    return chroot.find_obstacle(rabbitmq.NAME)


class Broker:
    """Starts at its first use, and ends with the run."""

    def __init__(self, options: Options) -> None:
        self._server = rabbitmq.of_run(options)

    @property
    def port(self) -> int:
        """The port of AMQP, once it has started."""
        return self._server.port

    def reset(self, cpus: Collection[int]) -> None:
        """Start the broker if necessary, move it to `cpus`, and create its queues and exchanges again."""
        self._server.start()
        self._server.set_cpus(cpus)
        channel = self.channel()
        for queue in (QUEUE, DEAD, EVENTS_QUEUE):
            channel.queue_delete(queue)
        for exchange in (DEAD, EVENTS):
            channel.exchange_delete(exchange)
        channel.connection.close()
        asyncio.run(self._declare())

    def channel(self) -> BlockingChannel:
        """Open a connection with a channel. Raises OSError, AMQPError."""
        return self._server.channel()

    def count(self, queue: str) -> int:
        """Return the number of messages in a queue without consumers."""
        channel = self.channel()
        count: int = channel.queue_declare(queue, passive=True).method.message_count
        channel.connection.close()
        return count

    def require(self, counts: Mapping[str, int | range]) -> None:
        """Wait until each queue has its number of messages, or one in its range. Raises InvalidRunError."""
        expected = {queue: count if isinstance(count, range) else (count,) for queue, count in counts.items()}
        deadline = time.monotonic() + COUNT_TIMEOUT_S
        while not all(count in expected[queue] for queue, count in self._counts(expected).items()):
            if time.monotonic() > deadline:
                raise InvalidRunError(f"the queues have {self._counts(expected)} messages, expected: {counts}")
            time.sleep(POLL_INTERVAL_S)  # messages of a closed consumer return with a delay

    def _counts(self, queues: Iterable[str]) -> dict[str, int]:
        return {queue: self.count(queue) for queue in queues}

    async def _declare(self) -> None:
        session = await connect(parameters(BrokerConfig(brokers=(("127.0.0.1", self.port),)))[0])
        await topology.declare(session, EVENTS_QUEUE)
        await session.close()
