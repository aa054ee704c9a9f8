"""WSGI middleware that makes moto's state persistent: a change is on disk before its response is sent.

moto keeps its state in memory, and the state depends only on the requests and one random generator. So the middleware
logs the requests that change state in a journal and replays them in order at the next start. It seeds the generator
before each request from the journal's name and the request's number, so a replay generates the same identifiers.
"""

import base64
import re
import secrets
import sys
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

from embedded_aws.bodies import Bodies, Body, BodyRejectedError
from embedded_aws.journal import Journal, Line
from embedded_aws.objects import Objects

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_READ_ONLY_ACTION = re.compile(r"(?:Describe|Estimate|Get|Head|List|Lookup|Search|Validate)[A-Z]")
_SCOPE = re.compile(r"Credential=[^/]+/[0-9]+/([^/]+/[^/]+)/")  # region and service of the request's signature


class PersistentApplication:
    """The application with persistent state.

    `seed` seeds its random generator. `on_write_error` has to end the process after a failed write: memory and disk
    differ, and only a replay at the next start makes them consistent.
    """

    def __init__(
        self,
        application: Application,
        seed: Callable[[str], None],
        journal: Journal,
        bodies: Bodies,
        on_write_error: Callable[[OSError], None],
    ) -> None:
        self._application, self._seed, self._on_write_error = application, seed, on_write_error
        self._journal, self._bodies = journal, bodies
        self._name = ""  # of the journal; part of the seed of all identifiers
        self._count = 0  # of logged requests
        self._scopes: set[str] = set()
        self._objects = Objects()
        self._bodies_by_number: dict[int, Body] = {}  # request number -> body
        self._lock = Lock()  # requests are logged in the order of execution

    def replay(self, step: Callable[[], None] = lambda: None) -> int:
        """Replay the journal, except requests that a later one undoes; return its number of requests.

        Calls `step` after each request. Raises ValueError for a damaged journal.
        """
        undone: set[int] = set()
        for number, line in enumerate(self._journal.read(), -1):
            if number < 0:
                self._name = line["name"]
            else:
                undone.update(self._objects.record(number, _scope(line["environ"]), line["environ"], line["status"]))
        if not self._name:
            self._name = secrets.token_hex(8)
            self._journal.append({"name": self._name})
        lines = self._journal.read()
        next(lines)
        for line in lines:
            if self._count not in undone:
                self._replay_line(line)
            self._count_request(line["environ"])
            step()
        self._bodies.delete_unreferenced()
        return self._count

    def _replay_line(self, line: Line) -> None:
        environ = line["environ"]
        try:
            body = self._parse(line)
        except FileNotFoundError as error:
            raise ValueError(f"the body of request {self._count} is missing: {error.filename}") from error
        if body.digest:
            self._bodies_by_number[self._count] = body
        status, _, _ = self._execute(environ, body)
        if status != line["status"]:
            text = f"request {self._count} ({_action(environ, body)}): {line['status']} before, {status} in the replay"
            print(text, file=sys.stderr)

    def _parse(self, line: Line) -> Body:
        if "file" in line:
            return self._bodies.acquire(line["file"], line["size"])
        data = base64.b64decode(line["body"])
        return Body(data, size=len(data))

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        """Handle one request (PEP 3333)."""
        try:
            body = self._receive_body(environ)
        except BodyRejectedError as error:
            start_response("400 Bad Request", [("Content-Type", "application/xml"), ("Connection", "close")])
            return [f"<Error><Code>{error}</Code><Message>{error}</Message></Error>".encode()]
        request = {key: value for key, value in environ.items() if isinstance(value, str | dict)}
        with self._lock:
            status, headers, content = self._execute(request, body)
            # The first request of a scope is always logged, because moto then creates default resources such as VPCs.
            if not _is_read_only(request, body) or _scope(request) not in self._scopes:
                self._log(request, body, status)
            else:
                self._bodies.release(body)
        start_response(status, headers)
        return [content]

    def _receive_body(self, environ: Environ) -> Body:
        """Read the whole body; replace a chunked transfer encoding by CONTENT_LENGTH."""
        chunked = environ.pop("HTTP_TRANSFER_ENCODING", "") and environ.get("wsgi.input_terminated")
        body = self._bodies.receive(environ["wsgi.input"], None if chunked else int(environ.get("CONTENT_LENGTH") or 0))
        if chunked:
            environ["CONTENT_LENGTH"] = str(body.size)
        return body

    def _log(self, environ: Environ, body: Body, status: str) -> None:
        inline = {"body": base64.b64encode(body.head).decode()}
        line = {"environ": environ, **({"file": body.digest, "size": body.size} if body.digest else inline)}
        try:
            self._journal.append({**line, "status": status})
        except OSError as error:
            self._on_write_error(error)
            raise
        if body.digest:
            self._bodies_by_number[self._count] = body
        for number in self._objects.record(self._count, _scope(environ), environ, status):
            if number in self._bodies_by_number:
                self._bodies.release(self._bodies_by_number.pop(number))
        self._count_request(environ)

    def _execute(self, request: Environ, body: Body) -> tuple[str, Headers, bytes]:
        """Run the application with a seeded generator, so that a replay has the same result."""
        self._seed(f"{self._name} {self._count}")
        response: list[Any] = []
        with self._bodies.open(body) as stream:
            environ = request | {
                "wsgi.version": (1, 0),
                "wsgi.input": stream,
                "wsgi.errors": sys.stderr,
                "wsgi.multithread": False,
                "wsgi.multiprocess": False,
                "wsgi.run_once": False,
            }
            chunks = self._application(environ, lambda *arguments: response.extend(arguments))
            try:
                content = b"".join(chunks)
            finally:
                getattr(chunks, "close", lambda: None)()
        return response[0], response[1], content

    def _count_request(self, environ: Environ) -> None:
        self._count += 1
        self._scopes.add(_scope(environ))


def _action(environ: Environ, body: Body) -> str:
    """Return the action of a JSON or query protocol request, or the HTTP method."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    form = body.head.decode(errors="replace") if "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", "") else ""
    for fields in (form, environ.get("QUERY_STRING", "")):
        if actions := parse_qs(fields).get("Action"):
            return str(actions[0])
    return str(environ["REQUEST_METHOD"])


def _is_read_only(environ: Environ, body: Body) -> bool:
    """Tell whether a request is read-only."""
    action = _action(environ, body)
    return action in ("GET", "HEAD", "OPTIONS") or _READ_ONLY_ACTION.match(action) is not None


def _scope(environ: Environ) -> str:
    """Return region and service of a request's signature; empty if it has none."""
    match = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    return match[1] if match else ""
