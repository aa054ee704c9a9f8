"""Load of Celery: `python -m bench.peers.celery_load SECONDS`.

One client keeps WINDOW batches of BATCH tasks outstanding: it publishes a batch, and the next one when the results of
the oldest have arrived. It does not wait for publisher confirms. The warm-up is a quarter of SECONDS. Prints the
statistics of `bench.core.load`.
"""

import sys
import time
from collections import deque
from functools import partial

from celery.result import AsyncResult, ResultSet  # type: ignore[import-not-found]  # only tools/baselines fetches it

from bench.core.load import Stats, make_stats, print_stats
from bench.peers.celery_app import app, noop

WINDOW, BATCH = 20, 50
TIMEOUT_S = 60.0


def publish() -> tuple[float, list[AsyncResult]]:
    """Publish a batch; return when, and its results to be."""
    return time.monotonic(), [noop.apply_async() for _ in range(BATCH)]


def finish(results: list[AsyncResult]) -> None:
    """Wait for results, and forget them. Raises an error of Celery if a task has failed."""
    ResultSet(results, app=app).join_native(timeout=TIMEOUT_S)


def measure(seconds: float) -> Stats:
    """Submit tasks, and return the statistics."""
    finish(publish()[1])  # the workers have started
    start, busy = time.monotonic() + seconds / 4, time.process_time()
    end = start + seconds
    latencies: list[float] = []
    batches = deque(publish() for _ in range(WINDOW))
    total = 0
    while batches:
        published, results = batches.popleft()
        finish(results)
        total += BATCH
        now = time.monotonic()
        if start <= now < end:
            latencies.append(now - published)
        if now < end:
            batches.append(publish())
    stats = make_stats(latencies, seconds, [total], time.process_time() - busy)
    return {**stats, "count": BATCH * stats["count"], "rate": BATCH * stats["rate"]}


if __name__ == "__main__":
    print_stats(partial(measure, float(sys.argv[1])))
