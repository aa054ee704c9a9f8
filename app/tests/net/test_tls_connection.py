"""The TCP server over TLS, with a handler that answers what it gets."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from frota.core.settings import SettingsError
from frota.net import tls
from frota.net.listen import sockets_at
from frota.net.tcp_server import Limits, State, TcpConnection, TcpServer
from frota.net.tls_connection import TlsListener
from support import TIMEOUT_S, read_all
from support.certificates import Certificate, certificate

ANSWER = b'{"error": "TLS only"}\n'
LIMITS = Limits(max_connections=3, max_rejected=1)


class Echo:
    """Answers in capitals, at the end with a last word."""

    def __init__(self, tcp: TcpConnection) -> None:
        self.tcp = tcp

    def data_received(self, data: bytes) -> None:
        self.tcp.write(data.upper())

    def eof_received(self) -> None:
        self.tcp.write(b"bye")
        self.tcp.close()

    def connection_lost(self) -> None:
        pass

    def idle_timeout(self) -> float | None:
        return None

    def check(self, now: float) -> None:
        pass

    def drain(self) -> None:
        self.tcp.finish()


class Observer:
    """Keeps the reasons of aborted connections."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.rejections = 0

    def connected(self, connection: TcpConnection, count: int) -> None:
        pass

    def disconnected(self, connection: TcpConnection) -> None:
        pass

    def rejected(self, connection: TcpConnection, max_connections: int) -> None:  # noqa: ARG002 -- see Observer
        self.rejections += 1

    def aborted(self, connection: TcpConnection, reason: str) -> None:  # noqa: ARG002 -- see Observer
        self.reasons.append(reason)


class Running:
    """A server, and the certificates of its clients."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.authority = folder, certificate(folder, "authority")
        self.own = certificate(folder, "server", self.authority)
        self.listener = TlsListener(self.context(self.own), ANSWER)
        self.observer = Observer()
        self.tcp = TcpServer(limits, self.observer, b"full", Echo)

    def context(self, own: Certificate) -> ssl.SSLContext:
        return tls.server_context("TEST_", self.authority.file, own.file, own.key_file)

    async def listen(self) -> None:
        addresses = await self.tcp.listen(sockets_at("127.0.0.1", 0, 10), 10, self.listener)
        self.port = int(addresses[0].rpartition(":")[2])

    def connect(self, own: Certificate | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
        """Connect with a certificate or without; with a version instead of TLS 1.3."""
        context = tls.client_context("TEST_", self.authority.file, *(_files(own) if own else ()))
        context.maximum_version = version or context.maximum_version
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
        return context.wrap_socket(self.plain(), server_hostname="127.0.0.1", suppress_ragged_eofs=False)

    def plain(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)

    def client(self, name: str = "client", issuer: Certificate | None = None, **options: Any) -> Certificate:
        return certificate(self.folder, name, issuer or self.authority, **options)


@asynccontextmanager
async def running(folder: Path, limits: Limits = LIMITS) -> AsyncIterator[Running]:
    server = Running(folder, limits)
    await server.listen()
    try:
        yield server
    finally:
        server.tcp.stop_accepting()
        await server.tcp.close()


def play(folder: Path, scene: Callable[[Running], Any], limits: Limits = LIMITS, *, fast: bool = False) -> Running:
    """Run a scene of blocking calls beside a server; return the server."""

    async def run() -> Running:
        async with running(folder, limits) as server:
            await asyncio.to_thread(scene, server)
            return server

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if fast else None) as runner:
        return runner.run(run())


@pytest.mark.parametrize("fast", [False, True], ids=["asyncio", "uvloop"])
def test_certified_client_is_served(tmp_path: Path, fast: bool) -> None:
    """A client with a certificate is served with TLS 1.3, and its common name is known; large answers are complete."""

    def scene(server: Running) -> None:
        with server.connect(server.client()) as client:
            assert client.version() == "TLSv1.3"
            client.sendall(b"one")
            assert client.recv(100) == b"ONE"
            (connection,) = server.tcp.connections
            assert connection.common_name == "client"
            client.sendall(b"x" * 2_000_000)
            received = 0
            while received < 2_000_000:
                received += len(client.recv(65536))

    play(tmp_path, scene, fast=fast)


def test_client_may_end_its_side_first(tmp_path: Path) -> None:
    """A client that ends its side of TLS gets the last answer, and the end."""

    def scene(server: Running) -> None:
        context = tls.client_context("TEST_", server.authority.file, *_files(server.client()))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with server.plain() as client:
            _complete(session.do_handshake, client, incoming, outgoing)
            session.write(b"one")
            with pytest.raises(ssl.SSLWantReadError):
                session.unwrap()
            client.sendall(outgoing.read())
            incoming.write(read_all(client))
            assert session.read(100) == b"ONE"
            assert session.read(100) == b"bye"

    play(tmp_path, scene)


def _files(own: Certificate) -> tuple[Path, Path]:
    return own.file, own.key_file


def _complete(step: Callable[[], Any], client: socket.socket, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
    while True:
        try:
            step()
            break
        except ssl.SSLWantReadError:
            client.sendall(outgoing.read())
            incoming.write(client.recv(65536))
    for byte in outgoing.read():  # one by one: how a stream is split changes nothing
        client.sendall(bytes([byte]))


def test_client_without_a_certificate_is_refused(tmp_path: Path) -> None:
    """A client without a certificate, with another CA's or with an expired one gets an alert, and is counted."""
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other", "other")

    def scene(server: Running) -> None:
        for own in (None, server.client("other", other), server.client("old", expired=True)):
            with server.connect(own) as client, pytest.raises(ssl.SSLError, match=r"alert (certificate|unknown ca)"):
                client.recv(100)
        with server.connect(server.client()) as client:
            client.sendall(b"one")
            assert client.recv(100) == b"ONE"

    server = play(tmp_path, scene)
    assert server.listener.failures == {"no_certificate": 1, "untrusted": 2}
    assert "the client has no certificate" in server.observer.reasons[0]


def test_former_versions_are_refused(tmp_path: Path) -> None:
    """A client that speaks TLS 1.2 at most is refused."""

    def scene(server: Running) -> None:
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            server.connect(server.client(), ssl.TLSVersion.TLSv1_2)

    assert play(tmp_path, scene).listener.failures == {"version": 1}


@pytest.mark.parametrize("data", [b'{"WORKER": "ALIVE"}', b"GET / HTTP/1.1\r\n\r\n", bytes(1000)])
def test_clear_text_is_refused(tmp_path: Path, data: bytes) -> None:
    """A client in clear text is told so, and counted."""

    def scene(server: Running) -> None:
        with server.plain() as client:
            client.sendall(data)
            assert read_all(client) == ANSWER

    assert play(tmp_path, scene).listener.failures == {"clear_text": 1}


def test_malformed_handshake_is_refused(tmp_path: Path) -> None:
    """What begins as TLS does and is none ends the connection."""

    def scene(server: Running) -> None:
        with server.plain() as client:
            client.sendall(b"\x16\x03\x01\x00\x05nonsense")
            read_all(client)

    assert play(tmp_path, scene).listener.failures == {"other": 1}


def test_unfinished_handshakes_are_bounded(tmp_path: Path) -> None:
    """A connection without a handshake counts against the limit, and is closed after the time of a first message."""

    async def scene() -> Running:
        limits = Limits(max_connections=3, max_rejected=1, first_message_timeout_s=0.2, linger_s=0.2)
        async with running(tmp_path, limits) as server:
            clients = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
            async with asyncio.timeout(TIMEOUT_S):
                assert [await reader.read() for reader, _ in clients[3:]] == [b"", b""]  # no text: it would be no TLS
                while server.tcp.connections:
                    server.tcp.sweep()
                    await asyncio.sleep(0.01)
            for _, writer in clients:
                writer.close()
            assert server.tcp.timeouts["first_message"] == 3
            return server

    assert asyncio.run(scene()).observer.rejections == 2


def test_renewed_certificate_is_used(tmp_path: Path) -> None:
    """A new context is that of the next connections; the open ones stay."""

    def scene(server: Running) -> None:
        own = server.client()
        with server.connect(own) as before:
            server.listener.context = server.context(server.client("renewed"))
            with server.connect(own) as after:
                assert tls.common_name(after.getpeercert()) == "renewed"
            before.sendall(b"one")
            assert before.recv(100) == b"ONE"

    play(tmp_path, scene)


def test_drain_ends_tls(tmp_path: Path) -> None:
    """A drained connection ends with TLS's own end, so that the client knows that nothing is missing."""

    def scene(server: Running) -> None:
        with server.connect(server.client()) as client:
            client.sendall(b"one")
            assert client.recv(100) == b"ONE"
            (connection,) = server.tcp.connections
            asyncio.run_coroutine_threadsafe(_drain(server), loop[0]).result(TIMEOUT_S)
            assert client.recv(100) == b""
            assert connection.state is State.LINGERING

    loop: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loop.append(asyncio.get_running_loop())
        async with running(tmp_path) as server:
            await asyncio.to_thread(scene, server)

    asyncio.run(run())


async def _drain(server: Running) -> None:
    server.tcp.drain()


def test_unusable_files_are_settings_errors(tmp_path: Path) -> None:
    """A file that is missing or no certificate is named, with its setting."""
    own = certificate(tmp_path, "own")
    nothing = tmp_path / "nothing"
    nothing.touch()
    with pytest.raises(SettingsError, match=r"TEST_CA_FILE='.*nothing'"):
        tls.server_context("TEST_", nothing, own.file, own.key_file)
    with pytest.raises(SettingsError, match=r"TEST_KEY_FILE='.*missing': No such file"):
        tls.client_context("TEST_", own.file, own.file, tmp_path / "missing")
