"""The RabbitMQ of the hosts, on loopback: one broker for the whole run, with new queues for every measurement."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pika  # type: ignore[import-untyped]
from pika.adapters.blocking_connection import BlockingChannel  # type: ignore[import-untyped]
from pika.exceptions import AMQPError  # type: ignore[import-untyped]

from bench.core.errors import InvalidRunError
from bench.core.options import Options
from bench.core.process import POLL_INTERVAL_S, START_TIMEOUT_S, children, tail
from frota.images.broker import topology
from frota.images.broker.session import connect, parameters
from frota.images.messages import DEAD, EVENTS, QUEUE
from frota.images.settings import BrokerConfig

ROOT = Path(__file__).parents[2]
TOOL, FOLDER = ROOT / "tools" / "broker", ROOT / ".local" / "broker"
EVENTS_QUEUE = "images.events"
# The broker also uses the ports 10,000 and 20,000 above. All are below the ephemeral ports of Linux.
PORTS, PORT_OFFSETS = range(12_600, 12_700), (0, 10_000, 20_000)
COUNT_TIMEOUT_S = 20.0


def find_obstacle() -> str | None:
    """Return why no broker can run here, None if one can."""
    if os.geteuid():
        return "the broker runs in a root directory of its own, which requires root: sudo make bench"
    if not (FOLDER / "tree" / "ready").exists() and not shutil.which("mmdebstrap"):
        return f"there is no broker in {FOLDER}, and no mmdebstrap to create it (Debian: apt-get install mmdebstrap)"
    return None


class Broker:
    """Starts at its first use, and ends with the run."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._server: subprocess.Popen[bytes] | None = None
        self._state, self._log = options.folder / "broker", options.folder / "broker.log"
        self.port = 0

    def reset(self, cpus: Collection[int]) -> None:
        """Start the broker if necessary, move it to `cpus`, and create its queues and exchanges again."""
        if self._server is None:
            self._start()
        self._set_cpus(cpus)
        channel = self.channel()
        for queue in (QUEUE, DEAD, EVENTS_QUEUE):
            channel.queue_delete(queue)
        for exchange in (DEAD, EVENTS):
            channel.exchange_delete(exchange)
        channel.connection.close()
        asyncio.run(self._declare())

    def channel(self) -> BlockingChannel:
        """Open a connection with a channel. Raises OSError, AMQPError."""
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port, heartbeat=0)).channel()

    def count(self, queue: str) -> int:
        """Return the number of messages in a queue without consumers."""
        channel = self.channel()
        count: int = channel.queue_declare(queue, passive=True).method.message_count
        channel.connection.close()
        return count

    def require(self, counts: Mapping[str, int | range]) -> None:
        """Wait until each queue has its number of messages, or one in its range. Raises InvalidRunError."""
        expected = {queue: count if isinstance(count, range) else (count,) for queue, count in counts.items()}
        deadline = time.monotonic() + COUNT_TIMEOUT_S
        while not all(count in expected[queue] for queue, count in self._counts(expected).items()):
            if time.monotonic() > deadline:
                raise InvalidRunError(f"the queues have {self._counts(expected)} messages, expected: {counts}")
            time.sleep(POLL_INTERVAL_S)  # messages of a closed consumer return with a delay

    def _counts(self, queues: Iterable[str]) -> dict[str, int]:
        return {queue: self.count(queue) for queue in queues}

    async def _declare(self) -> None:
        session = await connect(parameters(BrokerConfig(brokers=(("127.0.0.1", self.port),)))[0])
        await topology.declare(session, EVENTS_QUEUE)
        await session.close()

    def _start(self) -> None:
        subprocess.run([TOOL, "build", FOLDER], check=True)
        self.port = next(port for port in PORTS if not any(is_listening(port + offset) for offset in PORT_OFFSETS))
        with self._log.open("wb") as output:
            self._server = subprocess.Popen(
                [TOOL, "run", FOLDER, str(self.port), self._state], stdout=output, stderr=output, start_new_session=True
            )
        self._options.resources.callback(self._end)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(AMQPError, OSError):
                self.channel().connection.close()
                return
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise InvalidRunError(f"the broker does not start; the end of its output:\n{tail(self._log)}")
            time.sleep(POLL_INTERVAL_S)

    def _end(self) -> None:
        """Kill the first process of its PID namespace, which kills all others, and wait for its parent."""
        if self._server and self._server.poll() is None:
            for child in children(Path("/proc") / str(self._server.pid)):
                os.kill(child, signal.SIGKILL)
            self._server.wait()

    def _set_cpus(self, cpus: Collection[int]) -> None:
        """Set the CPU affinity of all its threads, which future threads inherit."""
        pids = [self._server.pid] if self._server else []
        while pids:
            process = Path("/proc") / str(pids.pop())
            pids += children(process)
            for thread in process.glob("task/*"):
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), cpus)


def is_listening(port: int) -> bool:
    """Return whether a process listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
