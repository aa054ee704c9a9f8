"""Asking a sensor server what it keeps; whatever answers there instead is told by its first bytes."""

import json
import re
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from frota.core.errors import ServerUnavailable, WrongServer
from frota.logs.log import printable
from frota.net.addresses import endpoint
from frota.sensors.messages import END, ERROR, ILLEGIBLE
from frota.sensors.readings import Query, parse_since

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0  # a long history is looked for before its first line
_LONGEST = 64 * 1024  # bytes; no line of a server is nearly as long
_REASONS = (END.encode(), ERROR.encode())
_ILLEGIBLE = re.compile(ILLEGIBLE.strip().format("[0-9]{1,9}"))
_BEGINNINGS = (b"{", *_REASONS)
_FIELDS = {"time": str, "text": str, "peer": str, "in_range": bool}  # the ones that are shown


def ask(host: str, port: int, command: str, query: Query, tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Ask a server for `history` or `tail` and yield the readings; `tell` hears what the server had to leave out.

    Raises ServerUnavailable and WrongServer.
    """
    where = endpoint(host, port)
    try:
        connection = socket.create_connection((host, port), _CONNECT_SECONDS)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
        raise ServerUnavailable(f"no sensor server at {where}: {getattr(error, 'strerror', None) or error}") from None
    with connection:
        connection.settimeout(_ANSWER_SECONDS if command == "history" else None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            connection.sendall(f"frota {command} {query.to_json()}\n".encode())
            for line in _lines(connection):
                if line.startswith(_REASONS):
                    reason = line.decode(errors="replace").removeprefix(END).strip()
                    if reason and not _ILLEGIBLE.fullmatch(reason):
                        raise ServerUnavailable(f"{where}: {printable(reason)}")
                    if reason:
                        tell(f"{where}: {reason}")
                    return
                yield _reading(line)
        except _Strange as strange:
            said = strange.data[:60].decode(errors="replace")
            raise WrongServer(f"{where} is no sensor server: it says {said!r}") from None
        except OSError as error:
            raise error if isinstance(error, ServerUnavailable) else ServerUnavailable(f"{where}: {error}") from None
    raise ServerUnavailable(f"{where}: the server closed the connection")


class _Strange(Exception):
    """Data that no sensor server sends."""

    def __init__(self, data: bytes) -> None:
        self.data = data


def _lines(connection: socket.socket) -> Iterator[bytes]:
    """Yield lines. Raises _Strange as soon as what arrives cannot become a line of ours."""
    rest = b""
    while piece := connection.recv(65536):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if not line.startswith(_BEGINNINGS):
                raise _Strange(line)
            yield line
        if len(rest) > _LONGEST or not any(rest.startswith(one[: len(rest)]) for one in _BEGINNINGS):
            raise _Strange(rest)
    if rest.startswith(_REASONS):  # no newline follows the reason why a connection is refused
        yield rest


def _reading(line: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
        if any(type(found.get(name)) is not kind for name, kind in _FIELDS.items()):
            raise _Strange(line)
        parse_since(found["time"], datetime.now(UTC))
    except (ValueError, RecursionError):
        raise _Strange(line) from None
    return found
