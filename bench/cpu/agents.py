"""Agents without computers: `python -m bench.cpu.agents PORT COUNT SECONDS native|legacy PID`.

COUNT connections to 127.0.0.1:PORT send a sample of 8 cores every INTERVAL seconds, one after the other, evenly
spread. Once each has sent one, SECONDS are measured. Prints one JSON object: samples sent in that time, CPU seconds and
resident bytes of process PID, and whether each native agent's last sample was acknowledged in the end.
"""

import json
import os
import selectors
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from bench.core.process import allow_open_files
from frota.cpu.messages import Disk, Memory, Network, Own, Sample, hello

INTERVAL = 5.0
PATIENCE_SECONDS = 20.0
SAMPLE = Sample(
    (37.3, 31.5, 0.0, 100.0, 12.5, 99.9, 3.1, 50.0),
    41.8,
    (0.11, 0.2, 0.3),
    Memory(8 << 30, 3 << 30, 5 << 30),
    Disk(100 << 30, 5 << 30, 1234.5, 99.9),
    Network(1e6, 2e6, 0.25, 0.0),
    Own(12.345, 14 << 20),
)


class Agents:
    """All of them, in one thread."""

    def __init__(self, port: int, count: int, held: ExitStack, *, native: bool) -> None:
        self._native = native
        self.sent = [0] * count
        self._acknowledged = [0] * count
        self._selector = held.enter_context(selectors.DefaultSelector())
        self._connections = [held.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
        for number, connection in enumerate(self._connections):
            if native:
                connection.sendall(hello(f"host-{number}", uuid4().hex, INTERVAL))
            self._selector.register(connection, selectors.EVENT_READ, number)

    def send_until(self, start: float, until: float) -> int:
        """Send what is due from `start` on (monotonic seconds); return how many samples that were."""
        count, sent = len(self.sent), sum(self.sent)
        total = sent
        while (now := time.monotonic()) < until:
            while total < (now - start) / INTERVAL * count:
                self._send(total % count)
                total += 1
            self.read(0.002)
        return total - sent

    def read(self, seconds: float) -> None:
        """Read answers, waiting so long for one."""
        for key, _ in self._selector.select(seconds):
            data = key.fileobj.recv(65536)  # type: ignore[union-attr] # sockets are all that is registered
            if not data:
                raise ConnectionError("the server has closed a connection")
            last = data.splitlines()[-1]
            self._acknowledged[key.data] = max(json.loads(last).get("ack", 0), self._acknowledged[key.data])

    def acknowledged(self) -> bool:
        """Tell whether all that was sent is on the server's disk, once that is so or nothing more comes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._native and self._acknowledged != self.sent and time.monotonic() < deadline:
            self.read(0.1)
        return not self._native or self._acknowledged == self.sent

    def _send(self, place: int) -> None:
        self.sent[place] += 1
        message = SAMPLE.native(self.sent[place], 0.0) if self._native else SAMPLE.legacy().encode()
        self._connections[place].sendall(message)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process to the nanosecond: of a hundred agents a tick is a large part."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def main(port: int, count: int, seconds: float, dialect: str, pid: int) -> None:
    """Send, and print the account."""
    allow_open_files(count + 100)
    with ExitStack() as held:
        agents = Agents(port, count, held, native=dialect == "native")
        start = time.monotonic()
        agents.send_until(start, start + INTERVAL)
        used = cpu_seconds(pid)
        samples = agents.send_until(start, start + INTERVAL + seconds)
        used = cpu_seconds(pid) - used
        memory = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
        account = {"samples": samples, "seconds": seconds, "cpu": used, "memory": memory}
        print(json.dumps(account | {"acknowledged": agents.acknowledged()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
