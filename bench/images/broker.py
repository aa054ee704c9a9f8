"""The hosts' own RabbitMQ on loopback: one broker for the whole run, and fresh queues for every measurement."""

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
from bench.core.process import LOOK_AGAIN_SECONDS, START_SECONDS, children, tail
from frota.images.broker import topology
from frota.images.broker.session import connect, parameters
from frota.images.messages import DEAD, EVENTS, QUEUE
from frota.images.settings import BrokerConfig as Address

ROOT = Path(__file__).parents[2]
TOOL, FOLDER = ROOT / "tools" / "broker", ROOT / ".local" / "broker"
EVENTS_QUEUE = "images.events"
# The broker takes those 10,000 and 20,000 above for itself: all below those that Linux gives to whoever connects.
PORTS, MORE = range(12_600, 12_700), (0, 10_000, 20_000)
PATIENCE_SECONDS = 20.0


def missing() -> str | None:
    """Return why there can be no broker here, None where there can."""
    if os.geteuid():
        return "the broker is in a root directory of its own, which takes root: sudo make bench"
    if not (FOLDER / "tree" / "ready").exists() and not shutil.which("mmdebstrap"):
        return f"there is no broker in {FOLDER}, and no mmdebstrap to make it (Debian: apt-get install mmdebstrap)"
    return None


class Broker:
    """Starts when it is first needed, and ends with the run."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._server: subprocess.Popen[bytes] | None = None
        self._state, self._log = options.folder / "broker", options.folder / "broker.log"
        self.port = 0

    def fresh(self, cpus: Collection[int]) -> None:
        """Have the broker up, on these CPUs, with its queues and exchanges empty."""
        if self._server is None:
            self._start()
        self._place(cpus)
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
        """Return how many messages are in a queue that nobody consumes."""
        channel = self.channel()
        found: int = channel.queue_declare(queue, passive=True).method.message_count
        channel.connection.close()
        return found

    def require(self, counts: Mapping[str, int | range]) -> None:
        """Raise InvalidRunError unless the queues come to hold just so many messages, or one of so many."""
        wanted = {queue: count if isinstance(count, range) else (count,) for queue, count in counts.items()}
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(count in wanted[queue] for queue, count in self._counts(wanted).items()):
            if time.monotonic() > deadline:
                raise InvalidRunError(f"in the queues are {self._counts(wanted)} messages, should be {counts}")
            time.sleep(LOOK_AGAIN_SECONDS)  # what was handed back by a consumer that ended is counted a little later

    def _counts(self, queues: Iterable[str]) -> dict[str, int]:
        return {queue: self.count(queue) for queue in queues}

    async def _declare(self) -> None:
        session = await connect(parameters(Address(brokers=(("127.0.0.1", self.port),)))[0])
        await topology.declare(session, EVENTS_QUEUE)
        await session.close()

    def _start(self) -> None:
        subprocess.run([TOOL, "build", FOLDER], check=True)
        self.port = next(port for port in PORTS if not any(listens(port + more) for more in MORE))
        with self._log.open("wb") as output:
            self._server = subprocess.Popen(
                [TOOL, "run", FOLDER, str(self.port), self._state], stdout=output, stderr=output, start_new_session=True
            )
        self._options.held.callback(self._end)
        deadline = time.monotonic() + START_SECONDS
        while True:
            with suppress(AMQPError, OSError):
                self.channel().connection.close()
                return
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise InvalidRunError(f"the broker does not start; its last words:\n{tail(self._log)}")
            time.sleep(LOOK_AGAIN_SECONDS)

    def _end(self) -> None:
        """Kill the first process of its namespace: its parent is told when all the others are gone, too."""
        if self._server and self._server.poll() is None:
            for child in children(Path("/proc") / str(self._server.pid)):
                os.kill(child, signal.SIGKILL)
            self._server.wait()

    def _place(self, cpus: Collection[int]) -> None:
        """Hold all its threads to these CPUs; those that they start stay there."""
        waiting = [self._server.pid] if self._server else []
        while waiting:
            process = Path("/proc") / str(waiting.pop())
            waiting += children(process)
            for thread in process.glob("task/*"):
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), cpus)


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
