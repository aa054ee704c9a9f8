"""The remote list beside Redis, beside a bare echo, and beside Python's own list."""

from bench.list.scenarios import scenarios, smoke

__all__ = ["scenarios", "smoke"]
