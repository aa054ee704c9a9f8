"""Load as the legacy clients make it: `python -m bench.list.clients PORT CLIENTS SECONDS legacy|native|echo`.

Each client is a process with a REQ socket of pyzmq that sends a request and waits for the response. Requests, checks
and output are those of load.c. The processes run on the CPUs that the scheduler chooses.
"""

import json
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier
from queue import Empty
from typing import NamedTuple

import zmq

from bench.core.load import make_stats

RESPONSE_TIMEOUT_S = 20.0


class ClientResult(NamedTuple):
    """The measurement of one client; latencies and CPU time in seconds. `error` may be empty."""

    client: int
    latencies: list[float]
    busy: float
    acknowledged: int
    error: str


class Plan(NamedTuple):
    """The arguments that all clients share."""

    port: int
    seconds: float
    protocol: str


def make_request(client: int, number: int, protocol: str) -> bytes:
    """Return request `number` of a client."""
    if protocol == "native":
        fields = {"op": "append", "id": f"{client + 1:032x}:{number}", "value": f"{client}.{number}"}
        return json.dumps(fields).encode()
    return b"append %d.%d" % (client, number)


def is_expected(response: bytes, client: int, number: int, protocol: str) -> bool:
    """Return whether a response is the right one to request `number` of a client."""
    if protocol == "native":
        fields = json.loads(response)
        return bool(fields["ok"]) and fields["id"] == f"{client + 1:032x}:{number}"
    if protocol == "echo":
        return response == make_request(client, number, protocol)
    return response == f"Elemento '{client}.{number}' adicionado.".encode()


def run_client(plan: Plan, client: int, barrier: Barrier, results: "multiprocessing.Queue[ClientResult]") -> None:
    """Run one client: one request; then, at the same time as the other clients, the warm-up and the measurement."""
    socket = zmq.Context().socket(zmq.REQ)
    socket.rcvtimeo = int(RESPONSE_TIMEOUT_S * 1000)
    socket.connect(f"tcp://127.0.0.1:{plan.port}")
    latencies: list[float] = []
    number, start, end, busy_from, error = 0, float("inf"), float("inf"), 0.0, ""
    while (now := time.monotonic()) < end and not error:
        number += 1
        socket.send(make_request(client, number, plan.protocol))
        response = socket.recv()
        if not is_expected(response, client, number, plan.protocol):
            error = f"client {client}: a wrong response: {response[:80]!r}"
        if now >= start:
            busy_from = busy_from or time.process_time()
            latencies.append(time.monotonic() - now)
        if number == 1:
            barrier.wait(RESPONSE_TIMEOUT_S)
            start = time.monotonic() + plan.seconds / 4
            end = start + plan.seconds
    results.put(ClientResult(client, latencies, time.process_time() - busy_from, number, error))


def main(port: int, clients: int, seconds: float, protocol: str) -> None:
    """Run the clients, and print their statistics."""
    plan, barrier = Plan(port, seconds, protocol), multiprocessing.Barrier(clients)
    queue: multiprocessing.Queue[ClientResult] = multiprocessing.Queue()
    for client in range(clients):
        multiprocessing.Process(target=run_client, args=(plan, client, barrier, queue), daemon=True).start()
    try:
        results = sorted(queue.get(timeout=2 * seconds + RESPONSE_TIMEOUT_S) for _ in range(clients))
    except Empty:
        sys.exit("a client has ended, or has no response")
    if errors := [result.error for result in results if result.error]:
        sys.exit(errors[0])
    latencies = [latency for result in results for latency in result.latencies]
    busy = sum(result.busy for result in results)
    print(json.dumps(make_stats(latencies, seconds, [result.acknowledged for result in results], busy)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
