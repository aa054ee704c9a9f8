"""The time from a client to a worker: `python -m bench.peers.hand_out PORT SECONDS WORKERS RATE`.

Submits RATE tasks a second, one in each request, evenly spread, whatever the server does; WORKERS workers get them, and
report them at once. The latency of a task is the time from its request to its arrival at the worker, so it includes
that it becomes durable. The warm-up is a quarter of SECONDS. Prints the statistics of `bench.core.load`.
"""

import asyncio
import sys
import time
from functools import partial
from typing import cast

import orjson
import uvloop

from bench.core.errors import InvalidRunError
from bench.core.load import Stats, make_stats, print_stats
from bench.peers.client import NOOP, Client, accepted, connected
from bench.peers.light_worker import LightWorker
from bench.peers.submit import wait_for_workers
from frota.logs import log
from frota.peers.protocol.messages import Tasks
from frota.peers.settings import SYSTEM, WORKER_UNIT

CAPACITY = 64
DRAIN_TIMEOUT_S = 20.0


class Submissions(asyncio.Protocol):
    """The client's connection: notes when each request was sent, and the id of its task."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport
        self._requested: dict[int, float] = {}  # by the id of the request
        self.sent: dict[str, float] = {}  # by the id of the task
        self.requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def submit(self) -> None:
        """Submit a task."""
        self.requests += 1
        self._requested[self.requests] = time.monotonic()
        self._transport.write(orjson.dumps({"REQUEST": "SUBMIT", "ID": self.requests, "TASKS": [NOOP]}) + b"\n")

    def data_received(self, data: bytes) -> None:
        """Process replies. Raises InvalidRunError, which closes the connection."""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            reply = orjson.loads(line)
            self.sent[accepted(reply)[0]] = self._requested.pop(reply["ID"])


async def submit(port: int, seconds: float, workers: int, rate: float, client: Client) -> Stats:
    """Submit the tasks, and return the statistics. Raises InvalidRunError."""
    received: dict[str, float] = {}

    def receive(worker: LightWorker, tasks: Tasks, now: float) -> None:
        received.update((task.id, now) for task in tasks.tasks)
        worker.report(tasks)

    light = [LightWorker(f"worker-{number}", CAPACITY, receive) for number in range(workers)]
    for worker in light:
        await worker.connect(port)
    wait_for_workers(client, workers)
    _, submissions = await asyncio.get_running_loop().create_connection(Submissions, "127.0.0.1", port)
    begin, busy = time.monotonic(), time.process_time()
    total = int(1.25 * seconds * rate)
    for number in range(total):
        await asyncio.sleep(max(0.0, begin + number / rate - time.monotonic()))
        submissions.submit()
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while len(received) < total or len(submissions.sent) < total:
        if time.monotonic() > deadline:
            raise InvalidRunError(f"of {total} tasks {len(submissions.sent)} were accepted, {len(received)} handed out")
        await asyncio.sleep(0.01)
    if lost := [worker.lost for worker in light if worker.lost]:
        raise InvalidRunError(f"a worker lost its connection: {lost[0]}")
    latencies = [received[task] - at for task, at in submissions.sent.items() if at >= begin + seconds / 4]
    share = (time.process_time() - busy) / (time.monotonic() - begin)
    return make_stats(latencies, seconds, [total], share * seconds)


def measure(port: int, seconds: float, workers: int, rate: float) -> Stats:
    """Connect, and return the statistics. Raises InvalidRunError."""
    log.configure(SYSTEM, WORKER_UNIT, "WARNING")
    with connected(port) as client:
        return uvloop.run(submit(port, seconds, workers, rate, client))


if __name__ == "__main__":
    print_stats(partial(measure, int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
