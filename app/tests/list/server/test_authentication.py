"""Clients without an allowed key get no response, and the allow-list changes without a restart."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from frota import cli
from frota.list import keys
from frota.list.client.connection import Connection
from frota.list.client_settings import ClientSettings
from support import TIMEOUT_S, reserved_port, start_frota
from support.zmq_server import CONTEXT, ListServer, list_server


class Key:
    """A key pair in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.public = path, keys.generate(path)
        self.secret = keys.read_secret(path)


@pytest.fixture
def server_key(tmp_path: Path) -> Key:
    return Key(tmp_path / "server.key")


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return Key(tmp_path / "client.key")


@pytest.fixture
def guarded(tmp_path: Path, server_key: Key, key: Key) -> Iterator[ListServer]:
    """Give a server that admits `key` alone; its settings are in a file."""
    env = tmp_path / "server.env"
    env.write_text(f"LIST_KEY_FILE={server_key.path}\nLIST_CLIENTS=ana={key.public}\n")
    with list_server(tmp_path, "--env-file", env) as server:
        yield server


def answer(port: int, server_key: str, key: Key | None, seconds: float = TIMEOUT_S) -> str:
    """Return the response to a request made with a key, "" if there is none within `seconds`."""
    with CONTEXT.socket(zmq.REQ) as zmq_socket:
        zmq_socket.linger = 0
        if key:
            zmq_socket.curve_serverkey = z85.encode(bytes.fromhex(server_key))
            zmq_socket.curve_publickey = z85.encode(bytes.fromhex(key.public))
            zmq_socket.curve_secretkey = z85.encode(key.secret)
        zmq_socket.connect(f"tcp://127.0.0.1:{port}")
        zmq_socket.send(b"mostrar")
        return zmq_socket.recv().decode() if zmq_socket.poll(int(seconds * 1000)) else ""


def test_allowed_client_is_served(guarded: ListServer, server_key: Key, key: Key) -> None:
    """An allowed client is served, and the server does not warn of clear text."""
    assert answer(guarded.port, server_key.public, key) == "[]"
    assert "clear text" not in guarded.log()


def test_log_names_the_client(tmp_path: Path, server_key: Key, key: Key) -> None:
    """The record of a request has the client's name from the allow-list."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal, reserved_port() as port:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(TIMEOUT_S)
        flags = ("--port", port, "--key-file", server_key.path, "--clients", f"ana={key.public}")
        environ = {**os.environ, "FROTA_JOURNAL_SOCKET": str(tmp_path / "journal")}
        process = start_frota("list", "serve", *flags, "--state-dir", tmp_path / "state", env=environ)
        assert answer(port, server_key.public, key) == "[]"
        while b"Mensagem recebida" not in (record := journal.recv(65536)):
            pass
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
    assert b"\nCLIENT=ana\n" in record


def test_unknown_key_is_rejected_and_logged(guarded: ListServer, server_key: Key, tmp_path: Path) -> None:
    """A client with an unknown key gets no response, and its key is logged."""
    unknown = Key(tmp_path / "unknown.key")
    assert answer(guarded.port, server_key.public, unknown, 0.5) == ""
    guarded.wait_for(f"client rejected, its key is not on the allow-list: {unknown.public}")


def test_clear_text_is_rejected_with_curve(guarded: ListServer, server_key: Key, key: Key) -> None:
    """A server with a key rejects clear text."""
    assert answer(guarded.port, "", None, 0.5) == ""
    assert answer(guarded.port, server_key.public, key) == "[]"


def test_wrong_server_key_gets_no_response(guarded: ListServer, tmp_path: Path, key: Key) -> None:
    """A client with another server's key gets no response."""
    assert answer(guarded.port, Key(tmp_path / "other.key").public, key, 0.5) == ""


def test_publication_needs_an_allowed_key(guarded: ListServer, server_key: Key, key: Key, tmp_path: Path) -> None:
    """Only allowed clients receive published changes."""
    with CONTEXT.socket(zmq.REQ) as requester, CONTEXT.socket(zmq.SUB) as friend, CONTEXT.socket(zmq.SUB) as unknown:
        other = Key(tmp_path / "unknown.key")
        for zmq_socket, own in ((requester, key), (friend, key), (unknown, other)):
            zmq_socket.linger, zmq_socket.rcvtimeo = 0, int(TIMEOUT_S * 1000)
            zmq_socket.curve_serverkey = z85.encode(bytes.fromhex(server_key.public))
            zmq_socket.curve_publickey = z85.encode(bytes.fromhex(own.public))
            zmq_socket.curve_secretkey = z85.encode(own.secret)
        requester.connect(f"tcp://127.0.0.1:{guarded.port}")
        requester.send(b'{"op": "info"}')
        port = json.loads(requester.recv())["watch_port"]
        for watcher in (friend, unknown):
            watcher.subscribe(b"")
            watcher.connect(f"tcp://127.0.0.1:{port}")
        deadline = time.monotonic() + TIMEOUT_S
        while not friend.poll(50):  # until the subscription has arrived
            assert time.monotonic() < deadline
            requester.send(b"append x")
            requester.recv()
        assert not unknown.poll(300)


def test_clear_port_beside_the_curve_port(tmp_path: Path, server_key: Key, key: Key) -> None:
    """The clear port serves clear text while the main port requires CURVE."""
    with reserved_port() as port:
        flags = ("--key-file", server_key.path, "--clients", f"ana={key.public}", "--clear-port", port)
        with list_server(tmp_path, *flags) as server:
            assert answer(server.port, server_key.public, key) == "[]"
            assert answer(port, "", None) == "[]"
            assert answer(server.port, "", None, 0.5) == ""


def test_reload_replaces_the_allow_list(guarded: ListServer, server_key: Key, key: Key, tmp_path: Path) -> None:
    """SIGHUP replaces the allow-list."""
    new = Key(tmp_path / "new.key")
    env = tmp_path / "server.env"
    env.write_text(env.read_text().replace(f"ana={key.public}", f"rui={new.public}"))
    os.kill(guarded.process.pid, signal.SIGHUP)
    guarded.wait_for("configuration reloaded")
    assert answer(guarded.port, server_key.public, new) == "[]"
    assert answer(guarded.port, server_key.public, key, 0.5) == ""


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--security", "curve"], "LIST_SECURITY='curve' needs LIST_KEY_FILE"),
        (["--key-file", "/nowhere/key"], "key file /nowhere/key: No such file or directory"),
        (["--clients", "ana"], "--clients 'ana': 'ana' must be NAME=KEY"),
        (["--clients", f"a={'0' * 64},a={'1' * 64}"], "LIST_CLIENTS: every name must be there once"),
        (["--public-key", "xyz"], "--public-key 'xyz': must be 64 hexadecimal digits"),
        (["--port", "7000", "--clear-port", "7000"], "must differ"),
    ],
)
def test_invalid_settings_exit_78(tmp_path: Path, flags: list[str], reason: str) -> None:
    """Invalid settings end the start with status 78 and the reason."""
    words = ["list", "serve", "--port", "0", "--state-dir", tmp_path, *flags]
    process = start_frota(*words, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 78
    assert reason in errors.decode()


def test_mismatched_key_pair_is_rejected(tmp_path: Path, server_key: Key, key: Key) -> None:
    """A secret key that does not match the public key is rejected, and not quoted."""
    words = ["list", "serve", "--state-dir", tmp_path, "--key-file", server_key.path, "--public-key", key.public]
    process = start_frota(*words, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 78
    assert f"is not that of the secret key {server_key.path}" in errors.decode()
    assert server_key.secret.hex() not in errors.decode()


def test_key_from_systemd_credentials(tmp_path: Path, server_key: Key, key: Key) -> None:
    """The secret key is read from systemd's credentials."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    server_key.path.rename(credentials / "key")
    environ = {**os.environ, "CREDENTIALS_DIRECTORY": str(credentials)}
    with list_server(tmp_path, "--clients", f"ana={key.public}", env=environ) as server:
        assert answer(server.port, server_key.public, key) == "[]"


def checked(tmp_path: Path, *lines: str) -> int:
    """Return the exit status of a check of the server's env file."""
    env = tmp_path / "server.env"
    env.write_text("\n".join(lines) + "\n")
    return cli.main(["list", "serve", "--env-file", str(env), "--check"])


def test_check_rejects_an_invalid_key_file(
    tmp_path: Path, server_key: Key, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check rejects the key files that a start would."""
    named = f"LIST_KEY_FILE={server_key.path}"
    assert checked(tmp_path, named, f"LIST_PUBLIC_KEY={server_key.public}") == 0
    assert checked(tmp_path, named, f"LIST_PUBLIC_KEY={key.public}") == 78
    assert "is not that of the secret key" in capsys.readouterr().err
    server_key.path.chmod(0o644)
    assert checked(tmp_path, named) == 78
    assert "everybody can read this secret" in capsys.readouterr().err
    assert checked(tmp_path, named, "LIST_SECURITY=clear") == 0  # a start does not read it either
    assert checked(tmp_path, "LIST_KEY_FILE=/nowhere/key") == 78
    assert "key file /nowhere/key: No such file" in capsys.readouterr().err


def test_check_needs_no_credential(tmp_path: Path, server_key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """--check does not need the credential, which only a started unit has."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    public = f"LIST_PUBLIC_KEY={server_key.public}"
    assert checked(tmp_path, "LIST_SECURITY=curve", public, "LIST_HOST=::") == 0


def test_request_after_a_rejected_handshake_fails(guarded: ListServer, server_key: Key, tmp_path: Path) -> None:
    """A request after a rejected handshake fails at once instead of blocking."""
    unknown = Key(tmp_path / "unknown.key")
    access = ClientSettings(port=guarded.port, key_file=unknown.path, server_key=server_key.public)
    connection = Connection(CONTEXT, access)
    deadline = time.monotonic() + TIMEOUT_S
    while not connection.lost:  # the request is made after the handshake
        assert time.monotonic() < deadline
    assert connection.exchange(b"mostrar", TIMEOUT_S) is None
    assert "does not accept our key" in connection.reason
    connection.close()
