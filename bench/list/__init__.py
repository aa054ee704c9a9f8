"""The remote list, compared with Redis, with a bare echo server, and with Python's own list."""

from bench.list.scenarios import scenarios, smoke

__all__ = ["scenarios", "smoke"]
