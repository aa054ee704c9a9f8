"""One measurement: a fresh server, the load, the answers' verdict, and the store's."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.machine import load_cpus
from bench.core.process import free_port, on_cpus, peak_memory, running, tail
from bench.sensors.readings import difference, expected
from bench.sensors.sides import Side

MEBIBYTE = 1 << 20
MOST_READINGS = 400_000  # measured at most: whoever is done sooner is measured for a shorter time
OVERTIME_SECONDS = 60.0
FIGURES = ("count", "seconds", "rate", "p50_ms", "p99_ms", "max_ms", "load_busy")


@dataclass(frozen=True)
class Load:
    """Readings from `connections` sensors, each with at most `window` unanswered; with newlines, or without."""

    program: Path
    connections: int
    window: int
    lines: bool
    seconds: float

    def run(self, port: int) -> dict[str, Any]:
        """Return the load's account (see load.c). Raises InvalidRunError where the server broke the contract."""
        mode = "lines" if self.lines else "unterminated"
        numbers = (port, self.connections, self.window, self.seconds, MOST_READINGS)
        command = [str(self.program), *map(str, numbers), mode]
        timeout = 2 * self.seconds + OVERTIME_SECONDS
        try:
            done = subprocess.run(
                on_cpus(command, load_cpus()), check=False, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise InvalidRunError(f"the load did not end within {timeout:.0f} s") from error
        if done.returncode != 0:
            raise InvalidRunError(f"the load could not be made: {done.stderr.strip()}")
        account: dict[str, Any] = json.loads(done.stdout)
        require_good(account, done.stderr.strip())
        return account


def require_good(account: dict[str, Any], complaint: str) -> None:
    """Raise InvalidRunError unless every reading sent was answered as the contract says."""
    if account["errors"] or account["unanswered"]:
        raise InvalidRunError(
            f"connections that failed: {account['errors']}, readings not answered: {account['unanswered']} {complaint}"
        )
    if account["count"] == 0:
        raise InvalidRunError("not one reading was acknowledged in the time measured")


def measure(side: Side, load: Load, folder: Path) -> Figures:
    """Return the figures of one run; `peak_mib` is the server's highest resident set.

    Raises InvalidRunError, with the end of the server's output, where an answer or the store is not what it must be.
    """
    with tempfile.TemporaryDirectory(dir=folder) as run:
        state, log = Path(run) / "state", Path(run) / "output"
        state.mkdir()
        port = free_port()
        try:
            with running(on_cpus(side.command(port, state), side.cpus), port, log) as server:
                account = load.run(port)
                peak = peak_memory(server)
            require_stored(side, state, account["acknowledged"])
        except InvalidRunError as error:
            raise InvalidRunError(f"{error}\n  the server's last words:\n{tail(log)}") from error
    return {**{name: account[name] for name in FIGURES}, "peak_mib": peak / MEBIBYTE}


def require_stored(side: Side, state: Path, acknowledged: list[int]) -> None:
    """Raise InvalidRunError unless the store holds each acknowledged reading exactly once, and nothing else."""
    if complaint := difference(expected(acknowledged), side.stored(state, sum(acknowledged))):
        raise InvalidRunError(complaint)
