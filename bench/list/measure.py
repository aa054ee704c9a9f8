"""One measurement of appends: a fresh server, the load, the answers' verdict, and the store's."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.machine import cpus
from bench.core.process import free_port, on_cpus, peak_memory, running, tail
from bench.list.sides import Account, Side

MEBIBYTE = 1 << 20
FIGURES = ("count", "seconds", "rate", "p50_ms", "p99_ms", "max_ms", "load_busy")


@contextmanager
def fresh(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Give an empty state folder and a file for a server's output, whose end a failure quotes."""
    with tempfile.TemporaryDirectory(dir=folder) as run:
        state, log = Path(run) / "state", Path(run) / "output"
        state.mkdir()
        log.touch()
        try:
            yield state, log
        except InvalidRunError as error:
            raise InvalidRunError(f"{error}\n  the server's last words:\n{tail(log)}") from error


def measure(side: Side, folder: Path) -> Figures:
    """Return the figures of one run; `peak_mib` is the server's highest resident set.

    Raises InvalidRunError, with the end of the server's output, where an answer or the store is not what it must be.
    """
    with fresh(folder) as (state, log):
        port = free_port()
        with running(on_cpus(side.command(port, state), cpus()), port, log) as server:
            account = side.load(port)
            peak = peak_memory(server)
            if not side.durable:
                require_stored(side, port, account)
        if side.durable:  # it was killed just now
            port = free_port()
            with running(side.command(port, state), port, log):
                require_stored(side, port, account)
    return {**{name: account[name] for name in FIGURES}, "peak_mib": peak / MEBIBYTE}


def require_stored(side: Side, port: int, account: Account) -> None:
    """Raise InvalidRunError unless the server holds each acknowledged append exactly once, and nothing else."""
    if complaint := side.complaint(port, account["acknowledged"]):
        raise InvalidRunError(complaint)
