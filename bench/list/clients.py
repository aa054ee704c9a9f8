"""Load as the original's clients make it: `python clients.py PORT CLIENTS SECONDS original|native|echo`.

Each client is a process with a REQ socket of pyzmq that asks and waits, as the original's is. Requests, checks and the
account that is printed are those of load.c; the processes run wherever the system puts them.
"""

import json
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier
from queue import Empty
from typing import Any, NamedTuple

import zmq

PATIENCE_SECONDS = 20.0


class Counted(NamedTuple):
    """What one client has seen: the latencies of answers in time and its CPU time, in seconds; what was wrong."""

    client: int
    latencies: list[float]
    busy: float
    acknowledged: int
    complaint: str


def request(client: int, number: int, dialect: str) -> bytes:
    """Return request `number` of a client."""
    if dialect == "native":
        fields = {"op": "append", "id": f"{client + 1:032x}:{number}", "value": f"{client}.{number}"}
        return json.dumps(fields).encode()
    return b"append %d.%d" % (client, number)


def is_right(answer: bytes, client: int, number: int, dialect: str) -> bool:
    """Tell whether an answer is the one to a request."""
    if dialect == "native":
        fields = json.loads(answer)
        return bool(fields["ok"]) and fields["id"] == f"{client + 1:032x}:{number}"
    if dialect == "echo":
        return answer == request(client, number, dialect)
    return answer == f"Elemento '{client}.{number}' adicionado.".encode()


class Plan(NamedTuple):
    """What all clients have in common: the server's port, how long they measure, how they speak."""

    port: int
    seconds: float
    dialect: str


def ask(plan: Plan, client: int, together: Barrier, counted: Any) -> None:
    """Be one client: one request answered, then, together with the others, a warm-up and the time measured."""
    socket = zmq.Context().socket(zmq.REQ)
    socket.rcvtimeo = int(PATIENCE_SECONDS * 1000)
    socket.connect(f"tcp://127.0.0.1:{plan.port}")
    latencies: list[float] = []
    number, began, until, complaint = 0, float("inf"), float("inf"), ""
    busy_from = 0.0
    while (now := time.monotonic()) < until and not complaint:
        number += 1
        socket.send(request(client, number, plan.dialect))
        answer = socket.recv()
        if not is_right(answer, client, number, plan.dialect):
            complaint = f"a wrong answer: {answer[:80]!r}"
        if now >= began:
            busy_from = busy_from or time.process_time()
            latencies.append(time.monotonic() - now)
        if number == 1:
            together.wait(PATIENCE_SECONDS)
            began = time.monotonic() + plan.seconds / 4
            until = began + plan.seconds
    counted.put(Counted(client, latencies, time.process_time() - busy_from, number, complaint))


def account(found: list[Counted], seconds: float) -> dict[str, Any]:
    """Return what load.c would print."""
    latencies = sorted(latency * 1e3 for one in found for latency in one.latencies)
    quantiles = {name: latencies[int((len(latencies) - 1) * part)] for name, part in _PARTS.items()}
    wrong = [one.complaint for one in found if one.complaint]
    acknowledged = [one.acknowledged for one in sorted(found)]
    rate, busy = len(latencies) / seconds, sum(one.busy for one in found) / seconds
    figures = {"count": len(latencies), "seconds": seconds, "rate": rate, **quantiles}
    return {**figures, "load_busy": busy, "errors": len(wrong), "unanswered": 0, "acknowledged": acknowledged}


_PARTS = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}


def main(port: int, clients: int, seconds: float, dialect: str) -> None:
    """Run the clients, and print their account."""
    plan, together = Plan(port, seconds, dialect), multiprocessing.Barrier(clients)
    counted: multiprocessing.Queue[Counted] = multiprocessing.Queue()
    arguments = [(plan, client, together, counted) for client in range(clients)]
    processes = [multiprocessing.Process(target=ask, args=one, daemon=True) for one in arguments]
    for process in processes:
        process.start()
    try:
        found = [counted.get(timeout=2 * seconds + PATIENCE_SECONDS) for _ in processes]
    except Empty:
        sys.exit("a client has ended, or waits for ever")
    print(json.dumps(account(found, seconds)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
