"""Connecting to a server: addresses, keys, and the reason why it is unavailable."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from frota.core.errors import ServerUnavailable, WrongServer
from frota.list import keys
from frota.list.client.client import Client, HostNotFound
from frota.list.client_settings import ClientSettings
from support import TIMEOUT_S, reserved_port
from support.fake_list_server import DISCONNECT, fake_list_server, response_to
from support.list_clients import client
from support.zmq_server import list_server

_SHORT = 0.4  # seconds until the client gives up; less than its first timeout


@pytest.mark.parametrize(
    "response", [b"", b"OK", b"{}", b"[]", b'{"ok": 1, "text": ""}', b'{"a":' * 9999, b"\xff", b"\0\x1b[2J"]
)
def test_wrong_server_is_reported_at_once(response: bytes) -> None:
    """A server of another kind is reported at once, in one sentence."""
    with (
        fake_list_server(lambda _: [response]) as server,
        client(server.port) as user,
        pytest.raises(WrongServer) as caught,
    ):
        user.ask("info")
    assert str(caught.value).startswith(f"127.0.0.1:{server.port} is not a list server: it answers ")
    assert len(str(caught.value)) < 400
    assert "\x1b" not in str(caught.value)


def _gives_reason(expected: str, port: int, **settings: Any) -> bool:
    """Tell whether a client says something at its timeout; on a busy machine it may need a longer one."""
    timeout = _SHORT
    while timeout < TIMEOUT_S:
        with client(port, timeout, **settings) as user, pytest.raises(ServerUnavailable) as caught:
            user.ask("append", value="x")
        reason = str(caught.value).replace(f"127.0.0.1:{port}", "HERE")
        if expected in reason:
            return True
        timeout *= 3
    raise AssertionError(f"{expected!r} is not in {reason!r}")


def test_timeout_names_the_reason() -> None:
    """At the timeout the client says what is wrong."""
    with reserved_port() as port:
        assert _gives_reason("no server listens at HERE: start one", port)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert _gives_reason("HERE accepts connections but does not speak ZeroMQ", silent.getsockname()[1])
    with fake_list_server(lambda _: []) as server:
        assert _gives_reason("the server at HERE accepts requests but does not answer", server.port)


def test_timeout_names_a_server_without_zeromq() -> None:
    """At the timeout the client names a server that does not speak ZeroMQ."""
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 400 Bad request syntax\r\nContent-Type: text/html\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        assert _gives_reason("HERE ends the connection in the handshake: ", port)
        over.set()
        socket.create_connection(("127.0.0.1", port)).close()


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "client.key"
    return path, keys.generate(path)


def test_timeout_names_the_key_problem(key: tuple[Path, str], tmp_path: Path) -> None:
    """At the timeout the client says what is wrong with the keys."""
    secret = tmp_path / "server.key"
    server_key = keys.generate(secret)
    settings = {"key_file": key[0], "server_key": server_key}
    with list_server(tmp_path, "--key-file", secret, "--clients", f"other={server_key}") as server:
        assert _gives_reason(f"the server at HERE does not accept our key {key[0]}", server.port, **settings)
        assert _gives_reason("CURVE", server.port)
        assert _gives_reason("its key is not that of --server-key", server.port, key_file=key[0], server_key=key[1])
    with fake_list_server(lambda request: [response_to(request)]) as server:
        assert _gives_reason("speaks clear text", server.port, **settings)


def test_replaced_key_is_used_at_the_next_attempt(key: tuple[Path, str], tmp_path: Path) -> None:
    """Each attempt reads the settings anew: a replaced key is used at the next one."""
    secrets = [tmp_path / "1.key", tmp_path / "2.key"]
    public = [keys.generate(secret) for secret in secrets]

    def reread() -> ClientSettings:  # the second key of the server is in the env file by now
        return ClientSettings(port=port, key_file=key[0], server_key=public[1], timeout=TIMEOUT_S)

    raw = keys.read_secret(secrets[1])
    with fake_list_server(lambda request: [response_to(request)], secret=z85.encode(raw)) as server:
        port = server.port
        access = ClientSettings(port=port, key_file=key[0], server_key=public[0], timeout=TIMEOUT_S)
        with Client(access, reread) as user:
            assert user.ask("clear").ok


def test_key_file_missing_for_a_moment(key: tuple[Path, str], tmp_path: Path) -> None:
    """A key file that is missing for a moment is a pause."""
    public = keys.generate(tmp_path / "server.key")
    raw = keys.read_secret(tmp_path / "server.key")
    away = key[0].with_suffix(".away")

    def cut(request: bytes) -> list[bytes]:
        if len(server.received) > 1:
            return [response_to(request)]
        key[0].rename(away)
        return [DISCONNECT]

    def back(_: str) -> None:
        away.rename(key[0])

    with fake_list_server(cut, secret=z85.encode(raw)) as server:
        access = ClientSettings(port=server.port, key_file=key[0], server_key=public, timeout=TIMEOUT_S)
        with Client(access, warn=back) as user:
            assert user.ask("clear").ok


def test_host_without_address_fails_at_once() -> None:
    """A host name without an address is an error at once."""
    for host in ("a..b", "x" * 300):
        with (
            client(1, host=host) as user,
            pytest.raises(HostNotFound, match=r"no list server at .*: Name or service not known"),
        ):
            user.ask("info")


def test_host_is_a_name_or_an_ipv6_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host may be a name or an IPv6 address."""
    both = [(family, 0, 0, "", (text, 1)) for family, text in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))]
    with monkeypatch.context() as patched, fake_list_server(lambda request: [response_to(request)]) as server:
        patched.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        with client(server.port, host="both") as user:
            assert user.ask("info").ok
    with (
        fake_list_server(lambda request: [response_to(request)]) as server,
        client(server.port, host="localhost") as user,
    ):
        assert user.ask("info").ok
    with zmq.Context() as context, context.socket(zmq.REP) as replies:
        replies.ipv6 = True
        port = replies.bind_to_random_port("tcp://[::1]")
        with client(port, _SHORT, host="::1") as user:
            answering = threading.Thread(target=lambda: replies.send(response_to(replies.recv())))
            answering.start()
            assert user.ask("info").ok
            answering.join(TIMEOUT_S)
