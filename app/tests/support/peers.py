"""Peers' servers and workers inside the process of a test, on real sockets; and scripted callers."""

import asyncio
import json
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import ClientConnection, connect

from frota.peers.execution import Accounts
from frota.peers.protocol.messages import Report, Task
from frota.peers.server.server import PeerServer
from frota.peers.settings import ServerSettings, WorkerSettings
from frota.peers.worker.worker import PeerWorker
from support import STARTED, TIMEOUT_S, Server, run_frota, server
from support.certificates import certificate

FAST = {"heartbeat_every_s": 0.2, "retry_every_s": 0.1, "tick_s": 0.05, "calm_s": 0.2, "refusal_pause_s": 0.2}


class SlowAccounts:
    """Accounts whose every query takes `seconds`; all have the balance 1.00."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.queried = seconds, 0

    def query_balances(self, accounts: Iterable[str]) -> dict[str, Decimal | None]:
        """Return a balance for each account, slowly."""
        wanted = list(accounts)
        time.sleep(self.seconds * len(wanted))
        self.queried += len(wanted)
        return dict.fromkeys(wanted, Decimal("1.00"))

    def apply_updates(self, updates: Sequence[Task], worker: str) -> list[Report]:  # noqa: ARG002 -- see Accounts
        """Report success."""
        return [Report(True, task.id, task.balance) for task in updates]


class PeersServer(Server):
    """`frota peers serve` in a process of its own; with `certificates` over TLS."""

    system = "peers"
    certificates: "Certificates | None" = None

    def caller(self, role: str = "peer_client") -> "Caller":
        """Connect as the holder of a certificate."""
        return Caller(self.port, self.certificates.context(role) if self.certificates else None)

    def exchange(self, message: dict[str, Any], role: str = "peer_client") -> dict[str, Any]:
        """Send a message on a connection of its own; return the answer."""
        with self.caller(role) as caller:
            return caller.send(message, b"\n").message()

    def command(self, *words: object, role: str = "peer_client") -> "subprocess.CompletedProcess[str]":
        """Run a command for people to its end."""
        flags = self.certificates.flags(role) if self.certificates else ()
        return run_frota("peers", *words, "--host", f"127.0.0.1:{self.port}", *flags)


@contextmanager
def peers_server(
    folder: Path, *flags: object, certificates: "Certificates | None" = None, **options: Any
) -> Iterator[PeersServer]:
    """Run a server in memory mode for the time of a block, which may be that of several tests."""
    own = certificates.flags("peer_server") if certificates else ()
    with server(folder, "--durable", "no", *flags, *own, kind=PeersServer, **options) as running:
        assert isinstance(running, PeersServer)
        running.certificates = certificates
        STARTED.remove(running.process)
        yield running


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[PeerServer]:
    """Run a server for the time of a block."""
    values = {"port": 0, "metrics_port": 0, "durable": False, "state_dir": folder, **settings}
    config = ServerSettings(**values)
    running = PeerServer(config, lambda: config, lambda _: None)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


def port_of(server: PeerServer) -> int:
    """Return the port that a server listens on."""
    return server.lending_driver.address.port


@asynccontextmanager
async def working(
    server: PeerServer, name: str, accounts: Accounts | None = None, **settings: Any
) -> AsyncIterator[PeerWorker]:
    """Run a worker of a server for the time of a block."""
    config = WorkerSettings(**{"port": port_of(server), "name": name, "max_backoff_s": 0.2, **settings})
    worker = PeerWorker(config, accounts, lambda _: None)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def until(condition: Any, what: str, timeout_s: float = TIMEOUT_S) -> Any:
    """Poll a condition until it is true, and return its value; fail with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.005)
    return value


async def submit(server: PeerServer, tasks: Sequence[Task]) -> list[str]:
    """Submit tasks inside the process; return their ids."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    server.results.submit(tasks, "", done.set_result)
    ids: list[str] = list(await done)
    return ids


class Certificates:
    """The certificates of a fleet: of its authority, a server, a worker, a client and an operator of the broker."""

    ROLES = ("peer_server", "peer_worker", "peer_client", "image_operator")

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.authority = folder, certificate(folder, "authority")
        self.by_role = {role: certificate(folder, role, self.authority) for role in self.ROLES}

    def settings(self, role: str) -> dict[str, Any]:
        """Return the settings of the holder of a certificate."""
        own = self.by_role[role]
        return {"cert_file": own.file, "key_file": own.key_file, "ca_file": self.authority.file}

    def flags(self, role: str) -> tuple[object, ...]:
        """Return the same as flags."""
        pairs = self.settings(role).items()
        return tuple(word for key, file in pairs for word in (f"--{key.replace('_', '-')}", file))

    def context(self, role: str = "") -> ssl.SSLContext:
        """Return the context of a client, without a role of one that has no certificate."""
        context = ssl.create_default_context(cafile=self.authority.file)
        if role:
            context.load_cert_chain(self.by_role[role].file, self.by_role[role].key_file)
        return context


class Caller:
    """A scripted program on TCP, with `context` over TLS: it sends bytes, and reads what comes."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.rest = b""

    def send(self, message: dict[str, Any] | bytes, end: bytes = b"") -> Self:
        """Send a message as the legacy programs write it."""
        self.socket.sendall(message if isinstance(message, bytes) else json.dumps(message).encode() + end)
        return self

    def read(self, expected: bytes) -> Self:
        """Read exactly these bytes."""
        self.socket.settimeout(TIMEOUT_S)
        received = b""
        while len(received) < len(expected) and (piece := self.socket.recv(len(expected) - len(received))):
            received += piece
        assert received == expected
        return self

    def message(self) -> dict[str, Any]:
        """Read one message, ended by a newline or by its last bracket; {} at the end of the connection."""
        self.socket.settimeout(TIMEOUT_S)
        while True:
            try:
                text = self.rest.decode().lstrip()
                message, end = json.JSONDecoder().raw_decode(text)
                self.rest = text[end:].encode()
                return dict(message)
            except ValueError:
                piece = self.socket.recv(65536)
                if not piece:
                    return {}
                self.rest += piece

    def quiet(self, seconds: float = 0.05) -> bool:
        """Tell whether nothing more arrives."""
        self.socket.settimeout(seconds)
        try:
            self.rest += self.socket.recv(1)
            return not self.rest.strip()
        except TimeoutError:
            return True

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def exchange(
    port: int, message: dict[str, Any], end: bytes = b"\n", context: ssl.SSLContext | None = None
) -> dict[str, Any]:
    """Send one message on a connection of its own, as dialect C does; return the answer."""
    with Caller(port, context) as caller:
        return caller.send(message, end).message()


def websocket(port: int) -> ClientConnection:
    """Open a WebSocket."""
    return connect(f"ws://127.0.0.1:{port}/", open_timeout=TIMEOUT_S)
