"""Load generators: programs that send requests to a server and print their figures as one JSON object."""

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.machine import load_cpus
from bench.core.process import on_cpus

EXTRA_TIMEOUT_S = 60.0
MEBIBYTE = 1 << 20
FIGURES = ("count", "seconds", "rate", "p50_ms", "p99_ms", "max_ms", "load_busy")

Stats = Mapping[str, Any]
"""The output of a load generator (see load.h): FIGURES, "errors", "unanswered", and "acknowledged" per connection."""


@dataclass(frozen=True)
class Generator:
    """A generator written in C (see load.h). It measures for `seconds`, or until `limit` responses have arrived."""

    program: Path
    connections: int
    seconds: float
    limit: int
    more: Sequence[str | int | Path] = ()  # further arguments

    def run(self, port: int, protocol: str) -> Stats:
        """Return the statistics of a run on the CPU for load generators. Raises InvalidRunError."""
        arguments = (self.program, port, self.connections, self.seconds, self.limit, protocol, *self.more)
        return run_generator([str(argument) for argument in arguments], self.seconds)


def run_pinned(command: Sequence[str], seconds: float, cpus: Collection[int] | None = None) -> tuple[str, str]:
    """Return the standard output and error of a load of `seconds`, on `cpus` or on the CPU for load generators.

    Raises InvalidRunError if it fails, or does not end in time.
    """
    timeout = 2 * seconds + EXTRA_TIMEOUT_S
    try:
        result = subprocess.run(
            on_cpus(command, cpus or load_cpus()), check=False, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidRunError(f"the load generator did not end within {timeout:.0f} s") from error
    if result.returncode != 0:
        raise InvalidRunError(f"the load generator failed: {result.stderr.strip()}")
    return result.stdout, result.stderr.strip()


def run_generator(command: Sequence[str], seconds: float, cpus: Collection[int] | None = None) -> Stats:
    """Return the statistics of a load generator. Raises InvalidRunError if the server violated its contract."""
    output, message = run_pinned(command, seconds, cpus)
    stats: Stats = json.loads(output)
    if stats["errors"] or stats["unanswered"]:
        raise InvalidRunError(f"errors: {stats['errors']}, unanswered: {stats['unanswered']} {message}")
    if stats["count"] == 0:
        raise InvalidRunError("no response arrived in the measured time")
    return stats


def make_stats(latencies: Sequence[float], seconds: float, acknowledged: Sequence[int], busy: float) -> Stats:
    """Return the statistics of a generator in Python.

    `latencies` (s) are those of the responses within `seconds`, `busy` is the CPU time (s) used in them.
    """
    ordered = sorted(latencies) or [0.0]
    percentiles = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {
        "count": len(latencies),
        "seconds": seconds,
        "rate": len(latencies) / seconds,
        **{name: ordered[int((len(ordered) - 1) * share)] * 1e3 for name, share in percentiles.items()},
        "load_busy": busy / seconds,
        "errors": 0,
        "unanswered": 0,
        "acknowledged": acknowledged,
    }


def print_stats(measure: Callable[[], Stats]) -> None:
    """Run a generator in Python: print its statistics as one JSON object, or exit with the reason of an invalid run."""
    try:
        stats = measure()
    except InvalidRunError as error:
        sys.exit(str(error))
    print(json.dumps(stats))


def figures_of(stats: Stats, peak_bytes: int) -> Figures:
    """Return the figures of a run, with the server's highest resident set."""
    return {**{name: stats[name] for name in FIGURES}, "peak_mib": peak_bytes / MEBIBYTE}
