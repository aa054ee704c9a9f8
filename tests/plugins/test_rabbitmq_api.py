"""The way to a broker's management API, up to a server on loopback."""

import base64
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from .modules import share

_MODULE = share("rabbitmq_api")
_TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3D38 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 1 1 0
   1: 0100007F:9C40 0100007F:3D39 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0
   2: 0100007F:3D39 0100007F:9C40 01 00000000:00000000 00:00000000 00000000   105        0 3 1 0
   3: 00000000:3D3A 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 4 1 0
"""


class _Handler(BaseHTTPRequestHandler):
    """Answers with what a test has laid down, and keeps what it was asked."""

    status: ClassVar[int] = 200
    asked: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.asked.append((self.command, self.path, body))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b'{"reason":"it says why"}')

    do_POST = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    _Handler.status, _Handler.asked = 200, []
    with HTTPServer(("127.0.0.1", 0), _Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


@pytest.fixture
def cookie(tmp_path: Path) -> Path:
    file = tmp_path / "cookie"
    file.write_bytes(b"the secret of the cluster")
    return file


def test_the_password_is_the_same_on_every_node_and_tells_nothing_of_the_secret() -> None:
    password = _MODULE.password_of(b"secret")
    assert password == _MODULE.password_of(b"secret")
    assert password != _MODULE.password_of(b"another")
    assert len(password) == 64


def test_a_hash_is_salt_and_digest_as_the_broker_takes_them() -> None:
    salted = base64.b64decode(_MODULE.hash_of("password"))
    assert salted[4:] == hashlib.sha256(salted[:4] + b"password").digest()


@pytest.mark.parametrize(
    ("port", "found"),
    [
        pytest.param(15672, 105, id="listens on loopback"),
        pytest.param(15673, None, id="a connection only"),
        pytest.param(15674, None, id="listens to everybody"),
        pytest.param(15675, None, id="nobody"),
    ],
)
def test_who_listens_on_loopback_is_known(port: int, found: int | None) -> None:
    assert _MODULE.listener(port, _TABLE) == found


def test_a_request_is_made_with_every_part_of_its_path_escaped(server: HTTPServer, cookie: Path) -> None:
    api = _MODULE.Api(server.server_port, cookie)
    assert api.get("queues", "/", disable_stats="true") == {"reason": "it says why"}
    api.post("definitions", body={"users": []})
    assert _Handler.asked == [
        ("GET", "/api/queues/%2F?disable_stats=true", ""),
        ("POST", "/api/definitions", '{"users": []}'),
    ]


def test_a_user_that_the_broker_does_not_let_in_is_told_apart_from_every_other_fault(
    server: HTTPServer, cookie: Path
) -> None:
    api = _MODULE.Api(server.server_port, cookie)
    _Handler.status = 401
    with pytest.raises(_MODULE.UnknownUserError):
        api.get("definitions")
    _Handler.status = 400
    with pytest.raises(_MODULE.ApiFault, match=r"^GET /api/definitions: 400 .*it says why") as raised:
        api.get("definitions")
    assert raised.type is _MODULE.ApiFault


def test_what_is_gone_already_is_no_fault_of_a_deletion_only(server: HTTPServer, cookie: Path) -> None:
    api = _MODULE.Api(server.server_port, cookie)
    _Handler.status = 404
    api.delete("users", "somebody")
    with pytest.raises(_MODULE.ApiFault):
        api.get("users", "somebody")


def test_a_failed_health_check_is_an_answer_and_a_broker_that_cannot_answer_is_none(
    server: HTTPServer, cookie: Path
) -> None:
    api = _MODULE.Api(server.server_port, cookie)
    _Handler.status = 503
    assert api.get("health", "checks", "local-alarms") == {"reason": "it says why"}
    with pytest.raises(_MODULE.ApiFault):
        api.get("definitions")


def test_nobody_is_told_the_password_at_a_port_where_the_broker_does_not_listen(cookie: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), _Handler) as ended:
        port = ended.server_port
    with pytest.raises(_MODULE.NobodyListensError, match=f"^nothing listens at 127.0.0.1:{port}"):
        _MODULE.Api(port, cookie).get("nodes")


def test_a_stranger_at_the_brokers_port_is_told_nothing(server: HTTPServer, cookie: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(_MODULE.os, "geteuid", lambda: -1)
    monkeypatch.setattr(_MODULE, "listener", lambda *_: cookie.stat().st_uid + 1)
    with pytest.raises(_MODULE.ApiFault, match="a process of user"):
        _MODULE.Api(server.server_port, cookie).get("nodes")
    assert _Handler.asked == []


def test_a_host_without_the_secret_says_which_file_it_lacks(server: HTTPServer, tmp_path: Path) -> None:
    with pytest.raises(_MODULE.ApiFault, match="cookie: No such file"):
        _MODULE.Api(server.server_port, tmp_path / "cookie").get("nodes")
