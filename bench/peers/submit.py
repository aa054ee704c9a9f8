"""Load: `python -m bench.peers.submit PORT SECONDS WORKERS noop|update`.

One client waits until WORKERS workers are connected. Then it keeps WINDOW batches of BATCH tasks outstanding: it
submits a batch, requests its results when it is accepted, and submits the next one when they have arrived. The warm-up
ends when as many batches are finished, and takes at least a quarter of SECONDS. Prints one JSON object: the statistics
of `bench.core.load`, which count tasks; the latencies are those of batches; and the ids of all tasks.
"""

import math
import sys
import time
from functools import partial

from bench.core.errors import InvalidRunError
from bench.core.load import Stats, make_stats, print_stats
from bench.core.process import POLL_INTERVAL_S, START_TIMEOUT_S
from bench.peers.client import NOOP, UPDATE, WAIT_S, Client, Fields, accepted, connected, require_results

WINDOW, BATCH = 32, 250  # 8,000 tasks: more than 100 workers have at a time


class Load:
    """The batches of one client."""

    def __init__(self, client: Client, task: Fields, seconds: float) -> None:
        self._client, self._tasks = client, [task] * BATCH
        self._submitted: dict[int, float] = {}  # by the id of the request: when
        self._accepted: dict[int, tuple[list[str], float]] = {}  # by that of the request for results
        self._seconds, self._earliest = seconds, time.monotonic() + seconds / 4
        self._start = self._end = math.inf
        self._finished = 0
        self.ids: list[str] = []
        self.latencies: list[float] = []  # of the batches whose results arrived in the measured time
        self.busy_from = 0.0

    def run(self) -> None:
        """Submit until the end, and wait for all results. Raises InvalidRunError."""
        for _ in range(WINDOW):
            self._submit()
        while self._submitted or self._accepted:
            reply = self._client.receive()
            if (submitted := self._submitted.pop(reply["ID"], None)) is not None:
                ids = accepted(reply)
                self.ids += ids
                number = self._client.send("RESULT", TASK_IDS=ids, WAIT_S=WAIT_S)
                self._accepted[number] = ids, submitted
            else:
                self._finish(reply)

    def _submit(self) -> None:
        self._submitted[self._client.send("SUBMIT", TASKS=self._tasks)] = time.monotonic()

    def _finish(self, reply: Fields) -> None:
        ids, submitted = self._accepted.pop(reply["ID"])
        require_results(ids, reply)
        self._finished, now = self._finished + 1, time.monotonic()
        if self._start <= now < self._end:
            self.latencies.append(now - submitted)
        if self._start == math.inf and self._finished >= WINDOW and now >= self._earliest:
            self._start, self._end, self.busy_from = now, now + self._seconds, time.process_time()
        if now < self._end:
            self._submit()


def wait_for_workers(client: Client, number: int) -> None:
    """Wait until so many workers are connected. Raises InvalidRunError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while (connected := client.status()["workers"]["own_here"]) < number:
        if time.monotonic() > deadline:
            raise InvalidRunError(f"{connected} of {number} workers are connected")
        time.sleep(POLL_INTERVAL_S)


def measure(port: int, seconds: float, workers: int, kind: str) -> Stats:
    """Submit tasks, and return the statistics. Raises InvalidRunError."""
    with connected(port) as client:
        wait_for_workers(client, workers)
        load = Load(client, {"noop": NOOP, "update": UPDATE}[kind], seconds)
        load.run()
    busy = time.process_time() - load.busy_from
    stats = make_stats(load.latencies, seconds, [len(load.ids)], busy)
    counted = {"count": BATCH * stats["count"], "rate": BATCH * stats["rate"]}
    return {**stats, **counted, "ids": load.ids}


if __name__ == "__main__":
    print_stats(partial(measure, int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
