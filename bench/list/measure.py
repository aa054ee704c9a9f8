"""One measurement of appends: a new server, the load, and the check of the list."""

from pathlib import Path

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.load import Stats, figures_of
from bench.core.machine import cpus
from bench.core.process import free_port, fresh_state, on_cpus, peak_memory, running
from bench.list.sides import Side


def measure(side: Side, folder: Path) -> Figures:
    """Return the figures of one run; `peak_mib` is the server's highest resident set.

    Raises InvalidRunError, with the end of the server's output, if a response or the store is wrong.
    """
    with fresh_state(folder) as (state, log):
        port = free_port()
        with running(on_cpus(side.command(port, state), cpus()), port, log) as server:
            stats = side.load(port)
            peak = peak_memory(server)
            if not side.durable:
                require_stored(side, port, stats)
        if side.durable:  # it was killed above
            port = free_port()
            with running(side.command(port, state), port, log):
                require_stored(side, port, stats)
    return figures_of(stats, peak)


def require_stored(side: Side, port: int, stats: Stats) -> None:
    """Raise InvalidRunError unless the list contains each acknowledged element exactly once, and nothing else."""
    if error := side.find_error(port, stats["acknowledged"]):
        raise InvalidRunError(error)
