"""A burst of tasks on one of two servers, which lend each other workers, or do not."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.machine import cpus
from bench.core.options import Options
from bench.core.process import POLL_INTERVAL_S, START_TIMEOUT_S, free_port, fresh_state, on_cpus, running, started
from bench.peers.client import Client, Fields, connected
from bench.peers.sides import program, serve

WORKERS = 4  # of each server
TASKS = 10_000
SERVICE_S = 0.004  # of a task: 10 s without lending
QUERY: Fields = {"TASK": "QUERY", "USER": "11111111111"}
BURST_TIMEOUT_S = 120.0


def measure(options: Options, *, lends: bool) -> Figures:
    """Return the times (s) of a burst, from its first task. Raises InvalidRunError."""
    with two_servers(options, lends=lends) as (busy, idle):
        start = time.monotonic()
        ids = busy.submit(QUERY, TASKS)
        times = watch(busy, idle, start, lends=lends)
        busy.require_done(ids)
    return times


@contextmanager
def two_servers(options: Options, *, lends: bool) -> Iterator[tuple[Client, Client]]:
    """Yield a client of each server, once they know their workers and each other. Raises InvalidRunError."""
    ports = free_port(), free_port()
    work = on_cpus(program("burst_workers", WORKERS, SERVICE_S, *ports), cpus())

    def command(number: int) -> list[str]:
        peers = ("--peers", f"127.0.0.1:{ports[1 - number]}") if lends else ()
        return serve(options, ports[number], state / str(number), ("--durable", "no", *peers))

    with (
        fresh_state(options.folder) as (state, log),
        running(command(0), ports[0], log),
        running(command(1), ports[1], state / "second"),
        started(work, state / "workers"),
        connected(ports[0]) as first,
        connected(ports[1]) as second,
    ):
        wait_until_ready(first, second, lends=lends)
        yield first, second


def wait_until_ready(*clients: Client, lends: bool) -> None:
    """Wait until each server has its workers, and its peer is up. Raises InvalidRunError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not all(is_ready(status := client.status(), lends=lends) for client in clients):
        if time.monotonic() > deadline:
            raise InvalidRunError(f"a server is not ready: {status}")
        time.sleep(POLL_INTERVAL_S)


def is_ready(status: Fields, *, lends: bool) -> bool:
    """Return whether a server has its workers, and its peer is up."""
    peers = status["peers"]
    return status["workers"]["own_here"] == WORKERS and len(peers) == lends and all(peer["up"] for peer in peers)


def watch(busy: Client, idle: Client, start: float, *, lends: bool) -> Figures:
    """Return when all workers worked, when the last result was there, and how long after it all were at home."""
    at_work, done = 0.0, 0.0
    workers = 2 * WORKERS if lends else WORKERS
    while (elapsed := time.monotonic() - start) < BURST_TIMEOUT_S:
        status, other = busy.status(), idle.status()
        if not at_work and status["workers"]["busy"] >= workers:
            at_work = elapsed
        if not done and status["tasks"]["done"] >= TASKS:
            done = elapsed
        if done and not status["workers"]["borrowed"] and other["workers"]["own_here"] == WORKERS:
            return {"at_work_s": at_work or elapsed, "total_s": done, "home_s": elapsed - done}
        time.sleep(POLL_INTERVAL_S)
    raise InvalidRunError(f"after {BURST_TIMEOUT_S:.0f} s: {status}, the other server: {other}")
