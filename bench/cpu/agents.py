"""Simulated agents: `python -m bench.cpu.agents PORT COUNT SECONDS native|legacy PID`.

COUNT connections to 127.0.0.1:PORT send a sample of 8 cores every INTERVAL seconds, evenly spread. The measurement of
SECONDS begins after each has sent a sample. Prints one JSON object: the samples sent in that time, the CPU time (s) and
resident memory (bytes) of process PID, and whether the server acknowledged the last sample of each native agent.
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
RESPONSE_TIMEOUT_S = 20.0
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
    """The connections of all agents, in one thread."""

    def __init__(self, port: int, count: int, resources: ExitStack, *, native: bool) -> None:
        self._native = native
        self.sent = [0] * count
        self._acknowledged = [0] * count
        self._selector = resources.enter_context(selectors.DefaultSelector())
        self._connections = [
            resources.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)
        ]
        for number, connection in enumerate(self._connections):
            if native:
                connection.sendall(hello(f"host-{number}", uuid4().hex, INTERVAL))
            self._selector.register(connection, selectors.EVENT_READ, number)

    def send_until(self, start: float, until: float) -> int:
        """Send the samples that are due since `start` (monotonic, s) until `until`; return their number."""
        count, sent = len(self.sent), sum(self.sent)
        total = sent
        while (now := time.monotonic()) < until:
            while total < (now - start) / INTERVAL * count:
                self._send(total % count)
                total += 1
            self.read(0.002)
        return total - sent

    def read(self, seconds: float) -> None:
        """Read responses; wait at most `seconds` for the first one."""
        for key, _ in self._selector.select(seconds):
            data = key.fileobj.recv(65536)  # type: ignore[union-attr] # only sockets are registered
            if not data:
                raise ConnectionError("the server closed a connection")
            last = data.splitlines()[-1]
            self._acknowledged[key.data] = max(json.loads(last).get("ack", 0), self._acknowledged[key.data])

    def acknowledged(self) -> bool:
        """Wait until all samples are acknowledged; return False if they are not within RESPONSE_TIMEOUT_S."""
        deadline = time.monotonic() + RESPONSE_TIMEOUT_S
        while self._native and self._acknowledged != self.sent and time.monotonic() < deadline:
            self.read(0.1)
        return not self._native or self._acknowledged == self.sent

    def _send(self, agent: int) -> None:
        self.sent[agent] += 1
        message = SAMPLE.native(self.sent[agent], 0.0) if self._native else SAMPLE.legacy().encode()
        self._connections[agent].sendall(message)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time (s) of a process, with nanoseconds: ticks of 10 ms are too coarse for 100 agents."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def main(port: int, count: int, seconds: float, protocol: str, pid: int) -> None:
    """Send samples, and print the statistics."""
    allow_open_files(count + 100)
    with ExitStack() as resources:
        agents = Agents(port, count, resources, native=protocol == "native")
        start = time.monotonic()
        agents.send_until(start, start + INTERVAL)
        cpu_before = cpu_seconds(pid)
        samples = agents.send_until(start, start + INTERVAL + seconds)
        cpu = cpu_seconds(pid) - cpu_before
        memory = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")
        stats = {"samples": samples, "seconds": seconds, "cpu": cpu, "memory": memory}
        print(json.dumps(stats | {"acknowledged": agents.acknowledged()}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
