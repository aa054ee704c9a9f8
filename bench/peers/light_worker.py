"""A worker that executes nothing: a callback gets its tasks."""

import time
from collections.abc import Callable

from bench.core.errors import InvalidRunError
from frota.peers import outgoing
from frota.peers.outgoing import Outgoing
from frota.peers.protocol.calling_sides import WorkerSide
from frota.peers.protocol.framing import MAX_MESSAGE_BYTES
from frota.peers.protocol.messages import Address, Message, Report, Reports, Tasks, WorkerAlive

CONNECT_TIMEOUT_S = 20.0


class LightWorker:
    """One worker, over a WebSocket. `received` gets the tasks of each message, and the time (monotonic, s)."""

    def __init__(self, name: str, capacity: int, received: Callable[["LightWorker", Tasks, float], None]) -> None:
        self._name, self._capacity, self._received = name, capacity, received
        self._connection: Outgoing | None = None
        self.lost = ""  # why the connection has ended

    async def connect(self, port: int) -> None:
        """Connect to the server on a port of loopback, and introduce itself. Raises InvalidRunError."""
        try:
            self._connection = await outgoing.connect(
                Address("127.0.0.1", port),
                WorkerSide(websocket=True),
                self._handle,
                self._end,
                timeout_s=CONNECT_TIMEOUT_S,
                max_bytes=MAX_MESSAGE_BYTES,
            )
        except OSError as error:
            raise InvalidRunError(f"worker {self._name} cannot connect: {error}") from error
        self._connection.send(WorkerAlive(self._name, self._capacity))

    def report(self, tasks: Tasks) -> None:
        """Report that tasks are done."""
        if self._connection:
            self._connection.send(Reports(tuple(Report(True, task.id) for task in tasks.tasks)))

    def close(self) -> None:
        """Close the connection."""
        if self._connection:
            self._connection.close()

    def _handle(self, message: Message) -> None:
        if isinstance(message, Tasks):
            self._received(self, message, time.monotonic())

    def _end(self, reason: str) -> None:
        self.lost = reason
