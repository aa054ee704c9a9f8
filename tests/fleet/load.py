"""Runs on a host of the fleet: original clients, many at a time, that count what was acknowledged to them.

    python3 load.py HOST PORT NAME

Each line on standard input, a number, waits until so many more readings were acknowledged, and is answered with the
total. At the end of the input the clients stop, and one JSON object tells, for each sensor, which readings were
acknowledged, and how often which error happened. A reading whose answer did not come is never sent again, so that none
may be there twice.
"""

import json
import socket
import sys
import threading
from collections import Counter
from itertools import count

_ANSWER = b"Dados recebidos com sucesso."
_LASTING, _FLEETING = 3, 2  # clients that keep their connection; clients that open one for each reading
_MOST = 5000  # readings of one client
_PACE = 0.002  # seconds between two of them: what is proven is what happens to them, not how many there are
_PATIENCE = 180.0  # seconds


class Tally:
    """What all clients were told."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.acknowledged: dict[str, list[int]] = {}
        self.errors: Counter[str] = Counter()
        self._total = 0
        self._grown = threading.Condition()

    def add(self, sensor: str, number: int) -> None:
        """Count an acknowledged reading."""
        with self._grown:
            self.acknowledged[sensor].append(number)
            self._total += 1
            self._grown.notify_all()

    def wait_for_more(self, more: int) -> int:
        """Wait for so many more and return the total. Raises TimeoutError."""
        with self._grown:
            goal = self._total + more
            if not self._grown.wait_for(lambda: self._total >= goal, _PATIENCE):
                raise TimeoutError(f"only {self._total} of {goal} were acknowledged; errors: {dict(self.errors)}")
            return self._total


class Client(threading.Thread):
    """One sensor, in lock-step: a reading, its answer, the next reading."""

    def __init__(self, address: tuple[str, int], sensor: str, tally: Tally, lasting: bool) -> None:
        super().__init__(daemon=True)
        self._address, self._sensor, self._tally, self._lasting = address, sensor, tally, lasting
        self._connection: socket.socket | None = None
        tally.acknowledged[sensor] = []

    def run(self) -> None:
        """Go on, whatever the server does, until it is over."""
        numbers = count()
        while not self._tally.over.wait(_PACE) and (number := next(numbers)) < _MOST:
            try:
                self._exchange(number)
            except OSError as error:
                self._tally.errors[str(error)] += 1
                self._hang_up()
                self._tally.over.wait(0.05)  # a host that is down refuses faster than anybody needs to know

    def _exchange(self, number: int) -> None:
        if self._connection is None:
            self._connection = socket.create_connection(self._address, 5)
            self._connection.settimeout(20)
        self._connection.sendall(f"{self._sensor} - Teste: {number}.0%".encode())
        answer = b""
        while len(answer) < len(_ANSWER) and (piece := self._connection.recv(1024)):
            answer += piece
        if answer != _ANSWER:
            raise ConnectionError(answer.decode(errors="replace") or "closed")
        self._tally.add(self._sensor, number)
        if not self._lasting:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def main(host: str, port: str, name: str) -> None:
    """Run the clients until standard input ends."""
    tally = Tally()
    clients = [
        Client((host, int(port)), f"{name}-{index}", tally, index < _LASTING) for index in range(_LASTING + _FLEETING)
    ]
    for client in clients:
        client.start()
    for line in sys.stdin:
        print(tally.wait_for_more(int(line)), flush=True)
    tally.over.set()
    for client in clients:
        client.join(_PATIENCE)
    print(json.dumps({"acknowledged": tally.acknowledged, "errors": tally.errors}))


if __name__ == "__main__":
    main(*sys.argv[1:])
