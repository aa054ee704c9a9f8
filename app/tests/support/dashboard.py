"""Support of the tests of the dashboard: the service, a browser's HTTP, and stand-ins for Prometheus and journalctl."""

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from frota.observer.dashboard import users
from support import TIMEOUT_S, Server, server

PASSWORD = "correct horse battery"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# Prints the records of a file and, with --follow, those that are appended to it; with TRACE_ID=… those of a trace.
_JOURNALCTL = """#!/bin/sh
for word; do
  case $word in
  TRACE_ID=*) trace=${word#TRACE_ID=} ;;
  --file=*) exec tail -n +1 -f "${word#--file=}" ;;
  --directory=*) folder=${word#--directory=} ;;
  esac
done
cat "$folder"/*.journal | grep "$trace"
"""


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The content."""
        return json.loads(self.body)


class DashboardServer(Server):
    """`frota dashboard serve` in a process of its own."""

    system = "dashboard"

    def browser(self, **headers: str) -> "Browser":
        """Return a browser that has not logged in."""
        return Browser(self.port, headers)

    def operator(self) -> "Browser":
        """Return a browser whose user may change something."""
        return self.browser().login("olga")


class Browser:
    """What a browser does, without its engine: it keeps the cookie and the CSRF token."""

    def __init__(self, port: int, headers: dict[str, str] | None = None) -> None:
        self.port, self.headers, self.csrf = port, {"Host": f"localhost:{port}", **(headers or {})}, ""

    def get(self, path: str, **headers: str) -> Answer:
        """Send GET."""
        return self.request("GET", path, None, headers)

    def post(self, path: str, content: Any, **headers: str) -> Answer:
        """Send JSON with the CSRF token, as the page does."""
        own = {"Content-Type": "application/json", "X-Csrf-Token": self.csrf, **headers}
        return self.request("POST", path, json.dumps(content).encode(), own)

    def send_image(self, name: str, data: bytes) -> Answer:
        """Upload an image, as the page does."""
        return self.request("POST", "/api/images", data, {"X-Csrf-Token": self.csrf, "X-File-Name": quote(name)})

    def login(self, name: str, password: str = PASSWORD) -> Self:
        """Log in."""
        answer = self.post("/api/login", {"name": name, "password": password})
        assert answer.status == 200, answer
        self.headers["Cookie"] = answer.headers["set-cookie"].partition(";")[0]
        self.csrf = answer.json["csrf"]
        return self

    def request(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Send a request over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, {**self.headers, **headers})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def events(self, *topics: str, **selected: str) -> "Events":
        """Open a stream of events."""
        return Events(self, f"/events?{urlencode({'topics': ','.join(topics), **selected})}")


class Events:
    """An open stream; `status` is that of its response, `error` the reason of a refusal."""

    def __init__(self, browser: Browser, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", browser.port), TIMEOUT_S)
        head = "".join(f"{name}: {value}\r\n" for name, value in browser.headers.items())
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        self._response = http.client.HTTPResponse(self.socket)
        self._response.begin()
        self.status = self._response.status
        self.error = "" if self.status == 200 else json.loads(self._response.read())["error"]
        self.media_type = self._response.getheader("content-type", "")

    def next(self, topic: str) -> Any:
        """Return the content of the next event of a topic; fails at the end of the stream."""
        while True:
            name, data = self._event()
            if name == topic:
                return data

    def until(self, topic: str, wanted: Any) -> Any:
        """Return the content of the next event of a topic for which `wanted` is true."""
        while not wanted(content := self.next(topic)):
            pass
        return content

    def at_end(self) -> bool:
        """Read to the end of the stream."""
        while self._response.readline():
            pass
        return True

    def close(self) -> None:
        """Leave."""
        self._response.close()
        self.socket.close()

    def _event(self) -> tuple[str, Any]:
        name = ""
        while line := self._response.readline():
            if line.startswith(b"event: "):
                name = line[7:].strip().decode()
            elif line.startswith(b"data: "):
                return name, json.loads(line[6:])
        raise AssertionError("the stream has ended")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@cache
def _line(name: str, role: str) -> str:
    return users.line(name, role, PASSWORD)


def users_file(folder: Path) -> Path:
    """Write a users file with `vera`, a viewer, and `olga`, an operator."""
    file = folder / "users"
    file.write_text(f"# who may look\n{_line('vera', 'viewer')}\n{_line('olga', 'operator')}\n")
    file.chmod(0o600)
    return file


@contextmanager
def dashboard(folder: Path, *flags: object, login: bool = True, **options: Any) -> Iterator[DashboardServer]:
    """Run a dashboard for the time of a block, with a login, and without Prometheus and journals."""
    given = ("--users-file", users_file(folder)) if login else ()
    base = ("--prometheus", "", "--journal-dir", folder / "journals")
    with server(folder, *base, *given, *flags, kind=DashboardServer, **options) as running:
        assert isinstance(running, DashboardServer)
        yield running


class Journals:
    """A folder of collected journals, whose records a test writes; `environ` has a journalctl that reads them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journals"
        self.folder.mkdir()
        programs = folder / "programs"
        programs.mkdir()
        script = programs / "journalctl"
        script.write_text(_JOURNALCTL)
        script.chmod(0o755)
        self.environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
        self._time_us = 1_790_000_000_000_000
        self._file = self.folder / "remote-fleet.journal"
        self._file.touch()

    def rotate(self) -> None:
        """Archive the file, and begin a new one."""
        self._file.rename(self._file.with_name("remote-fleet@0001.journal"))
        self._file.touch()

    def write(self, message: Any, **fields: Any) -> None:
        """Append a record, as journalctl prints it."""
        self._time_us += 1000
        record = {
            "__REALTIME_TIMESTAMP": str(self._time_us), "_HOSTNAME": "sensor-server", "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "frota-sensor-server", "FROTA_SYSTEM": "sensors", "MESSAGE": message, **fields,
        }  # fmt: skip
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


class Prometheus:
    """Answers instant queries like Prometheus's API; `series` are labels and values, `broken` replaces the answer."""

    def __init__(self) -> None:
        self.series: list[tuple[dict[str, str], float]] = []
        self.broken = b""
        self.queries: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.queries += parse_qs(urlsplit(self.path).query).get("query", [])
                body = outer.broken or outer.answer()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.01], name="prometheus")
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self) -> bytes:
        """Return the response to a query."""
        result = [{"metric": labels, "value": [1.0, str(value)]} for labels, value in self.series]
        return json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()

    def add(self, name: str, value: float, **labels: str) -> None:
        """Add a series."""
        self.series.append(({"__name__": name, **labels}, value))

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
