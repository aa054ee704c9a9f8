"""Getting to a server: addresses, keys, and the reason why it cannot be reached."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from frota.core.errors import ServerUnavailable, WrongServer
from frota.remote_list import keys
from frota.remote_list.client.client import Client, HostNotFound
from frota.remote_list.client_settings import ClientSettings
from support import PATIENCE, reserved_port
from support.fake_list_server import CUT, answered, fake
from support.list_clients import client
from support.zmq_server import list_server

_SHORT = 0.4  # seconds of patience with servers that never answer; less than the client's first time-out


@pytest.mark.parametrize(
    "said", [b"", b"OK", b"{}", b"[]", b'{"ok": 1, "text": ""}', b'{"a":' * 9999, b"\xff", b"\0\x1b[2J"]
)
def test_what_is_no_list_server_is_told_by_one_sentence_at_once(said: bytes) -> None:
    with fake(lambda _: [said]) as server, client(server.port) as one, pytest.raises(WrongServer) as told:
        one.ask("info")
    assert str(told.value).startswith(f"127.0.0.1:{server.port} is no list server: it says ")
    assert len(str(told.value)) < 400
    assert "\x1b" not in str(told.value)


def _says(expected: str, port: int, **settings: Any) -> bool:
    """Tell whether a client that gives up says something; on a busy machine it may have to try for longer."""
    patience = _SHORT
    while patience < PATIENCE:
        with client(port, patience, **settings) as one, pytest.raises(ServerUnavailable) as told:
            one.ask("append", value="x")
        reason = str(told.value).replace(f"127.0.0.1:{port}", "HERE")
        if expected in reason:
            return True
        patience *= 3
    raise AssertionError(f"{expected!r} is not in {reason!r}")


def test_who_gives_up_says_what_is_wrong() -> None:
    with reserved_port() as port:
        assert _says("nobody listens at HERE: start a server", port)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert _says("HERE takes connections but does not speak ZeroMQ", silent.getsockname()[1])
    with fake(lambda _: []) as server:
        assert _says("the server at HERE takes requests but does not answer", server.port)


def test_who_gives_up_on_something_that_is_no_zeromq_says_so() -> None:
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.0 400 Bad request syntax\r\nContent-Type: text/html\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        port = listener.getsockname()[1]
        assert _says("HERE ends the connection at the first bytes: ", port)
        over.set()
        socket.create_connection(("127.0.0.1", port)).close()


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, str]:
    path = tmp_path / "client.key"
    return path, keys.generate(path)


def test_who_gives_up_says_what_is_wrong_with_the_keys(key: tuple[Path, str], tmp_path: Path) -> None:
    secret = tmp_path / "server.key"
    server_key = keys.generate(secret)
    ours = {"key_file": key[0], "server_key": server_key}
    with list_server(tmp_path, "--key-file", secret, "--clients", f"other={server_key}") as server:
        assert _says(f"the server at HERE does not accept our key {key[0]}", server.port, **ours)
        assert _says("CURVE", server.port)
        assert _says("another key than that of --server-key", server.port, key_file=key[0], server_key=key[1])
    with fake(lambda request: [answered(request)]) as server:
        assert _says("speaks clear text", server.port, **ours)


def test_a_key_that_was_replaced_is_used_at_the_next_try(key: tuple[Path, str], tmp_path: Path) -> None:
    secrets = [tmp_path / "1.key", tmp_path / "2.key"]
    public = [keys.generate(secret) for secret in secrets]

    def reread() -> ClientSettings:  # the second key of the server is in the env file by now
        return ClientSettings(port=port, key_file=key[0], server_key=public[1], patience=PATIENCE)

    raw = keys.read_secret(secrets[1])
    with fake(lambda request: [answered(request)], secret=z85.encode(raw)) as server:
        port = server.port
        access = ClientSettings(port=port, key_file=key[0], server_key=public[0], patience=PATIENCE)
        with Client(access, reread) as one:
            assert one.ask("clear").ok


def test_a_key_file_that_is_away_for_a_moment_is_a_pause(key: tuple[Path, str], tmp_path: Path) -> None:
    public = keys.generate(tmp_path / "server.key")
    raw = keys.read_secret(tmp_path / "server.key")
    away = key[0].with_suffix(".away")

    def cut(request: bytes) -> list[bytes]:
        if len(server.received) > 1:
            return [answered(request)]
        key[0].rename(away)
        return [CUT]

    def back(_: str) -> None:
        away.rename(key[0])

    with fake(cut, secret=z85.encode(raw)) as server:
        access = ClientSettings(port=server.port, key_file=key[0], server_key=public, patience=PATIENCE)
        with Client(access, warn=back) as one:
            assert one.ask("clear").ok


def test_a_host_that_has_no_address_is_told_at_once() -> None:
    for host in ("a..b", "x" * 300):
        with (
            client(1, host=host) as one,
            pytest.raises(HostNotFound, match=r"no list server at .*: Name or service not known"),
        ):
            one.ask("info")


def test_a_host_may_be_a_name_or_an_ipv6_address(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(family, 0, 0, "", (text, 1)) for family, text in ((socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1"))]
    with monkeypatch.context() as patched, fake(lambda request: [answered(request)]) as server:
        patched.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        with client(server.port, host="both") as one:
            assert one.ask("info").ok
    with fake(lambda request: [answered(request)]) as server, client(server.port, host="localhost") as one:
        assert one.ask("info").ok
    with zmq.Context() as context, context.socket(zmq.REP) as replies:
        replies.ipv6 = True
        port = replies.bind_to_random_port("tcp://[::1]")
        with client(port, _SHORT, host="::1") as one:
            answering = threading.Thread(target=lambda: replies.send(answered(replies.recv())))
            answering.start()
            assert one.ask("info").ok
            answering.join(PATIENCE)
