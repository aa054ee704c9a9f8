"""The upper limit for messages of one task: a bare ping-pong of tasks and reports as JSON over WebSockets.

    python -m bench.peers.ping_pong serve PORT                      sends a task, and the next one for each report
    python -m bench.peers.ping_pong work PORT WORKERS SECONDS PID   WORKERS connections; prints the statistics

uvloop, orjson and the protocol of websockets, as in frota, and nothing else: no queue, no lease, no client, no check
but that the report is that of the task. Each connection has one task at a time. The warm-up is a quarter of SECONDS.
The CPU time is that of this process and of process PID, the server.
"""

import asyncio
import sys
import time
from functools import partial
from typing import cast

import orjson
import uvloop

from bench.core.errors import InvalidRunError
from bench.core.load import Stats, make_stats, print_stats
from bench.core.process import cpu_seconds
from frota.peers.protocol import websocket
from frota.peers.protocol.websocket import WebSocket

MAX_BYTES = 1 << 16


class Connection(asyncio.Protocol):
    """One end of a WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake of a client."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self.socket.outgoing())

    def data_received(self, data: bytes) -> None:
        """Process the messages, and send what they lead to."""
        was_open = self.socket.open
        messages = self.socket.receive(data)
        if self.socket.open and not was_open:
            self.opened()
        for message in messages:
            self.received(message)
        if answer := self.socket.outgoing():
            self._transport.write(answer)

    def opened(self) -> None:
        """Process the end of the handshake."""

    def received(self, message: bytes) -> None:
        """Process a message."""
        raise NotImplementedError


class Server(Connection):
    """Sends one task after the other."""

    numbers = iter(range(1 << 62))

    def __init__(self) -> None:
        super().__init__(websocket.server_side(MAX_BYTES))
        self._task = ""

    def received(self, message: bytes) -> None:
        """Send the next task for a report, or the first one."""
        if orjson.loads(message).get("TASK_ID", "") != self._task:
            self._transport.abort()  # the other end counts its tasks, and reports it
            return
        self._task = f"{next(self.numbers):032x}"
        self.socket.send(orjson.dumps({"TASK": "NOOP", "TASK_ID": self._task}))


class Worker(Connection):
    """Reports each task, and notes when it had arrived."""

    def __init__(self, port: int, times: list[float]) -> None:
        super().__init__(websocket.client_side("127.0.0.1", port, MAX_BYTES))
        self._times = times
        self.lost = False

    def opened(self) -> None:
        """Ask for the first task."""
        self.socket.send(orjson.dumps({"WORKER": "ALIVE"}))

    def received(self, message: bytes) -> None:
        """Report a task."""
        self._times.append(time.monotonic())
        self.socket.send(orjson.dumps({"STATUS": "OK", "TASK_ID": orjson.loads(message)["TASK_ID"]}))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's interface
        """Note that the server has closed the connection."""
        self.lost = True


async def serve(port: int) -> None:
    """Serve until the process is killed."""
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", port)
    await server.serve_forever()


async def work(port: int, workers: int, seconds: float, server: int) -> Stats:
    """Report tasks, and return the statistics. Raises InvalidRunError."""
    loop, times = asyncio.get_running_loop(), list[float]()
    new = partial(Worker, port, times)
    connections = [(await loop.create_connection(new, "127.0.0.1", port))[1] for _ in range(workers)]
    await asyncio.sleep(seconds / 4)
    start, before, busy, cpu = time.monotonic(), len(times), time.process_time(), cpu_seconds(server)
    await asyncio.sleep(seconds)
    elapsed, count = time.monotonic() - start, len(times) - before
    busy, cpu = time.process_time() - busy, cpu_seconds(server) - cpu
    if any(connection.lost for connection in connections):
        raise InvalidRunError("the server closed a connection")
    stats = make_stats([], elapsed, [len(times)], busy)
    return {**stats, "count": count, "rate": count / elapsed, "cpu_us": 1e6 * (busy + cpu) / max(1, count)}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve(int(sys.argv[2])))
    else:
        numbers = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
        print_stats(partial(uvloop.run, work(*numbers)))
