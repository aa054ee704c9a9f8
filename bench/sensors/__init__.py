"""The sensor server, compared with the legacy design and with a simple epoll server in C."""

from bench.sensors.scenarios import scenarios, smoke

__all__ = ["scenarios", "smoke"]
