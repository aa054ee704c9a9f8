"""Queries to a sensor server. Any other server is recognised by the first bytes of its answer."""

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

_CONNECT_TIMEOUT_S = 10.0
_ANSWER_TIMEOUT_S = 60.0  # the first line may take as long as reading the whole history
_MAX_LINE_BYTES = 64 * 1024  # far above any line of a sensor server
_REASONS = (END.encode(), ERROR.encode())
_ILLEGIBLE = re.compile(ILLEGIBLE.strip().format("[0-9]{1,9}"))
_BEGINNINGS = (b"{", *_REASONS)
_FIELDS = {"time": str, "text": str, "peer": str, "in_range": bool}  # that are shown


def request(
    host: str, port: int, command: str, query: Query, report: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Send `history` or `tail` to a server and yield the readings; `report` gets what the server left out.

    Raises ServerUnavailable and WrongServer.
    """
    where = endpoint(host, port)
    try:
        connection = socket.create_connection((host, port), _CONNECT_TIMEOUT_S)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
        raise ServerUnavailable(f"no sensor server at {where}: {getattr(error, 'strerror', None) or error}") from None
    with connection:
        connection.settimeout(_ANSWER_TIMEOUT_S if command == "history" else None)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        try:
            connection.sendall(f"frota {command} {query.to_json()}\n".encode())
            for line in _lines(connection):
                if line.startswith(_REASONS):
                    reason = line.decode(errors="replace").removeprefix(END).strip()
                    if reason and not _ILLEGIBLE.fullmatch(reason):
                        raise ServerUnavailable(f"{where}: {printable(reason)}")
                    if reason:
                        report(f"{where}: {reason}")
                    return
                yield _reading(line)
        except _ForeignData as foreign:
            answer = foreign.data[:60].decode(errors="replace")
            raise WrongServer(f"{where} is no sensor server: it answers {answer!r}") from None
        except OSError as error:
            raise error if isinstance(error, ServerUnavailable) else ServerUnavailable(f"{where}: {error}") from None
    raise ServerUnavailable(f"{where}: the server closed the connection")


class _ForeignData(Exception):
    """Data that no sensor server sends."""

    def __init__(self, data: bytes) -> None:
        self.data = data


def _lines(connection: socket.socket) -> Iterator[bytes]:
    """Yield lines. Raises _ForeignData as soon as input cannot become a line of a sensor server."""
    rest = b""
    while chunk := connection.recv(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not line.startswith(_BEGINNINGS):
                raise _ForeignData(line)
            yield line
        if len(rest) > _MAX_LINE_BYTES or not any(rest.startswith(one[: len(rest)]) for one in _BEGINNINGS):
            raise _ForeignData(rest)
    if rest.startswith(_REASONS):  # the reason of a rejected connection has no newline
        yield rest


def _reading(line: bytes) -> dict[str, Any]:
    try:
        reading: dict[str, Any] = json.loads(line)
        if any(type(reading.get(name)) is not kind for name, kind in _FIELDS.items()):
            raise _ForeignData(line)
        parse_since(reading["time"], datetime.now(UTC))
    except (ValueError, RecursionError):
        raise _ForeignData(line) from None
    return reading
