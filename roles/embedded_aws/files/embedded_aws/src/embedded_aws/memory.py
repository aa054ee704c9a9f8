"""A WSGI application that forgets nothing: what changes it is on disk before the answer leaves.

moto keeps its state in memory, and what it does depends on nothing but the requests and one random generator. So the
requests that change something are kept in a journal, and done again, in order, at the next start. The generator is
seeded before each of them, from the journal's name and the request's number: identifiers come out the same again.
"""

import base64
import io
import re
import secrets
import sys
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

from embedded_aws.journal import Journal

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

_QUESTION = re.compile(r"(?:Describe|Estimate|Get|Head|List|Lookup|Search|Validate)[A-Z]")
_SCOPE = re.compile(r"Credential=[^/]+/[0-9]+/([^/]+/[^/]+)/")  # region and service that the request was signed for


class Memory:
    """The application, remembering.

    `seed` seeds its random generator. `give_up` ends the process: what the application holds is not what the disk
    holds any more, and only a new start makes them one again.
    """

    def __init__(
        self,
        application: Application,
        seed: Callable[[str], None],
        journal: Journal,
        give_up: Callable[[OSError], None],
    ) -> None:
        self._application, self._seed, self._give_up = application, seed, give_up
        self._journal = journal
        self._name = ""  # of the journal: another one brings forth other identifiers
        self._count = 0
        self._scopes: set[str] = set()
        self._one_at_a_time = Lock()  # or nobody would know their order

    def recall(self) -> int:
        """Do again what the journal holds; return how many requests that were. Raises ValueError for damage."""
        lines = self._journal.read()
        if not lines:
            lines = [{"name": secrets.token_hex(8)}]
            self._journal.append(lines[0])
        self._name = lines[0]["name"]
        for line in lines[1:]:
            environ, body = line["environ"], base64.b64decode(line["body"])
            status, _, _ = self._do(environ, body)
            if status != line["status"]:
                text = f"request {self._count} ({_action(environ, body)}): {line['status']} once, {status} now"
                print(text, file=sys.stderr)
            self._note(environ)
        return self._count

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        """Answer one request (PEP 3333)."""
        body = _take_body(environ)
        kept = {key: value for key, value in environ.items() if isinstance(value, str | dict)}
        with self._one_at_a_time:
            status, headers, answer = self._do(kept, body)
            # The first request of a scope counts whatever it is: default networks and the like are made then.
            if not _is_question(kept, body) or _scope(kept) not in self._scopes:
                try:
                    body64 = base64.b64encode(body).decode()
                    self._journal.append({"environ": kept, "body": body64, "status": status})
                except OSError as error:
                    self._give_up(error)
                    raise
                self._note(kept)
        start_response(status, headers)
        return [answer]

    def _do(self, kept: Environ, body: bytes) -> tuple[str, Headers, bytes]:
        """Let the application answer, in the same way the first time and every other time."""
        self._seed(f"{self._name} {self._count}")
        environ = kept | {
            "wsgi.version": (1, 0),
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        begun: list[Any] = []
        chunks = self._application(environ, lambda *arguments: begun.extend(arguments))
        try:
            answer = b"".join(chunks)
        finally:
            getattr(chunks, "close", lambda: None)()
        return begun[0], begun[1], answer

    def _note(self, environ: Environ) -> None:
        self._count += 1
        self._scopes.add(_scope(environ))


def _take_body(environ: Environ) -> bytes:
    """Read the whole body; afterwards the request says how long it is, even if it came in chunks."""
    chunked = environ.pop("HTTP_TRANSFER_ENCODING", "") and environ.get("wsgi.input_terminated")
    length = -1 if chunked else int(environ.get("CONTENT_LENGTH") or 0)
    body: bytes = environ["wsgi.input"].read(length)
    if chunked:
        environ["CONTENT_LENGTH"] = str(len(body))
    return body


def _action(environ: Environ, body: bytes) -> str:
    """Return what is asked for: an action of the JSON or query protocols, a method of REST."""
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    form = body.decode(errors="replace") if "x-www-form-urlencoded" in environ.get("CONTENT_TYPE", "") else ""
    for fields in (form, environ.get("QUERY_STRING", "")):
        if actions := parse_qs(fields).get("Action"):
            return str(actions[0])
    return str(environ["REQUEST_METHOD"])


def _is_question(environ: Environ, body: bytes) -> bool:
    """Tell whether a request can change nothing."""
    action = _action(environ, body)
    return action in ("GET", "HEAD", "OPTIONS") or _QUESTION.match(action) is not None


def _scope(environ: Environ) -> str:
    found = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    return found[1] if found else ""
