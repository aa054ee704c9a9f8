"""Servers, workers and clients with certificates: who is served, and who may say what."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from frota.core.settings import SettingsError
from frota.peers.protocol.messages import NOOP, Address, Task
from frota.peers.server.server import PeerServer
from frota.peers.server.status import metrics
from frota.peers.settings import Peer
from frota.peers.worker.worker import PeerWorker
from support import TIMEOUT_S, reserved_port, run_frota, start_frota
from support import until as until_sync
from support.certificates import certificate
from support.peers import (
    FAST,
    Caller,
    Certificates,
    PeersServer,
    exchange,
    peers_server,
    port_of,
    serving,
    submit,
    until,
    working,
)
from support.processes import activated, read_until

ALIVE: dict[str, Any] = {"WORKER": "ALIVE", "WORKER_UUID": "w", "CAPACITY": 1}
LEGACY_ALIVE = {"WORKER": "ALIVE", "WORKER_UUID": "old"}
HEARTBEAT = {"SERVER": "ALIVE", "TASK": "REQUEST", "SERVER_UUID": "s-2"}
STATUS = {"REQUEST": "STATUS", "ID": 7}


@pytest.fixture(scope="module")
def clear_port() -> Iterator[int]:
    """Give the port in clear text."""
    with reserved_port() as port:
        yield port


@pytest.fixture(scope="module")
def peers(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, clear_port: int
) -> Iterator[PeersServer]:
    """Run one server for all tests that change nothing of it."""
    flags = ("--clear-port", clear_port, "--peers", "127.0.0.1:1,127.0.0.1:2/C")
    with peers_server(tmp_path_factory.mktemp("peers"), *flags, certificates=certificates) as running:
        yield running


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_tasks_over_tls(peers: PeersServer, certificates: Certificates, transport: str) -> None:
    """A worker and a client with certificates work over TLS, on both transports."""
    words = ("peers", "work", "--port", peers.port, "--name", "w", "--transport", transport)
    start_frota(*words, *certificates.flags("peer_worker"), stderr=subprocess.DEVNULL)
    done = peers.command("submit", "noop", "--count", "100", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(json.loads(line)["ok"] for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("role", "message", "allowed"),
    [
        ("peer_worker", ALIVE, True),
        ("peer_worker", HEARTBEAT, False),
        ("peer_worker", STATUS, False),
        ("peer_server", ALIVE, False),
        ("peer_server", LEGACY_ALIVE, False),
        ("peer_server", {"STATUS": "OK", "TASK": "QUERY", "WORKER_UUID": "w"}, False),
        ("peer_server", HEARTBEAT, True),
        ("peer_server", STATUS, True),
        ("peer_client", ALIVE, False),
        ("peer_client", {"TASK": "WORKER_REQUEST", "WORKERS_NEEDED": 1, "SERVER_UUID": "s-2"}, False),
        ("peer_client", STATUS, True),
        ("image_operator", ALIVE, False),
        ("image_operator", HEARTBEAT, False),
        ("image_operator", STATUS, False),
    ],
)
def test_certificate_decides_what_its_holder_may_say(
    peers: PeersServer, role: str, message: dict[str, Any], allowed: bool
) -> None:
    """Workers, servers and clients may send their own messages only: others are answered and end the connection."""
    with peers.caller(role) as caller:
        answer = caller.send(message, b"\n").message()
        assert ("ERROR" not in answer) is allowed
        if not allowed:
            assert "may send it" in answer["ERROR"]
            assert caller.message() == {}
    assert peers.exchange(STATUS)["ID"] == 7


def test_forbidden_messages_are_counted(tmp_path: Path, certificates: Certificates) -> None:
    """What was refused is in the metrics, by its kind; connections by their transport."""

    async def play(clear_port: int) -> None:
        async with serving(tmp_path, clear_port=clear_port, **certificates.settings("peer_server")) as running:
            port = port_of(running)
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(exchange, port, STATUS, context=certificates.context())
            await asyncio.to_thread(exchange, port, STATUS)
            await asyncio.to_thread(exchange, port, STATUS, context=certificates.context("peer_worker"))
            assert _value(running, "frota_peers_messages_forbidden_total") == 1
            failures = _value(running, "frota_peers_handshakes_failed_total")
            assert failures == {"no_certificate": 1, "clear_text": 1}
            with Caller(port, None), Caller(clear_port):
                await until(lambda: running.tcp.connection_count == 2, "not connected")
                connections = _value(running, "frota_peers_connections")
                assert connections == {"tls": 1, "clear": 1}

    with reserved_port() as clear_port:
        asyncio.run(play(clear_port))


def _value(running: PeerServer, name: str) -> Any:
    """Return the value of a metric."""
    return next(metric.read() for metric in metrics(running.parts) if metric.name == name)


@pytest.mark.usefixtures("peers")
def test_clear_port_is_for_legacy_programs(clear_port: int) -> None:
    """Without a certificate, a legacy worker and a legacy peer are served, and nothing native is."""
    assert exchange(clear_port, LEGACY_ALIVE) == {"TASK": "NO_TASK"}
    heartbeat = {"SERVER_ID": "p", "TASK": "HEARTBEAT"}
    assert exchange(clear_port, heartbeat, b"") == {**heartbeat, "RESPONSE": "ALIVE"}
    for message in (ALIVE, HEARTBEAT, STATUS):
        assert "connect to the port for TLS" in exchange(clear_port, message)["ERROR"]


def test_legacy_program_is_not_taken_for_a_peer_with_a_certificate(peers: PeersServer, clear_port: int) -> None:
    """In clear text a peer that has certificates gets no workers; a peer that is configured as a legacy one may."""
    exchange(clear_port, {**LEGACY_ALIVE, "WORKER_UUID": "lent"})
    with Caller(clear_port) as caller:
        request = {"TASK": "WORKER_REQUEST", "REQUESTOR_INFO": {"ip": "127.0.0.1", "port": 1}}
        assert caller.send(request, b"\n").message()["RESPONSE"] == "UNAVAILABLE"
    assert [peer["up"] for peer in peers.exchange(STATUS)["STATUS"]["peers"]] == [False, False]
    request = {"TASK": "WORKER_REQUEST", "REQUESTOR_INFO": {"ip": "127.0.0.1", "port": 2}}
    until_sync(lambda: exchange(clear_port, request)["RESPONSE"] == "AVAILABLE", "not lent to the legacy peer")


def test_id_of_a_worker_with_a_certificate_cannot_be_taken(peers: PeersServer, clear_port: int) -> None:
    """A program without a certificate that gives a native worker's id is refused, and the worker keeps its tasks."""
    with peers.caller("peer_worker") as worker:
        worker.send(ALIVE, b"\n").message()
        task_id = peers.command("submit", "noop", "--no-wait").stdout.strip()
        assert worker.message()["TASKS"][0]["TASK_ID"] == task_id
        thief = {"WORKER": "ALIVE", "WORKER_UUID": "w"}
        assert "known with a certificate" in exchange(clear_port, thief)["ERROR"]
        assert "is not connected" in exchange(clear_port, {**thief, "STATUS": "OK", "WORKER": None})["ERROR"]
        worker.send({"STATUS": "OK", "TASK_ID": task_id}, b"\n")
        assert json.loads(peers.command("result", task_id, "--json").stdout)["ok"]


def test_client_is_told_why_it_cannot_connect(
    peers: PeersServer, certificates: Certificates, clear_port: int, tmp_path: Path
) -> None:
    """A wrong certificate, another CA, a missing certificate and the wrong port are told from each other."""
    done = peers.command("status", role="peer_worker")
    assert (done.returncode, "only peer_server or peer_client may send it" in done.stderr) == (1, True)
    other = Certificates(tmp_path / "other")
    done = run_frota("peers", "status", "--host", f"127.0.0.1:{peers.port}", *other.flags("peer_client"))
    assert "its certificate is not to be trusted" in done.stderr
    done = run_frota("peers", "status", "--host", f"127.0.0.1:{peers.port}")
    assert "this port requires TLS 1.3" in done.stderr
    done = run_frota("peers", "status", "--host", f"127.0.0.1:{clear_port}", *certificates.flags("peer_client"))
    assert "it does not speak TLS" in done.stderr


@pytest.mark.parametrize("words", [("serve", "--metrics-port", "0"), ("work",), ("status",)])
def test_clear_text_is_for_loopback(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Without a certificate nobody listens or connects beyond loopback, unless the settings say so."""
    folder = () if words == ("status",) else ("--state-dir", tmp_path)
    durable = ("--durable", "no") if words[0] == "serve" else ()
    done = run_frota("peers", *words, "--host", "192.0.2.1", *folder, *durable)
    assert done.returncode == 1
    assert "in clear text on 192.0.2.1: set PEERS_CERT_FILE" in done.stderr


def test_settings_of_certificates_are_complete(certificates: Certificates) -> None:
    """A missing file is named before anything starts."""
    own = certificates.by_role["peer_server"]
    done = run_frota("peers", "serve", "--check", "--cert-file", own.file)
    assert (done.returncode, "PEERS_CERT_FILE and PEERS_CA_FILE: both" in done.stderr) == (78, True)
    done = run_frota("peers", "work", "--check", "--cert-file", own.file, "--ca-file", certificates.authority.file)
    assert (done.returncode, "PEERS_KEY_FILE is missing" in done.stderr) == (78, True)
    own_flags = certificates.flags("peer_server")
    done = run_frota("peers", "serve", "--check", "--peers", "10.0.0.1:8765,10.0.0.2:8766/C", *own_flags)
    assert (done.returncode, "10.0.0.2:8766/C is a legacy peer" in done.stderr) == (78, True)
    done = run_frota("peers", "status", "--check", "--security", "mtls")
    assert (done.returncode, "needs PEERS_CERT_FILE" in done.stderr) == (78, True)


def test_reload_reads_renewed_certificates(peers: PeersServer, certificates: Certificates, tmp_path: Path) -> None:
    """SIGHUP takes a renewed certificate; an unusable one leaves the former in use."""
    own = certificates.by_role["peer_server"]
    former = own.file.read_bytes(), own.key_file.read_bytes()
    (tmp_path / "new").mkdir()
    renewed = certificate(tmp_path / "new", "peer_server", certificates.authority)
    try:
        own.file.write_bytes(renewed.file.read_bytes())
        os.kill(peers.process.pid, signal.SIGHUP)
        peers.wait_for("configuration unchanged: PEERS_CERT_FILE")  # it is not that of the key
        assert _serial_number(peers) != renewed.certificate.serial_number
        own.key_file.write_bytes(renewed.key_file.read_bytes())
        os.kill(peers.process.pid, signal.SIGHUP)
        peers.wait_for("configuration reloaded")
        assert _serial_number(peers) == renewed.certificate.serial_number
    finally:
        own.file.write_bytes(former[0])
        own.key_file.write_bytes(former[1])


def test_worker_reload_reads_renewed_certificates(tmp_path: Path, certificates: Certificates) -> None:
    """A reload of a worker takes the files that are there now; an unusable one is a SettingsError."""
    own = certificate(tmp_path, "peer_worker", certificates.authority)
    files: dict[str, Any] = {"cert_file": own.file, "key_file": own.key_file, "ca_file": certificates.authority.file}

    async def play() -> None:
        async with (
            serving(tmp_path, **certificates.settings("peer_server")) as home,
            working(home, "w", **files) as worker,
        ):
            former = worker._security.client
            worker.reload()
            assert worker._security.client is not former
            former = worker._security.client
            own.file.write_text("nothing")
            with pytest.raises(SettingsError, match="PEERS_CERT_FILE"):
                worker.reload()
            assert worker._security.client is former

    asyncio.run(play())


def test_sockets_of_systemd_are_told_by_their_ports(tmp_path: Path, certificates: Certificates) -> None:
    """The socket that systemd passes is that of its port; a port without one is opened; another one is an error."""
    options = ("--durable", "no", "--metrics-port", "0", "--state-dir", tmp_path, *certificates.flags("peer_server"))
    with socket.create_server(("127.0.0.1", 0)) as passed, reserved_port() as native:
        clear = passed.getsockname()[1]
        words = ("peers", "serve", "--port", native, *options)
        process = activated(passed, *words, "--clear-port", clear, stderr=subprocess.PIPE)
        read_until(process.stderr, f"listens on 127.0.0.1:{clear}".encode())
        assert exchange(clear, LEGACY_ALIVE) == {"TASK": "NO_TASK"}
        assert exchange(native, STATUS, context=certificates.context("peer_client"))["ID"] == 7
        process.terminate()
        process.wait(TIMEOUT_S)
        failed = activated(passed, *words, stderr=subprocess.PIPE)
        assert b"which no setting names" in failed.communicate(timeout=TIMEOUT_S)[1]
        assert failed.returncode == 1


def _serial_number(peers: PeersServer) -> int:
    with peers.caller() as caller:
        assert isinstance(caller.socket, ssl.SSLSocket)
        found = caller.socket.getpeercert()
    return int(str((found or {})["serialNumber"]), 16)


class Impostor:
    """A server with any certificate, or none, that sends each worker elsewhere."""

    def __init__(self, target: int, context: ssl.SSLContext | None = None, epoch: int = 1) -> None:
        self._redirect = {
            "TASK": "REDIRECT",
            "TARGET_MASTER": {"IP": "127.0.0.1", "PORT": target},
            "LOAN": "w",
            "EPOCH": epoch,
            "TERM_S": 60,
        }
        self._context = context
        self.lines: list[bytes] = []

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lines.append(await reader.readline())
        welcome = {"SERVER": "ALIVE", "TASK": "WELCOME", "SERVER_UUID": "impostor", "LEASE_S": 30}
        for message in (welcome, self._redirect):
            writer.write(json.dumps(message).encode() + b"\n")
        await reader.read()
        writer.close()


def _at(worker: PeerWorker) -> int:
    return int(worker._itinerary.server.rpartition(":")[2]) if worker._itinerary.connected else 0


def test_redirect_of_a_stranger_is_refused(tmp_path: Path) -> None:
    """In clear text, a server to which the worker was redirected cannot send it on; that is logged and counted."""

    async def play() -> None:
        async with serving(tmp_path, name="home") as home, serving(tmp_path, name="third") as third:
            unlisted = await Impostor(port_of(third), epoch=2).start()
            first = await Impostor(unlisted).start()
            async with working(home, "w", port=first, transport="tcp") as worker:
                await until(lambda: _at(worker) == unlisted, "the worker does not obey its own server")
                counts = {metric.name: metric.read for metric in worker._metrics()}
                await until(counts["frota_peers_redirects_ignored_total"], "not counted")
                assert _at(worker) == unlisted

    asyncio.run(play())


def test_worker_authenticates_the_target_of_a_redirect(tmp_path: Path, certificates: Certificates) -> None:
    """A redirect to a holder of another role's certificate, or of a certificate for another host, leads back home."""

    async def play(context: ssl.SSLContext) -> None:
        secure = certificates.settings("peer_server")
        async with serving(tmp_path, name="home", **secure) as home:
            impostor = Impostor(port_of(home), context)
            target = await impostor.start()
            async with working(home, "w", **certificates.settings("peer_worker")) as worker:
                await until(lambda: len(home.workers) == 1, "the worker has not arrived")
                redirect = {"TASK": "REDIRECT", "TARGET_MASTER": {"IP": "127.0.0.1", "PORT": target}}
                link = home.workers._workers["w"].link
                link._write(json.dumps(redirect).encode())  # type: ignore[attr-defined]
                await until(lambda: worker.connect_errors_total, "the worker did not try")
                await until(lambda: _at(worker) == port_of(home), "the worker is not home")
                assert b"".join(impostor.lines) == b""

    asyncio.run(play(_server_context(certificates, "peer_worker")))
    elsewhere = certificate(tmp_path, "peer_server", certificates.authority, "192.0.2.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(elsewhere.file, elsewhere.key_file)
    asyncio.run(play(context))


def _server_context(certificates: Certificates, role: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.by_role[role].file, certificates.by_role[role].key_file)
    return context


def test_peers_lend_over_tls(tmp_path: Path, certificates: Certificates) -> None:
    """A worker with a certificate goes on loan to a peer with a certificate, and works there."""

    async def play() -> None:
        async with AsyncExitStack() as stack:
            ports = [stack.enter_context(reserved_port()) for _ in range(2)]
            servers = []
            for name, port, other in (("A", ports[0], ports[1]), ("B", ports[1], ports[0])):
                peers = (Peer(Address("127.0.0.1", other)),)
                secure = {**FAST, **certificates.settings("peer_server")}
                running = serving(tmp_path, port=port, name=name, peers=peers, **secure)
                servers.append(await stack.enter_async_context(running))
            a, b = servers
            await stack.enter_async_context(working(b, "w", **certificates.settings("peer_worker")))
            await until(lambda: all(peer["up"] for one in servers for peer in one.parts.peers()), "a peer is not up")
            ids = await submit(a, [Task(NOOP)] * 50)
            results = await a.results.results(ids, TIMEOUT_S)
            assert all(result.ok for result in results)

    asyncio.run(play())
