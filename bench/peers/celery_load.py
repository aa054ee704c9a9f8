"""Load of Celery: `python -m bench.peers.celery_load SECONDS`.

One client keeps WINDOW batches of BATCH tasks outstanding: it publishes a batch, and the next one when the results of
the oldest have arrived. It does not wait for publisher confirms. The warm-up ends when as many batches are finished,
and takes at least a quarter of SECONDS. Prints the statistics of `bench.core.load`.
"""

import math
import sys
import time
from collections import deque
from functools import partial

from celery.result import AsyncResult  # type: ignore[import-not-found]  # only tools/baselines fetches it

from bench.core.load import Stats, make_stats, print_stats
from bench.peers.celery_app import noop

WINDOW, BATCH = 10, 20
TIMEOUT_S = 60.0


def publish() -> tuple[float, list[AsyncResult]]:
    """Publish a batch; return when, and its results to be."""
    return time.monotonic(), [noop.apply_async() for _ in range(BATCH)]


def finish(results: list[AsyncResult]) -> None:
    """Wait for results. Raises an error of Celery if a task has failed."""
    for result in results:
        result.get(timeout=TIMEOUT_S)


def measure(seconds: float) -> Stats:
    """Submit tasks, and return the statistics."""
    batches = deque(publish() for _ in range(WINDOW))
    earliest, start, end = time.monotonic() + seconds / 4, math.inf, math.inf
    latencies: list[float] = []
    finished, busy = 0, 0.0
    while batches:
        published, results = batches.popleft()
        finish(results)
        finished, now = finished + 1, time.monotonic()
        if start <= now < end:
            latencies.append(now - published)
        if start == math.inf and finished >= WINDOW and now >= earliest:
            start, end, busy = now, now + seconds, time.process_time()
        if now < end:
            batches.append(publish())
    stats = make_stats(latencies, seconds, [BATCH * finished], time.process_time() - busy)
    return {**stats, "count": BATCH * stats["count"], "rate": BATCH * stats["rate"]}


if __name__ == "__main__":
    print_stats(partial(measure, float(sys.argv[1])))
