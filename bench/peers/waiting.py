"""A full queue: `python -m bench.peers.waiting PORT WORKERS TASKS PID`.

WORKERS workers each get a task, and do not report it; then TASKS tasks wait. The tasks are UPDATEs, the kind that takes
the most memory. Prints one JSON object: the highest resident set (bytes) of process PID.
"""

import asyncio
import sys
import time
from functools import partial

import uvloop

from bench.core.errors import InvalidRunError
from bench.core.load import Stats, print_stats
from bench.core.process import POLL_INTERVAL_S, START_TIMEOUT_S, allow_open_files, peak_memory
from bench.peers.client import UPDATE, Client, connected
from bench.peers.light_worker import LightWorker
from bench.peers.submit import wait_for_workers
from frota.logs import log
from frota.peers.settings import SYSTEM, WORKER_UNIT


async def fill(port: int, workers: int, tasks: int, pid: int, client: Client) -> Stats:
    """Connect the workers, submit the tasks, return the memory. Raises InvalidRunError unless the tasks wait."""
    light = [LightWorker(f"worker-{number}", 1, lambda *_: None) for number in range(workers)]
    for worker in light:
        await worker.connect(port)
    wait_for_workers(client, workers)
    client.submit(UPDATE, workers)
    require_queue(client, 0, workers)
    client.submit(UPDATE, tasks)
    require_queue(client, tasks, workers)
    peak = peak_memory(pid)
    await asyncio.sleep(0)  # a connection that has ended is noticed now
    if lost := [worker.lost for worker in light if worker.lost]:
        raise InvalidRunError(f"a worker lost its connection: {lost[0]}")
    return {"peak": peak}


def require_queue(client: Client, waiting: int, leased: int) -> None:
    """Wait until so many tasks wait, and so many are leased. Raises InvalidRunError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while (queue := client.status()["queue"])["waiting"] != waiting or queue["leased"] != leased:
        if time.monotonic() > deadline:
            raise InvalidRunError(f"the queue is {queue}, expected: {waiting} waiting, {leased} leased")
        time.sleep(POLL_INTERVAL_S)


def measure(port: int, workers: int, tasks: int, pid: int) -> Stats:
    """Fill the queue, and return the memory of the server. Raises InvalidRunError."""
    log.configure(SYSTEM, WORKER_UNIT, "WARNING")
    allow_open_files(workers + 100)
    with connected(port) as client:
        return uvloop.run(fill(port, workers, tasks, pid, client))


if __name__ == "__main__":
    print_stats(partial(measure, int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
