"""Runs on a host of the fleet: people's own command, many at a time, each adding one element after the other to a list.

    python3 list_load.py LIST PACE

PACE are the seconds between two elements of a client: a playbook is to have some of the machine too. Each line on
standard input, a number, waits until so many more were acknowledged, and is answered with the total. At the end of the
input the clients finish what they began, and one JSON object tells how many elements of each were acknowledged (element
N of client C is `C-N`), and everything else that the commands had to say.
"""

import json
import subprocess
import sys
import threading

_CLIENTS = 8
_MOST = 20_000  # elements of one client
_PATIENCE = 180.0  # seconds


class Client(threading.Thread):
    """One command that reads elements from its standard input, in lock-step: an element, its answer, the next one."""

    def __init__(self, wanted: str, pace: float, name: int, grown: threading.Condition, over: threading.Event) -> None:
        super().__init__(daemon=True)
        command = ["frota", "list", "append", "--list", wanted, "--timeout", str(_PATIENCE), "-"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.name_, self.acknowledged, self.said, self._pace = name, 0, "", pace
        self._grown, self._over = grown, over

    def run(self) -> None:
        """Go on, whatever the server does, until it is over."""
        assert self._process.stdin
        assert self._process.stdout
        while not self._over.wait(self._pace) and self.acknowledged < _MOST:
            element = f"{self.name_}-{self.acknowledged}"
            self._process.stdin.write(f"{element}\n")
            self._process.stdin.flush()
            if self._process.stdout.readline() != f"Elemento '{element}' adicionado.\n":
                break
            with self._grown:
                self.acknowledged += 1
                self._grown.notify_all()
        said, complaints = self._process.communicate(timeout=_PATIENCE)
        self.said = said + complaints + (f"ended with {status}\n" if (status := self._process.returncode) else "")


def main(wanted: str, pace: str) -> None:
    """Run the clients until standard input ends."""
    grown, over = threading.Condition(), threading.Event()
    clients = [Client(wanted, float(pace), name, grown, over) for name in range(_CLIENTS)]
    for client in clients:
        client.start()

    def total() -> int:
        return sum(client.acknowledged for client in clients)

    for line in sys.stdin:
        goal = total() + int(line)
        with grown:
            while total() < goal:
                if not grown.wait(_PATIENCE):
                    raise TimeoutError(f"only {total()} of {goal} were acknowledged")
        print(total(), flush=True)
    over.set()
    for client in clients:
        client.join(_PATIENCE)
    said = sorted({line for client in clients for line in client.said.splitlines()})
    print(json.dumps({"acknowledged": [client.acknowledged for client in clients], "said": said}))


if __name__ == "__main__":
    main(*sys.argv[1:])
