"""The sensor server beside the legacy design and beside a plain epoll server in C."""

from bench.sensors.scenarios import scenarios, smoke

__all__ = ["scenarios", "smoke"]
