"""Load: `python -m bench.peers.submit PORT SECONDS WORKERS noop|update PID,…`.

One client waits until WORKERS workers are connected. Then it keeps WINDOW batches of BATCH tasks outstanding: it
submits a batch, requests its results when it is accepted, and submits the next one when they have arrived. Prints one
JSON object: the statistics of steady_state.py, with the CPU time of processes PID, and the ids of all tasks.
"""

import sys
import time
from collections.abc import Sequence
from functools import partial

from bench.core.errors import InvalidRunError
from bench.core.load import Stats, print_stats
from bench.core.process import POLL_INTERVAL_S, START_TIMEOUT_S
from bench.peers.client import NOOP, UPDATE, WAIT_S, Client, Fields, accepted, connected, require_results
from bench.peers.steady_state import SteadyState, parse_pids

WINDOW, BATCH = 32, 250  # 8,000 tasks: more than 100 workers have at a time


class Load:
    """The batches of one client."""

    def __init__(self, client: Client, task: Fields, state: SteadyState) -> None:
        self._client, self._tasks = client, [task] * BATCH
        self._submitted: set[int] = set()  # ids of requests without a reply
        self._accepted: dict[int, list[str]] = {}  # by the id of the request for the results
        self.state = state
        self.ids: list[str] = []

    def run(self) -> None:
        """Submit until the end, and wait for all results. Raises InvalidRunError."""
        for _ in range(WINDOW):
            self._submit()
        while self._submitted or self._accepted:
            reply = self._client.receive()
            if reply["ID"] in self._submitted:
                self._submitted.remove(reply["ID"])
                ids = accepted(reply)
                self.ids += ids
                self._accepted[self._client.send("RESULT", TASK_IDS=ids, WAIT_S=WAIT_S)] = ids
            else:
                require_results(self._accepted.pop(reply["ID"]), reply)
                self.state.finish()
                if not self.state.over:
                    self._submit()

    def _submit(self) -> None:
        self._submitted.add(self._client.send("SUBMIT", TASKS=self._tasks))


def wait_for_workers(client: Client, number: int) -> None:
    """Wait until so many workers are connected. Raises InvalidRunError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while (connected := client.status()["workers"]["own_here"]) < number:
        if time.monotonic() > deadline:
            raise InvalidRunError(f"{connected} of {number} workers are connected")
        time.sleep(POLL_INTERVAL_S)


def measure(port: int, seconds: float, workers: int, kind: str, pids: Sequence[int]) -> Stats:
    """Submit tasks, and return the statistics. Raises InvalidRunError."""
    with connected(port) as client:
        wait_for_workers(client, workers)
        load = Load(client, {"noop": NOOP, "update": UPDATE}[kind], SteadyState(seconds, WINDOW, pids))
        load.run()
    return {**load.state.stats(BATCH), "ids": load.ids}


if __name__ == "__main__":
    port, seconds, workers, kind, pids = sys.argv[1:]
    print_stats(partial(measure, int(port), float(seconds), int(workers), kind, parse_pids(pids)))
