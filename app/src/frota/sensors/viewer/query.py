"""Queries to a sensor server. Any other server is recognised by the first bytes of its response."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from frota.core.errors import ServerUnavailable
from frota.logs.log import printable
from frota.net.json_lines import JsonLinesClient, Limits
from frota.sensors.messages import END, ERROR, ILLEGIBLE
from frota.sensors.readings import Query, parse_since

_LIMITS = {
    "history": Limits(connect_timeout_s=10, idle_timeout_s=60),  # the first line may take as long as reading it all
    "tail": Limits(connect_timeout_s=10, idle_timeout_s=None),
}
_REASONS = (END.encode(), ERROR.encode())
_ILLEGIBLE = re.compile(ILLEGIBLE.strip().format("[0-9]{1,9}"))
_FIELDS = {"time": str, "text": str, "peer": str, "in_range": bool}  # that are shown


def request(
    host: str, port: int, command: str, query: Query, report: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Send `history` or `tail` to a server and yield the readings; `report` gets a message about skipped ones.

    Raises ServerUnavailable and WrongServer.
    """
    with JsonLinesClient((host, port), "sensor server", _LIMITS[command], _REASONS) as client:
        for line in client.lines(f"frota {command} {query.to_json()}\n".encode()):
            if not line.startswith(_REASONS):
                reading = _reading(line)
                if reading is None:
                    raise client.wrong_server(line)
                yield reading
                continue
            reason = line.decode(errors="replace").removeprefix(END).strip()
            if reason and not _ILLEGIBLE.fullmatch(reason):
                raise ServerUnavailable(f"{client.where}: {printable(reason)}")
            if reason:
                report(f"{client.where}: {reason}")
            return


def _reading(line: bytes) -> dict[str, Any] | None:
    """Parse a line; None if it is not a reading with all shown fields."""
    try:
        reading: dict[str, Any] = json.loads(line)
        parse_since(reading["time"], datetime.now(UTC))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    return reading if all(type(reading.get(name)) is kind for name, kind in _FIELDS.items()) else None
