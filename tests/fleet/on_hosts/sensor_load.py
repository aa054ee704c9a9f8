"""Runs legacy sensor clients in parallel, and reports which readings the server acknowledged.

    python3 sensor_load.py HOST PORT NAME

Each line of standard input is a number N: the script waits for N further acknowledged readings, and prints the total.
At the end of the input the clients stop, and the script prints one JSON object: the acknowledged readings by sensor,
and how often each error occurred. A reading without a response is never sent again, so that no reading may be stored
twice.
"""

import json
import socket
import sys
import threading
from collections import Counter
from itertools import count

_RESPONSE = b"Dados recebidos com sucesso."
_PERSISTENT, _SHORT_LIVED = 3, 2  # clients with one connection; clients with one for each reading
_MAX_READINGS = 5000  # of one client
_INTERVAL_S = 0.002  # between two readings of a client: the tests are about loss, not about throughput
_TIMEOUT_S = 180.0


class Tally:
    """The responses to all clients."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.acknowledged: dict[str, list[int]] = {}
        self.errors: Counter[str] = Counter()
        self._total = 0
        self._changed = threading.Condition()

    def add(self, sensor: str, number: int) -> None:
        """Count an acknowledged reading."""
        with self._changed:
            self.acknowledged[sensor].append(number)
            self._total += 1
            self._changed.notify_all()

    def wait_for_more(self, more: int) -> int:
        """Wait for `more` further acknowledged readings and return the total. Raises TimeoutError."""
        with self._changed:
            goal = self._total + more
            if not self._changed.wait_for(lambda: self._total >= goal, _TIMEOUT_S):
                raise TimeoutError(f"only {self._total} of {goal} were acknowledged; errors: {dict(self.errors)}")
            return self._total


class Client(threading.Thread):
    """One sensor in lock-step: it sends a reading when the response to the last one has arrived."""

    def __init__(self, address: tuple[str, int], sensor: str, tally: Tally, persistent: bool) -> None:
        super().__init__(daemon=True)
        self._address, self._sensor, self._tally, self._persistent = address, sensor, tally, persistent
        self._connection: socket.socket | None = None
        tally.acknowledged[sensor] = []

    def run(self) -> None:
        """Send readings, whatever the server does, until the load is stopped."""
        numbers = count()
        while not self._tally.stopped.wait(_INTERVAL_S) and (number := next(numbers)) < _MAX_READINGS:
            try:
                self._exchange(number)
            except OSError as error:
                self._tally.errors[str(error)] += 1
                self._disconnect()
                self._tally.stopped.wait(0.05)  # a host that is down refuses connections at once

    def _exchange(self, number: int) -> None:
        if self._connection is None:
            self._connection = socket.create_connection(self._address, 5)
            self._connection.settimeout(20)
        self._connection.sendall(f"{self._sensor} - Teste: {number}.0%".encode())
        response = b""
        while len(response) < len(_RESPONSE) and (piece := self._connection.recv(1024)):
            response += piece
        if response != _RESPONSE:
            raise ConnectionError(response.decode(errors="replace") or "closed")
        self._tally.add(self._sensor, number)
        if not self._persistent:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def main(host: str, port: str, name: str) -> None:
    """Run the clients until standard input ends."""
    tally = Tally()
    address, indexes = (host, int(port)), range(_PERSISTENT + _SHORT_LIVED)
    clients = [Client(address, f"{name}-{index}", tally, index < _PERSISTENT) for index in indexes]
    for client in clients:
        client.start()
    for line in sys.stdin:
        print(tally.wait_for_more(int(line)), flush=True)
    tally.stopped.set()
    for client in clients:
        client.join(_TIMEOUT_S)
    print(json.dumps({"acknowledged": tally.acknowledged, "errors": tally.errors}))


if __name__ == "__main__":
    main(*sys.argv[1:])
