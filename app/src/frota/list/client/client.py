"""The list's client: a lazy pirate (ZeroMQ Guide, chapter 4), to whose user an unavailable server is a pause.

A request without a response is sent again over a new socket, with the same idempotency key: the server executes it
once.
"""

import json
import socket
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import zmq

from frota.core.backoff import Backoff
from frota.core.errors import ServerUnavailable, UnsupportedByServer, WrongServer
from frota.core.settings import SettingsError
from frota.core.trace import from_environment, traceparent
from frota.list.client import legacy
from frota.list.client.connection import Connection
from frota.list.client_settings import ClientSettings
from frota.logs.log import printable

FIRST_TIMEOUT_S = 1.0  # for a response; doubled at each timeout, eightfold at most: some requests take long
_MIN_TIMEOUT_S = 0.2  # a shorter attempt would only hide the reason of the one before
_FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 2.0  # between two attempts
_WARNING_INTERVAL_S = 5.0  # between two lines about an unavailable server


class HostNotFound(OSError):
    """The server's host name has no address."""


class OutcomeUnknown(OSError):
    """The response to a change was lost, and a legacy server cannot recognize a repetition."""


@dataclass(frozen=True)
class Response:
    """The server's response: its `fields`, or those that a legacy sentence implies."""

    fields: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the request was executed, or a search found the element."""
        return bool(self.fields["ok"])

    @property
    def text(self) -> str:
        """The sentence for people, in Portuguese."""
        return str(self.fields["text"])

    @property
    def hint(self) -> str:
        """A further sentence that may help, or ""."""
        hint = self.fields.get("hint", "")
        return hint if isinstance(hint, str) else ""

    @property
    def version(self) -> int:
        """The number of changes of the list, 0 if unknown."""
        return int(self.fields.get("version", 0))


def warn(text: str) -> None:
    """Print a line about the connection on standard error."""
    print(f"frota: {printable(text)}", file=sys.stderr, flush=True)


class Client:
    """A client with one request in flight at a time; not thread-safe.

    `reread` returns the current settings for each new connection; `warn` gets a text for people while a request is
    retried.
    """

    def __init__(
        self,
        access: ClientSettings,
        reread: Callable[[], ClientSettings] | None = None,
        warn: Callable[[str], None] = warn,
        *,
        first_timeout_s: float = FIRST_TIMEOUT_S,
        max_backoff_s: float = MAX_BACKOFF_S,
    ) -> None:
        self.access = access
        self._first_timeout_s, self._max_backoff_s = first_timeout_s, max_backoff_s
        self._reread, self._warn = reread, warn
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._connection: Connection | None = None
        self._name, self._number = uuid.uuid4().hex, 0
        self._reason, self._warned = "", -_WARNING_INTERVAL_S
        self.address_index = 0  # of the server's host, see connection.resolve
        self.connections = 0  # made so far; watch notices by it that the connection was lost

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._disconnect()
        self._context.destroy(0)

    def ask(self, op: str, **fields: Any) -> Response:
        """Send a request until there is a response, and return it; a rejection is a response too (`ok` is False).

        Raises ServerUnavailable, HostNotFound, OutcomeUnknown, WrongServer, UnsupportedByServer, SettingsError (keys).
        """
        self._number += 1
        request = {"op": op, "list": self.access.list, "id": f"{self._name}:{self._number}"}
        request |= {"traceparent": traceparent(from_environment()), **fields}
        began, backoff = time.monotonic(), Backoff(_FIRST_BACKOFF_S, self._max_backoff_s)
        while True:
            remaining = began + self.access.timeout - time.monotonic()
            timeout = min(remaining, self._first_timeout_s * 2 ** min(backoff.failures, 3))
            response = self._attempt(request, timeout, remaining)
            if response:
                return response
            self._back_off(began, backoff)

    def _back_off(self, began: float, backoff: Backoff) -> None:
        """Pause before the next attempt. Raises ServerUnavailable when the time is up."""
        now = time.monotonic()
        pause = backoff.pause()
        if now + pause + _MIN_TIMEOUT_S >= began + self.access.timeout:
            raise ServerUnavailable(f"gave up after {now - began:.0f} s: {self._reason}")
        if now - began >= self._first_timeout_s and now - self._warned >= _WARNING_INTERVAL_S:
            self._warned = now
            self._warn(f"{self.access.address} does not answer, trying again")
        time.sleep(pause)  # no event tells that the server is back

    def _attempt(self, request: dict[str, Any], timeout: float, remaining: float) -> Response | None:
        """Send a request once, in the server's protocol; None if it is worth another attempt."""
        connection = self._connect()
        if connection is None:
            return None
        if not connection.legacy:
            raw = connection.exchange(json.dumps(request, ensure_ascii=False).encode(), timeout)
            if raw is None or raw != legacy.NOT_UNDERSTOOD.encode():
                return self._parse_native(connection, request, raw)
            connection.legacy = True
        return self._exchange_legacy(connection, request, timeout, remaining)

    def _parse_native(self, connection: Connection, request: dict[str, Any], raw: bytes | None) -> Response | None:
        response = self._parse(raw) if raw is not None else None
        if response is None or response.fields.get("id", request["id"]) != request["id"]:
            self._abandon(connection)
            return None
        if response.fields.get("error") == "busy":
            self._reason = f"the server at {self.access.address} is busy: {response.text}"
            return None
        return response

    def _exchange_legacy(
        self, connection: Connection, request: dict[str, Any], timeout: float, remaining: float
    ) -> Response | None:
        try:
            command = legacy.command(request)
            raw = connection.exchange(command.encode(), remaining if legacy.is_change(request) else timeout)
            if raw is not None:
                return Response(legacy.parse_response(request, raw.decode(errors="replace")))
        except UnsupportedByServer as error:
            raise UnsupportedByServer(f"the server at {self.access.address} is a legacy server: {error}") from None
        self._abandon(connection)
        if legacy.is_change(request):
            raise OutcomeUnknown(
                f"the response to {command!r} was lost, its outcome is unknown (see `frota list show`): {self._reason}"
            )
        return None

    def _parse(self, raw: bytes) -> Response:
        try:
            fields = json.loads(raw)
            if isinstance(fields["ok"], bool) and isinstance(fields["text"], str):
                return Response(fields)
        except (ValueError, RecursionError, KeyError, TypeError):
            pass
        shown = raw[:60].decode(errors="replace")
        raise WrongServer(f"{self.access.address} is not a list server: it answers {shown!r}")

    def _connect(self) -> Connection | None:
        if self._connection and self._connection.lost:
            self._disconnect()
        if self._connection is None:
            first = not self.connections
            try:
                if self._reread and not first:
                    self.access = self._reread()
                self._connection = Connection(self._context, self.access, self.address_index)
                self.connections += 1
            except (SettingsError, OSError) as error:
                # Key file, env file and host name were valid for an earlier connection: retry. At the first one, fail.
                if first and getattr(error, "errno", None) != socket.EAI_AGAIN:
                    raise _explain(error, self.access) from None
                self._reason = str(_explain(error, self.access))
        return self._connection

    def _abandon(self, connection: Connection) -> None:
        self._reason = connection.reason
        self.address_index += 1
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def _explain(error: Exception, access: ClientSettings) -> Exception:
    if isinstance(error, socket.gaierror):
        return HostNotFound(f"no list server at {access.address}: {error.strerror}")
    return error
