"""One measurement: a fresh server, the load, the answers' verdict, and the store's."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.load import account_of
from bench.core.process import free_port, on_cpus, peak_memory, running, tail
from bench.sensors.readings import difference, expected
from bench.sensors.sides import Side

MEBIBYTE = 1 << 20
MOST_READINGS = 400_000  # measured at most: whoever is done sooner is measured for a shorter time
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
        return account_of(command, self.seconds)


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
