"""A client of a peers' server: requests as lines of JSON over TCP, in clear text."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import orjson

from bench.core.errors import InvalidRunError

RESPONSE_TIMEOUT_S = 60.0
MAX_BATCH = 1000  # tasks or ids of one request
WAIT_S = 30.0  # of a request for results

Fields = dict[str, Any]
NOOP: Fields = {"TASK": "NOOP"}
UPDATE: Fields = {"TASK": "UPDATE", "CPF": "11111111111", "SALDO": "12.34"}


class Client:
    """Sends requests, and receives their replies, which may arrive in another order."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._lines = connection, connection.makefile("rb", 1 << 20)
        self._ids = count(1)

    def send(self, request: str, **fields: Any) -> int:
        """Send a request, and return its id."""
        number = next(self._ids)
        self._connection.sendall(orjson.dumps({"REQUEST": request, "ID": number, **fields}) + b"\n")
        return number

    def receive(self) -> Fields:
        """Return the next reply. Raises InvalidRunError if there is none, or if the server rejects a request."""
        try:
            line = self._lines.readline()
        except TimeoutError as error:
            raise InvalidRunError(f"no reply within {RESPONSE_TIMEOUT_S:.0f} s") from error
        reply: Fields = orjson.loads(line) if line else {}
        if "REPLY" not in reply or "ERROR" in reply:
            raise InvalidRunError(f"the server replied {line[:200]!r}")
        return reply

    def ask(self, request: str, **fields: Any) -> Fields:
        """Send a request, and return its reply, while no other reply is outstanding."""
        number, reply = self.send(request, **fields), self.receive()
        if reply["ID"] != number:
            raise InvalidRunError(f"reply {reply['ID']} to request {number}")
        return reply

    def status(self) -> Fields:
        """Return the status of the server."""
        status: Fields = self.ask("STATUS")["STATUS"]
        return status

    def submit(self, task: Fields, number: int) -> list[str]:
        """Submit a task `number` times; return the ids. Raises InvalidRunError if one is not accepted."""
        ids: list[str] = []
        while len(ids) < number:
            tasks = [task] * min(MAX_BATCH, number - len(ids))
            ids += accepted(self.ask("SUBMIT", TASKS=tasks))
        return ids

    def require_done(self, ids: Sequence[str]) -> None:
        """Wait for the results of tasks. Raises InvalidRunError unless all are done and OK."""
        for begin in range(0, len(ids), MAX_BATCH):
            part = ids[begin : begin + MAX_BATCH]
            require_results(part, self.ask("RESULT", TASK_IDS=part, WAIT_S=WAIT_S))


@contextmanager
def connected(port: int) -> Iterator[Client]:
    """Yield a client of the server on a port of loopback."""
    with socket.create_connection(("127.0.0.1", port), RESPONSE_TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Client(connection)


def accepted(reply: Fields) -> list[str]:
    """Return the ids of a SUBMIT's reply. Raises InvalidRunError if a task is rejected."""
    ids: list[str] = reply["TASKS"]
    if rejected := [one for one in ids if not isinstance(one, str)]:
        raise InvalidRunError(f"the server rejects a task: {rejected[0]}")
    return ids


def require_results(ids: Sequence[str], reply: Fields) -> None:
    """Raise InvalidRunError unless a RESULT's reply says of each task that it is done and OK."""
    results = reply["RESULTS"]
    done = [result["TASK_ID"] for result in results if result["STATE"] == "DONE" and result.get("STATUS") == "OK"]
    if done != list(ids):
        wrong = next((one for one in results if one["STATE"] != "DONE" or one.get("STATUS") != "OK"), None)
        raise InvalidRunError(f"of {len(ids)} tasks {len(done)} are done; the first other one: {wrong}")
