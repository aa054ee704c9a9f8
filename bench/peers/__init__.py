"""The peers, compared with Dask, with Celery on RabbitMQ, with a bare ping-pong, and with servers that do not lend."""

from bench.peers.scenarios import scenarios, smoke

__all__ = ["scenarios", "smoke"]
