"""Load of Celery: `python -m bench.peers.celery_load SECONDS PID,…`.

One client keeps WINDOW batches of BATCH tasks outstanding: it publishes a batch, and the next one when the results of
the oldest have arrived. It does not wait for publisher confirms. Prints the statistics of steady_state.py, with the
CPU time of processes PID.
"""

import sys
from collections import deque
from collections.abc import Sequence
from functools import partial

from celery.result import AsyncResult  # type: ignore[import-not-found]  # only tools/baselines fetches it

from bench.core.load import Stats, print_stats
from bench.peers.celery_app import noop
from bench.peers.steady_state import SteadyState, parse_pids

WINDOW, BATCH = 10, 20
TIMEOUT_S = 60.0


def publish() -> list[AsyncResult]:
    """Publish a batch; return its results to be."""
    return [noop.apply_async() for _ in range(BATCH)]


def finish(results: list[AsyncResult]) -> None:
    """Wait for results. Raises an error of Celery if a task has failed."""
    for result in results:
        result.get(timeout=TIMEOUT_S)


def measure(seconds: float, pids: Sequence[int]) -> Stats:
    """Submit tasks, and return the statistics."""
    state, batches = SteadyState(seconds, WINDOW, pids), deque(publish() for _ in range(WINDOW))
    while batches:
        finish(batches.popleft())
        state.finish()
        if not state.over:
            batches.append(publish())
    return state.stats(BATCH)


if __name__ == "__main__":
    print_stats(partial(measure, float(sys.argv[1]), parse_pids(sys.argv[2])))
