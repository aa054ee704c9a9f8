"""IPv6 at every port of the list, for every kind of client, alone and beside IPv4."""

import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from frota.list import keys
from frota.net import addresses as net
from frota.net import listen
from support import TIMEOUT_S, output, reserved_port, start_frota
from support.fake_list_server import fake_list_server, response_to
from support.list_clients import client
from support.processes import activated, read_until
from support.zmq_server import CONTEXT, RawClient, list_server, raw_client


def _link_local() -> str:
    """Return a link-local address with its interface; skip without one."""
    for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines():
        digits, _, _, scope, _, interface = line.split()
        if scope == "20":
            return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))}%{interface}"
    pytest.skip("no interface has an IPv6 address of its link")


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "::ffff:127.0.0.1", "localhost"])
def test_server_listens_at_the_configured_host(tmp_path: Path, host: str) -> None:
    """The server takes requests and publishes at the configured host."""
    flags = ("--host", host, "--security", "clear")
    with list_server(tmp_path, *flags) as server:
        server.host = "127.0.0.1" if host in ("::ffff:127.0.0.1", "localhost") else "::1"
        assert server.request("append 1") == "Elemento '1' adicionado."
        watch_port = server.native("info")["watch_port"]
        with raw_client(watch_port, zmq.SUB, server.host) as watcher:
            watcher.socket.subscribe(b"")
            deadline = time.monotonic() + TIMEOUT_S
            while not watcher.socket.poll(50):  # until the subscription has arrived
                assert time.monotonic() < deadline
                server.request("append 1")
        where = r"iniciado em \[" if server.host == "::1" else r"iniciado em 127\.0\.0\.1:"
        assert re.search(where, server.log())


def test_any_address_includes_ipv4(tmp_path: Path) -> None:
    """The host :: takes IPv4 as well."""
    with list_server(tmp_path, "--host", "::", "--security", "clear") as server:
        assert server.request("append 1") == "Elemento '1' adicionado."
        server.host = "::1"
        assert server.request("append 2") == "Elemento '2' adicionado."
        assert "iniciado em [::]:" in server.log()
        assert "iniciado em 0.0.0.0:" in server.log()


def test_curve_and_clear_port_over_ipv6(tmp_path: Path) -> None:
    """CURVE and the clear port work over IPv6."""
    server_key, client_key = (keys.generate(tmp_path / f"{name}.key") for name in ("server", "client"))
    with reserved_port() as clear:
        flags = ("--key-file", tmp_path / "server.key", "--clients", f"ana={client_key}", "--clear-port", clear)
        with list_server(tmp_path, "--host", "::1", *flags) as server, CONTEXT.socket(zmq.REQ) as socket_:
            socket_.linger, socket_.ipv6, socket_.rcvtimeo = 0, True, int(TIMEOUT_S * 1000)
            socket_.curve_serverkey = z85.encode(bytes.fromhex(server_key))
            socket_.curve_publickey = z85.encode(bytes.fromhex(client_key))
            socket_.curve_secretkey = z85.encode(keys.read_secret(tmp_path / "client.key"))
            socket_.connect(f"tcp://[::1]:{server.port}")
            assert RawClient(socket_).request(b"append 1") == b"Elemento '1' adicionado."
            with raw_client(clear, host="::1") as requester:
                assert requester.request(b"mostrar") == b"['1']"


def test_client_commands_over_ipv6(tmp_path: Path) -> None:
    """Commands, menu and watch work over IPv6."""
    with list_server(tmp_path, "--host", "::1") as server:
        for host in ("::1", "[::1]"):
            where = ["--host", host, "--port", str(server.port)]
            assert output("list", "append", "x", *where) == "Elemento 'x' adicionado.\n"
            assert "do servidor: ['x'" in output("list", "menu", *where, stdin_data=b"1\n9\n")
            watch = start_frota("list", "watch", "--last", 1, *where, stdout=subprocess.PIPE)
            assert b"adicionado" in read_until(watch.stdout, b"\n")
            watch.terminate()
            watch.communicate(timeout=TIMEOUT_S)


def test_link_local_address(tmp_path: Path) -> None:
    """A link-local address with its interface works for server and client."""
    address = _link_local()
    with list_server(tmp_path, "--host", address, "--security", "clear") as server:
        assert f"iniciado em [{address}]:" in server.log()
        with client(server.port, host=address) as user:
            assert user.ask("append", value="x").ok


def test_client_tries_all_addresses_of_a_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries the addresses of a host in turn."""
    with list_server(tmp_path, "--host", "::1") as server:
        both = [(socket.AF_INET6, ("::1", server.port, 0, 0)), (socket.AF_INET, ("127.0.0.1", server.port))]
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", lambda *_, **__: [(kind, 0, 0, "", user) for kind, user in both])
            with client(server.port, host="both") as user:  # the server listens at ::1 only
                assert user.ask("append", value="x").ok
                assert user.connections == 2
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", lambda *_, **__: [(both[0][0], 0, 0, "", both[0][1])])
            with client(server.port, host="aaaa-only") as user:
                assert user.ask("info").ok
                assert user.connections == 1


def test_client_keeps_the_address_that_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client keeps to the address that answered."""
    with fake_list_server(lambda request: [response_to(request)]) as server:
        both = [(socket.AF_INET, 0, 0, "", (host, server.port)) for host in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        with client(server.port, host="both") as user:
            assert user.ask("info").ok
            turn = user.address_index
            assert user.ask("info").ok
            assert user.address_index == turn


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("[::1]:1234", "must be a host alone, by name or address: its port is a setting of its own"),
        ("127.0.0.1:1234", "must be a host alone"),
        ("name:1234", "must be a host alone"),
        ("::1::2", "must be a host alone"),
        ("", "must be a host, by name or address"),
        ("[]", "must be a host, by name or address"),
        ("fe80::1", "must name the interface, too: fe80::1%eth0"),
    ],
)
def test_invalid_host_exits_78(host: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid host ends server and client with status 78 and the reason."""
    from frota import cli

    for command in ("serve", "show"):
        assert cli.main(["list", command, "--host", host, "--check"]) == 78
        assert f"--host {host!r}: {reason}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("a..b", False),
        ("", False),
    ],
)
def test_is_loopback(host: str, loopback: bool) -> None:
    """Loopback addresses are recognized, IPv4 mapped to IPv6 included."""
    assert net.is_loopback(host) == loopback


def test_name_is_loopback_if_all_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is loopback if all of its addresses are."""
    for addresses, loopback in ((["::1"], True), (["127.0.0.1", "::1"], True), (["::1", "fd00::2"], False)):
        resolved = [(0, 0, 0, "", (address, 0)) for address in addresses]
        with monkeypatch.context() as patched:
            patched.setattr(socket, "getaddrinfo", lambda *_, resolved=resolved, **__: resolved)
            assert net.is_loopback("localhost6") == loopback


def test_endpoint_text() -> None:
    """An endpoint has brackets around IPv6, and mapped IPv4 is written as IPv4."""
    assert net.endpoint("::1", 5) == "[::1]:5"
    assert net.endpoint("::ffff:10.0.0.1", 5) == "10.0.0.1:5"
    assert net.endpoint("fe80::1%eth0", 5) == "[fe80::1%eth0]:5"
    assert net.endpoint("name", 5) == "name:5"


def test_server_listens_at_all_addresses_of_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server listens at every local address of its host, at one port."""
    resolved = [
        (socket.AF_INET6, 0, 0, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, 0, 0, "", ("127.0.0.1", 0)),
        (socket.AF_INET, 0, 0, "", ("127.0.0.1", 0)),
        (socket.AF_INET6, 0, 0, "", ("2001:db8::1", 0, 0, 0)),  # not of this machine
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved)
    sockets = listen.sockets_at("several", 0, 10)
    assert [listener.getsockname()[0] for listener in sockets] == ["::1", "127.0.0.1"]
    assert len({listener.getsockname()[1] for listener in sockets}) == 1
    for listener in sockets:
        listener.close()


def test_address_in_use() -> None:
    """An address in use is named, and no socket stays open."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(OSError, match=rf"\[::\]:{port}: Address already in use"):
            listen.sockets_at("::", port, 10)
        with socket.create_server(("::1", port), family=socket.AF_INET6):
            pass


@pytest.mark.parametrize("dual", [False, True])
def test_ipv6_socket_of_systemd(tmp_path: Path, dual: bool) -> None:
    """An IPv6 socket of systemd is used, and its IPv4 peers are logged as IPv4."""
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=dual) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal,
    ):
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(TIMEOUT_S)
        port = listener.getsockname()[1]
        words = ["list", "serve", "--host", "::1", "--port", port, "--state-dir", tmp_path / "state"]
        environ = {**os.environ, "FROTA_JOURNAL_SOCKET": str(tmp_path / "journal")}
        process = activated(listener, *words, env=environ)
        peer = "127.0.0.1" if dual else "::1"
        with raw_client(port, host=peer) as requester:
            assert json.loads(requester.request(b'{"op": "info"}'))["ok"]
        records = [journal.recv(65536)]
        while b"Mensagem recebida" not in records[-1]:
            records.append(journal.recv(65536))
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
        assert f"\nPEER={peer}\n".encode() in records[-1]
        assert any(f"iniciado em [::]:{port}".encode() in record for record in records)
