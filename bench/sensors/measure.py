"""One measurement: a new server, the load, and the check of the store."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.load import Stats, figures_of
from bench.core.process import free_port, fresh_state, on_cpus, peak_memory, running
from bench.sensors.readings import difference, expected
from bench.sensors.sides import Side


def measure(side: Side, load: Callable[[int], Stats], folder: Path) -> Figures:
    """Return the figures of a run of `load` on a port; `peak_mib` is the server's highest resident set.

    Raises InvalidRunError, with the end of the server's output, if a response or the store is wrong.
    """
    with fresh_state(folder) as (state, log):
        port = free_port()
        with running(on_cpus(side.command(port, state), side.cpus), port, log) as server:
            stats = load(port)
            peak = peak_memory(server)
        require_stored(side, state, stats["acknowledged"])
    return figures_of(stats, peak)


def require_stored(side: Side, state: Path, acknowledged: Sequence[int]) -> None:
    """Raise InvalidRunError unless the store contains each acknowledged reading exactly once, and nothing else."""
    if error := difference(expected(acknowledged), side.stored(state, sum(acknowledged))):
        raise InvalidRunError(error)
