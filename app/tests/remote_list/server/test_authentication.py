"""Who has no allowed key gets nothing, and keys change without anybody being left outside."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85

from frota import cli
from frota.remote_list import keys
from frota.remote_list.client.connection import Connection
from frota.remote_list.client_settings import ClientSettings
from support import PATIENCE, frota, reserved_port
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
    """Give a server that lets `key` in alone; its settings are in a file."""
    env = tmp_path / "server.env"
    env.write_text(f"REMOTE_LIST_KEY_FILE={server_key.path}\nREMOTE_LIST_CLIENTS=ana={key.public}\n")
    with list_server(tmp_path, "--env-file", env) as server:
        yield server


def answer(port: int, server_key: str, key: Key | None, seconds: float = PATIENCE) -> str:
    """Return the answer to a request made with a key, "" where there is none within so many seconds."""
    with CONTEXT.socket(zmq.REQ) as socket:
        socket.linger = 0
        if key:
            socket.curve_serverkey = z85.encode(bytes.fromhex(server_key))
            socket.curve_publickey = z85.encode(bytes.fromhex(key.public))
            socket.curve_secretkey = z85.encode(key.secret)
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(b"mostrar")
        return socket.recv().decode() if socket.poll(int(seconds * 1000)) else ""


def test_an_allowed_client_is_served_and_called_by_its_name(guarded: ListServer, server_key: Key, key: Key) -> None:
    assert answer(guarded.port, server_key.public, key) == "[]"
    assert "clear text" not in guarded.log()


def test_a_stranger_gets_nothing_and_is_logged(guarded: ListServer, server_key: Key, tmp_path: Path) -> None:
    stranger = Key(tmp_path / "stranger.key")
    assert answer(guarded.port, server_key.public, stranger, 0.5) == ""
    guarded.wait_for(f"refused a client whose key is not on the allow-list: {stranger.public}")


def test_clear_text_is_not_understood_where_there_is_a_key(guarded: ListServer, server_key: Key, key: Key) -> None:
    assert answer(guarded.port, "", None, 0.5) == ""
    assert answer(guarded.port, server_key.public, key) == "[]"


def test_who_takes_another_server_for_ours_gets_nothing(guarded: ListServer, tmp_path: Path, key: Key) -> None:
    assert answer(guarded.port, Key(tmp_path / "other.key").public, key, 0.5) == ""


def test_the_watch_is_for_the_allowed_alone(guarded: ListServer, server_key: Key, key: Key, tmp_path: Path) -> None:
    with CONTEXT.socket(zmq.REQ) as asker, CONTEXT.socket(zmq.SUB) as friend, CONTEXT.socket(zmq.SUB) as stranger:
        other = Key(tmp_path / "stranger.key")
        for socket, own in ((asker, key), (friend, key), (stranger, other)):
            socket.linger, socket.rcvtimeo = 0, int(PATIENCE * 1000)
            socket.curve_serverkey = z85.encode(bytes.fromhex(server_key.public))
            socket.curve_publickey = z85.encode(bytes.fromhex(own.public))
            socket.curve_secretkey = z85.encode(own.secret)
        asker.connect(f"tcp://127.0.0.1:{guarded.port}")
        asker.send(b'{"op": "info"}')
        port = json.loads(asker.recv())["watch_port"]
        for watcher in (friend, stranger):
            watcher.subscribe(b"")
            watcher.connect(f"tcp://127.0.0.1:{port}")
        while not friend.poll(50):
            asker.send(b"append x")
            asker.recv()
        assert not stranger.poll(300)


def test_the_clear_port_stands_beside_the_guarded_one(tmp_path: Path, server_key: Key, key: Key) -> None:
    with reserved_port() as port:
        flags = ("--key-file", server_key.path, "--clients", f"ana={key.public}", "--clear-port", port)
        with list_server(tmp_path, *flags) as server:
            assert answer(server.port, server_key.public, key) == "[]"
            assert answer(port, "", None) == "[]"
            assert answer(server.port, "", None, 0.5) == ""


def test_a_reload_takes_a_new_allow_list(guarded: ListServer, server_key: Key, key: Key, tmp_path: Path) -> None:
    new = Key(tmp_path / "new.key")
    env = tmp_path / "server.env"
    env.write_text(env.read_text().replace(f"ana={key.public}", f"rui={new.public}"))
    os.kill(guarded.process.pid, signal.SIGHUP)
    guarded.wait_for("configuration read again")
    assert answer(guarded.port, server_key.public, new) == "[]"
    assert answer(guarded.port, server_key.public, key, 0.5) == ""


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--security", "curve"], "REMOTE_LIST_SECURITY='curve' needs REMOTE_LIST_KEY_FILE"),
        (["--key-file", "/nowhere/key"], "key file /nowhere/key: No such file or directory"),
        (["--clients", "ana"], "--clients 'ana': 'ana' must be NAME=KEY"),
        (["--clients", f"a={'0' * 64},a={'1' * 64}"], "REMOTE_LIST_CLIENTS: every name must be there once"),
        (["--public-key", "xyz"], "--public-key 'xyz': must be 64 hexadecimal digits"),
        (["--port", "7000", "--clear-port", "7000"], "must differ"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path: Path, flags: list[str], reason: str) -> None:
    words = ["list", "serve", "--port", "0", "--state-dir", tmp_path, *flags]
    process = frota(*words, stderr=subprocess.PIPE)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 78
    assert reason in told.decode()


def test_a_secret_that_is_not_that_of_the_public_key_is_refused_and_not_shown(
    tmp_path: Path, server_key: Key, key: Key
) -> None:
    words = ["list", "serve", "--state-dir", tmp_path, "--key-file", server_key.path, "--public-key", key.public]
    process = frota(*words, stderr=subprocess.PIPE)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 78
    assert f"is not that of the secret key {server_key.path}" in told.decode()
    assert server_key.secret.hex() not in told.decode()


def test_the_key_is_found_among_the_credentials_of_systemd(tmp_path: Path, server_key: Key, key: Key) -> None:
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


def test_check_refuses_a_key_file_as_a_start_would(
    tmp_path: Path, server_key: Key, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    named = f"REMOTE_LIST_KEY_FILE={server_key.path}"
    assert checked(tmp_path, named, f"REMOTE_LIST_PUBLIC_KEY={server_key.public}") == 0
    assert checked(tmp_path, named, f"REMOTE_LIST_PUBLIC_KEY={key.public}") == 78
    assert "is not that of the secret key" in capsys.readouterr().err
    server_key.path.chmod(0o644)
    assert checked(tmp_path, named) == 78
    assert "everybody can read this secret" in capsys.readouterr().err
    assert checked(tmp_path, named, "REMOTE_LIST_SECURITY=clear") == 0  # a start does not read it either
    assert checked(tmp_path, "REMOTE_LIST_KEY_FILE=/nowhere/key") == 78
    assert "key file /nowhere/key: No such file" in capsys.readouterr().err


def test_check_does_not_ask_for_the_credential_that_only_a_started_unit_has(
    tmp_path: Path, server_key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    public = f"REMOTE_LIST_PUBLIC_KEY={server_key.public}"
    assert checked(tmp_path, "REMOTE_LIST_SECURITY=curve", public, "REMOTE_LIST_HOST=::") == 0


def test_a_request_after_a_refusal_ends_at_once_instead_of_waiting_for_ever(
    guarded: ListServer, server_key: Key, tmp_path: Path
) -> None:
    stranger = Key(tmp_path / "stranger.key")
    access = ClientSettings(port=guarded.port, key_file=stranger.path, server_key=server_key.public)
    connection = Connection(CONTEXT, access)
    deadline = time.monotonic() + PATIENCE
    while not connection.lost:  # as on a machine that comes to the request only after the handshake
        assert time.monotonic() < deadline
    assert connection.exchange(b"mostrar", PATIENCE) is None
    assert "does not accept our key" in connection.reason
    connection.close()
