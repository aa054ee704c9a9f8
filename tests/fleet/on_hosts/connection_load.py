"""Connects to a port repeatedly, one connection after the other.

    python3 connection_load.py HOST PORT

Each line of standard input is a number N: the script waits for N further attempts, and prints the total. At the end of
the input it prints one JSON object: the number of attempts, and how often each error occurred.
"""

import json
import socket
import sys
import threading
from collections import Counter

_INTERVAL_S = 0.005  # between two connections
_TIMEOUT_S = 180.0


def main(host: str, port: str) -> None:
    """Connect until standard input ends."""
    attempts, errors = threading.Semaphore(0), Counter[str]()
    stopped = threading.Event()
    count = 0

    def connect() -> None:
        nonlocal count
        while not stopped.wait(_INTERVAL_S):
            try:
                socket.create_connection((host, int(port)), 10).close()
            except OSError as error:
                errors[str(error)] += 1
            count += 1
            attempts.release()

    client = threading.Thread(target=connect, daemon=True)
    client.start()
    for line in sys.stdin:
        for _ in range(int(line)):
            if not attempts.acquire(timeout=_TIMEOUT_S):
                raise TimeoutError(f"only {count} attempts")
        print(count, flush=True)
    stopped.set()
    client.join(_TIMEOUT_S)
    print(json.dumps({"count": count, "errors": errors}))


if __name__ == "__main__":
    main(*sys.argv[1:])
