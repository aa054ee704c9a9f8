"""Runs `frota list append` commands in parallel, each of which appends one element after the other to a list.

    python3 list_load.py LIST INTERVAL

INTERVAL is in seconds, between two elements of a client; it leaves CPU to a playbook that runs meanwhile. Each line of
standard input is a number N: the script waits for N further acknowledged elements, and prints the total. At the end of
the input the clients finish their requests, and the script prints one JSON object: the number of acknowledged elements
of each client (element N of client C is `C-N`), and all other output of the commands.
"""

import json
import subprocess
import sys
import threading

_CLIENTS = 8
_MAX_ELEMENTS = 20_000  # of one client
_TIMEOUT_S = 180.0


class Client(threading.Thread):
    """One command in lock-step: it gets an element when the response to the last one has arrived."""

    def __init__(
        self, list_name: str, interval_s: float, name: int, changed: threading.Condition, stopped: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        command = ["frota", "list", "append", "--list", list_name, "--timeout", str(_TIMEOUT_S), "-"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.name_, self.acknowledged, self.output, self._interval_s = name, 0, "", interval_s
        self._changed, self._stopped = changed, stopped

    def run(self) -> None:
        """Append elements, whatever the server does, until the load is stopped."""
        assert self._process.stdin
        assert self._process.stdout
        while not self._stopped.wait(self._interval_s) and self.acknowledged < _MAX_ELEMENTS:
            element = f"{self.name_}-{self.acknowledged}"
            self._process.stdin.write(f"{element}\n")
            self._process.stdin.flush()
            if self._process.stdout.readline() != f"Elemento '{element}' adicionado.\n":
                break
            with self._changed:
                self.acknowledged += 1
                self._changed.notify_all()
        output, errors = self._process.communicate(timeout=_TIMEOUT_S)
        self.output = output + errors + (f"ended with {status}\n" if (status := self._process.returncode) else "")


def main(list_name: str, interval_s: str) -> None:
    """Run the clients until standard input ends."""
    changed, stopped = threading.Condition(), threading.Event()
    clients = [Client(list_name, float(interval_s), name, changed, stopped) for name in range(_CLIENTS)]
    for client in clients:
        client.start()

    def total() -> int:
        return sum(client.acknowledged for client in clients)

    for line in sys.stdin:
        goal = total() + int(line)
        with changed:
            while total() < goal:
                if not changed.wait(_TIMEOUT_S):
                    raise TimeoutError(f"only {total()} of {goal} were acknowledged")
        print(total(), flush=True)
    stopped.set()
    for client in clients:
        client.join(_TIMEOUT_S)
    output = sorted({line for client in clients for line in client.output.splitlines()})
    print(json.dumps({"acknowledged": [client.acknowledged for client in clients], "output": output}))


if __name__ == "__main__":
    main(*sys.argv[1:])
