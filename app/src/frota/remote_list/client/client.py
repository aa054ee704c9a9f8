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
from frota.remote_list.access import Access
from frota.remote_list.client import legacy
from frota.remote_list.client.channel import Channel

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 8.0  # seconds for an answer, doubled at each time-out: some requests do take long
_LEAST_WAIT = 0.2  # seconds; a shorter try would only hide what the one before has told
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries, doubled likewise
_QUIET = 5.0  # seconds between two lines about a server that does not answer


class NoHost(OSError):
    """The server's host has no address."""


class InDoubt(OSError):
    """The answer to a change was lost, and the server is one that must not be asked again."""


@dataclass(frozen=True)
class Answer:
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


def tell(text: str) -> None:
    """Say something about the connection on standard error."""
    print(f"frota: {printable(text)}", file=sys.stderr, flush=True)


class Client:
    """One client, with one request under way at a time; not to be shared by threads.

    `reread` gives the settings of the moment for each new connection, `tell` takes what people should know meanwhile.
    """

    def __init__(
        self, access: Access, reread: Callable[[], Access] | None = None, tell: Callable[[str], None] = tell
    ) -> None:
        self.access = access
        self._reread, self._tell = reread, tell
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._channel: Channel | None = None
        self._name, self._number = uuid.uuid4().hex, 0
        self._reason, self._told = "", -_QUIET
        self.turn = 0  # whose it is of the addresses of the server's host
        self.connections = 0  # made so far: another one means that something happened to the former

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._drop()
        self._context.destroy(0)

    def ask(self, op: str, **fields: Any) -> Answer:
        """Have a request carried out, once, and return the answer; a refusal is an answer too (`ok` is False).

        Raises ServerUnavailable, NoHost, InDoubt, WrongServer, legacy.Cannot, SettingsError (keys).
        """
        self._number += 1
        request = {"op": op, "list": self.access.list, "id": f"{self._name}:{self._number}"}
        request |= {"traceparent": traceparent(from_environment()), **fields}
        began, backoff = time.monotonic(), Backoff(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            left = began + self.access.patience - time.monotonic()
            answer = self._try(request, min(left, _FIRST_WAIT * 2 ** min(backoff.failures, 3)), left)
            if answer:
                return answer
            self._wait(began, backoff)

    def _wait(self, began: float, backoff: Backoff) -> None:
        """Pause before the next try. Raises ServerUnavailable when there is none."""
        now = time.monotonic()
        pause = backoff.pause()
        if now + pause + _LEAST_WAIT >= began + self.access.patience:
            raise ServerUnavailable(f"gave up after {now - began:.0f} s: {self._reason}")
        if now - began >= _FIRST_WAIT and now - self._told >= _QUIET:  # a shorter pause is nobody's business
            self._told = now
            self._tell(f"{self.access.address} does not answer, trying again")
        time.sleep(pause)  # backoff: no event tells that the server is back

    def _try(self, request: dict[str, Any], seconds: float, left: float) -> Answer | None:
        """Ask once, in whichever way the server understands; None where another try is worth its while."""
        channel = self._connected()
        if channel is None:
            return None
        if not channel.original:
            said = channel.ask(json.dumps(request, ensure_ascii=False).encode(), seconds)
            if said is None or said != legacy.NOT_UNDERSTOOD.encode():
                return self._native(channel, request, said)
            channel.original = True
        return self._original(channel, request, seconds, left)

    def _native(self, channel: Channel, request: dict[str, Any], said: bytes | None) -> Answer | None:
        answer = self._parsed(said) if said is not None else None
        if answer is None or answer.fields.get("id", request["id"]) != request["id"]:
            self._give_up(channel)
            return None
        if answer.fields.get("error") == "busy":
            self._reason = f"the server at {self.access.address} is busy: {answer.text}"
            return None
        return answer

    def _original(self, channel: Channel, request: dict[str, Any], seconds: float, left: float) -> Answer | None:
        try:
            command = legacy.command(request)
            said = channel.ask(command.encode(), left if legacy.changes(request) else seconds)
            if said is not None:
                return Answer(legacy.answer(request, said.decode(errors="replace")))
        except legacy.Cannot as error:
            raise legacy.Cannot(f"the server at {self.access.address} is one of the original's: {error}") from None
        self._give_up(channel)
        if legacy.changes(request):
            raise InDoubt(f"the answer to {command!r} was lost, and nobody knows whether it was done: {self._reason}")
        return None

    def _parsed(self, said: bytes) -> Answer:
        try:
            fields = json.loads(said)
            if isinstance(fields["ok"], bool) and isinstance(fields["text"], str):
                return Answer(fields)
        except (ValueError, RecursionError, KeyError, TypeError):
            pass
        shown = said[:60].decode(errors="replace")
        raise WrongServer(f"{self.access.address} is no list server: it says {shown!r}")

    def _connected(self) -> Channel | None:
        if self._channel and self._channel.lost:
            self._drop()
        if self._channel is None:
            first = not self.connections
            try:
                if self._reread and not first:
                    self.access = self._reread()
                self._channel = Channel(self._context, self.access, self.turn)
                self.connections += 1
            except (SettingsError, OSError) as error:
                # What was right once may be so again: a key file, an env file, a name. What never was will not be.
                if first and getattr(error, "errno", None) != socket.EAI_AGAIN:
                    raise _explained(error, self.access) from None
                self._reason = str(_explained(error, self.access))
        return self._channel

    def _give_up(self, channel: Channel) -> None:
        self._reason = channel.reason
        self.turn += 1
        self._drop()

    def _drop(self) -> None:
        if self._channel:
            self._channel.close()
        self._channel = None


def _explained(error: Exception, access: Access) -> Exception:
    if isinstance(error, socket.gaierror):
        return NoHost(f"no list server at {access.address}: {error.strerror}")
    return error
