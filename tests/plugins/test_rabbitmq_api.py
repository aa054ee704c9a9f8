"""The client of RabbitMQ's management API, with a fake server on loopback."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from .modules import load_util

_MODULE = load_util("rabbitmq_api")
_TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3D38 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 1 1 0
   1: 0100007F:9C40 0100007F:3D39 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0
   2: 0100007F:3D39 0100007F:9C40 01 00000000:00000000 00:00000000 00000000   105        0 3 1 0
   3: 00000000:3D3A 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 4 1 0
"""


class _Handler(BaseHTTPRequestHandler):
    """Responds with the status that a test sets, and records the requests."""

    status: ClassVar[int] = 200
    requests: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.requests.append((self.command, self.path, body))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b'{"reason":"the reason"}')

    do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    _Handler.status, _Handler.requests = 200, []
    with HTTPServer(("127.0.0.1", 0), _Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.fixture
def cookie(tmp_path: Path) -> Path:
    file = tmp_path / "cookie"
    file.write_bytes(b"cookie of the cluster")
    return file


def test_password_is_derived_from_the_cookie() -> None:
    """The password is a deterministic digest of the Erlang cookie."""
    password = _MODULE.password_of(b"secret")
    assert password == _MODULE.password_of(b"secret")
    assert password != _MODULE.password_of(b"another")
    assert len(password) == 64


def test_password_hash_format() -> None:
    """A password hash is a salt of 4 bytes and the SHA-256 digest of salt and password."""
    salted = base64.b64decode(_MODULE.hash_of("password"))
    assert salted[4:] == hashlib.sha256(salted[:4] + b"password").digest()


@pytest.mark.parametrize(
    ("port", "uid"),
    [
        pytest.param(15672, 105, id="listener on loopback"),
        pytest.param(15673, None, id="connection only"),
        pytest.param(15674, None, id="listener on all addresses"),
        pytest.param(15675, None, id="no listener"),
    ],
)
def test_listener_on_loopback(port: int, uid: int | None) -> None:
    """The listener on a loopback port is identified by its user id."""
    assert _MODULE.listener_uid(port, _TABLE) == uid


def test_path_segments_are_escaped(server: HTTPServer, cookie: Path) -> None:
    """Every segment of a request's path is escaped."""
    api = _MODULE.Api(server.server_port, cookie)
    assert api.get("queues", "/", disable_stats="true") == {"reason": "the reason"}
    api.post("definitions", body={"users": []})
    assert _Handler.requests == [
        ("GET", "/api/queues/%2F?disable_stats=true", ""),
        ("POST", "/api/definitions", '{"users": []}'),
    ]


def test_unauthorized_is_a_distinct_error(server: HTTPServer, cookie: Path) -> None:
    """A rejected user raises UnknownUserError; other errors contain the response."""
    api = _MODULE.Api(server.server_port, cookie)
    _Handler.status = 401
    with pytest.raises(_MODULE.UnknownUserError):
        api.get("definitions")
    _Handler.status = 400
    with pytest.raises(_MODULE.ApiFault, match=r"^GET /api/definitions: 400 .*the reason") as raised:
        api.get("definitions")
    assert raised.type is _MODULE.ApiFault


def test_deletion_of_a_missing_resource(server: HTTPServer, cookie: Path) -> None:
    """The deletion of a missing resource succeeds; other requests for it fail."""
    api = _MODULE.Api(server.server_port, cookie)
    _Handler.status = 404
    api.delete("users", "worker")
    with pytest.raises(_MODULE.ApiFault):
        api.get("users", "worker")


def test_failed_health_check_is_a_response(server: HTTPServer, cookie: Path) -> None:
    """Status 503 is a response of a health check, and an error of any other request."""
    api = _MODULE.Api(server.server_port, cookie)
    _Handler.status = 503
    assert api.get("health", "checks", "local-alarms") == {"reason": "the reason"}
    with pytest.raises(_MODULE.ApiFault):
        api.get("definitions")


def test_no_listener_is_a_distinct_error(cookie: Path) -> None:
    """A port without a listener raises an error of its own before the password is sent."""
    with HTTPServer(("127.0.0.1", 0), _Handler) as closed:
        port = closed.server_port
    with pytest.raises(_MODULE.NoListenerError, match=f"^nothing listens at 127.0.0.1:{port}"):
        _MODULE.Api(port, cookie).get("nodes")


def test_password_is_sent_to_the_broker_only(server: HTTPServer, cookie: Path, monkeypatch: Any) -> None:
    """The password is not sent to a listener of another user."""
    monkeypatch.setattr(_MODULE.os, "geteuid", lambda: -1)
    monkeypatch.setattr(_MODULE, "listener_uid", lambda *_: cookie.stat().st_uid + 1)
    with pytest.raises(_MODULE.ApiFault, match="a process of user"):
        _MODULE.Api(server.server_port, cookie).get("nodes")
    assert _Handler.requests == []


def test_missing_cookie_is_an_error(server: HTTPServer, tmp_path: Path) -> None:
    """A missing Erlang cookie is an error that names the file."""
    with pytest.raises(_MODULE.ApiFault, match="cookie: No such file"):
        _MODULE.Api(server.server_port, tmp_path / "cookie").get("nodes")
