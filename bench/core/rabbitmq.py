"""The RabbitMQ of the hosts, on loopback: one broker for the whole run, of all systems."""

from contextlib import suppress
from functools import cache

import pika  # type: ignore[import-untyped]
from pika.adapters.blocking_connection import BlockingChannel  # type: ignore[import-untyped]
from pika.exceptions import AMQPError  # type: ignore[import-untyped]

from bench.core.chroot import ChrootServer
from bench.core.options import Options

NAME = "broker"


class RabbitMq(ChrootServer):
    """The broker."""

    name = NAME
    ports, offsets = range(12_600, 12_700), (0, 10_000, 20_000)

    def channel(self) -> BlockingChannel:
        """Open a connection with a channel. Raises OSError, AMQPError."""
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port, heartbeat=0)).channel()

    def responds(self) -> bool:
        """Return whether it accepts a connection."""
        with suppress(AMQPError, OSError):
            self.channel().connection.close()
            return True
        return False


@cache
def of_run(options: Options) -> RabbitMq:
    """Return the broker of a run, which may not have started yet."""
    return RabbitMq(options)
