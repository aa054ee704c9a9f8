"""Runs on a host of the fleet: connects to a port again and again, one connection after the other.

    python3 knock.py HOST PORT

Each line on standard input, a number, waits until it was tried so many times more, and is answered with the total. At
the end of the input one JSON object tells how often it was tried, and how often which error happened.
"""

import json
import socket
import sys
import threading
from collections import Counter

_PAUSE = 0.005  # seconds
_PATIENCE = 180.0


def main(host: str, port: str) -> None:
    """Knock until standard input ends."""
    made, errors = threading.Semaphore(0), Counter[str]()
    over = threading.Event()
    count = 0

    def knock() -> None:
        nonlocal count
        while not over.wait(_PAUSE):
            try:
                socket.create_connection((host, int(port)), 10).close()
            except OSError as error:
                errors[str(error)] += 1
            count += 1
            made.release()

    knocking = threading.Thread(target=knock, daemon=True)
    knocking.start()
    for line in sys.stdin:
        for _ in range(int(line)):
            if not made.acquire(timeout=_PATIENCE):
                raise TimeoutError(f"only {count} attempts")
        print(count, flush=True)
    over.set()
    knocking.join(_PATIENCE)
    print(json.dumps({"count": count, "errors": errors}))


if __name__ == "__main__":
    main(*sys.argv[1:])
