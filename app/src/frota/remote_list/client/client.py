"""The list's client: a lazy pirate (ZeroMQ Guide, chapter 4), to whose user an absent server is a pause.

A request without an answer is sent again over a new socket with the same id, and the server carries an id out once.
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
from frota.core.errors import ServerUnavailable, WrongServer
from frota.core.settings import SettingsError
from frota.core.trace import from_environment, traceparent
from frota.logs.log import printable
from frota.remote_list.client import legacy
from frota.remote_list.client.connection import Connection
from frota.remote_list.client_settings import ClientSettings

_FIRST_TIMEOUT_S, _MAX_TIMEOUT_S = (
    1.0,
    8.0,
)  # seconds for an answer, doubled at each time-out: some requests do take long
_MIN_TIMEOUT_S = 0.2  # seconds; a shorter try would only hide what the one before has told
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.1, 2.0  # seconds between two tries, doubled likewise
_WARNING_INTERVAL_S = 5.0  # seconds between two lines about a server that does not answer


class HostNotFound(OSError):
    """The server's host has no address."""


class OutcomeUnknown(OSError):
    """The answer to a change was lost, and the server is one that must not be asked again."""


@dataclass(frozen=True)
class Response:
    """What the server answered: `fields` as they came, or as they can be told of an original's sentence."""

    fields: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether what was asked for was done or found."""
        return bool(self.fields["ok"])

    @property
    def text(self) -> str:
        """The sentence for people, in Portuguese."""
        return str(self.fields["text"])

    @property
    def hint(self) -> str:
        """A further sentence that may help, or nothing."""
        hint = self.fields.get("hint", "")
        return hint if isinstance(hint, str) else ""

    @property
    def version(self) -> int:
        """How often the list was changed, 0 where the server does not tell."""
        return int(self.fields.get("version", 0))


def warn(text: str) -> None:
    """Say something about the connection on standard error."""
    print(f"frota: {printable(text)}", file=sys.stderr, flush=True)


class Client:
    """One client, with one request under way at a time; not to be shared by threads.

    `reread` gives the settings of the moment for each new connection, `tell` takes what people should know meanwhile.
    """

    def __init__(
        self,
        access: ClientSettings,
        reread: Callable[[], ClientSettings] | None = None,
        warn: Callable[[str], None] = warn,
    ) -> None:
        self.access = access
        self._reread, self._warn = reread, warn
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._connection: Connection | None = None
        self._name, self._number = uuid.uuid4().hex, 0
        self._reason, self._warned = "", -_WARNING_INTERVAL_S
        self.address_index = 0  # whose it is of the addresses of the server's host
        self.connections = 0  # made so far: another one means that something happened to the former

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._disconnect()
        self._context.destroy(0)

    def ask(self, op: str, **fields: Any) -> Response:
        """Have a request carried out, once, and return the answer; a refusal is an answer too (`ok` is False).

        Raises ServerUnavailable, NoHost, InDoubt, WrongServer, legacy.Cannot, SettingsError (keys).
        """
        self._number += 1
        request = {"op": op, "list": self.access.list, "id": f"{self._name}:{self._number}"}
        request |= {"traceparent": traceparent(from_environment()), **fields}
        began, backoff = time.monotonic(), Backoff(_FIRST_BACKOFF_S, _MAX_BACKOFF_S)
        while True:
            left = began + self.access.patience - time.monotonic()
            response = self._attempt(request, min(left, _FIRST_TIMEOUT_S * 2 ** min(backoff.failures, 3)), left)
            if response:
                return response
            self._back_off(began, backoff)

    def _back_off(self, began: float, backoff: Backoff) -> None:
        """Pause before the next try. Raises ServerUnavailable when there is none."""
        now = time.monotonic()
        pause = backoff.pause()
        if now + pause + _MIN_TIMEOUT_S >= began + self.access.patience:
            raise ServerUnavailable(f"gave up after {now - began:.0f} s: {self._reason}")
        if (
            now - began >= _FIRST_TIMEOUT_S and now - self._warned >= _WARNING_INTERVAL_S
        ):  # a shorter pause is nobody's business
            self._warned = now
            self._warn(f"{self.access.address} does not answer, trying again")
        time.sleep(pause)  # backoff: no event tells that the server is back

    def _attempt(self, request: dict[str, Any], seconds: float, left: float) -> Response | None:
        """Ask once, in whichever way the server understands; None where another try is worth its while."""
        connection = self._connected()
        if connection is None:
            return None
        if not connection.legacy:
            raw = connection.exchange(json.dumps(request, ensure_ascii=False).encode(), seconds)
            if raw is None or raw != legacy.NOT_UNDERSTOOD.encode():
                return self._parse_native(connection, request, raw)
            connection.legacy = True
        return self._exchange_legacy(connection, request, seconds, left)

    def _parse_native(self, connection: Connection, request: dict[str, Any], raw: bytes | None) -> Response | None:
        response = self._parse(raw) if raw is not None else None
        if response is None or response.fields.get("id", request["id"]) != request["id"]:
            self._fail(connection)
            return None
        if response.fields.get("error") == "busy":
            self._reason = f"the server at {self.access.address} is busy: {response.text}"
            return None
        return response

    def _exchange_legacy(
        self, connection: Connection, request: dict[str, Any], seconds: float, left: float
    ) -> Response | None:
        try:
            command = legacy.command(request)
            raw = connection.exchange(command.encode(), left if legacy.is_change(request) else seconds)
            if raw is not None:
                return Response(legacy.parse_response(request, raw.decode(errors="replace")))
        except legacy.Unsupported as error:
            raise legacy.Unsupported(f"the server at {self.access.address} is one of the original's: {error}") from None
        self._fail(connection)
        if legacy.is_change(request):
            raise OutcomeUnknown(
                f"the answer to {command!r} was lost, and nobody knows whether it was done: {self._reason}"
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
        raise WrongServer(f"{self.access.address} is no list server: it says {shown!r}")

    def _connected(self) -> Connection | None:
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
                # What was right once may be so again: a key file, an env file, a name. What never was will not be.
                if first and getattr(error, "errno", None) != socket.EAI_AGAIN:
                    raise _explained(error, self.access) from None
                self._reason = str(_explained(error, self.access))
        return self._connection

    def _fail(self, connection: Connection) -> None:
        self._reason = connection.reason
        self.address_index += 1
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def _explained(error: Exception, access: ClientSettings) -> Exception:
    if isinstance(error, socket.gaierror):
        return HostNotFound(f"no list server at {access.address}: {error.strerror}")
    return error
