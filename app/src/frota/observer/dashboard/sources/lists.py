"""The shared list: its elements, its last changes, and the changes that operators make."""

from typing import Any

from frota.core.errors import MalformedMessage, RequestRejected, ServerUnavailable
from frota.list.client.client import Client, Response
from frota.observer.dashboard.sources.clients import list_settings
from frota.observer.dashboard.sources.poller import Thread
from frota.observer.settings import Endpoint

MAX_VALUE_CHARACTERS = 1000
_MAX_POSITION = 2**53
_SHOWN_ELEMENTS, _SHOWN_CHANGES, _SHOWN_CHARACTERS = 500, 50, 500


class ListPart:
    """The source of the topic `list`. A poll asks for the list's version, and for its content once that changes."""

    name, topic = "list", "list"
    interval_s = 0.25

    def __init__(self, server: Endpoint) -> None:
        self._server, self._thread = server, Thread("list")
        self._client: Client | None = None
        self._latest: dict[str, Any] | None = None

    async def poll(self) -> dict[str, Any] | None:
        """Return the list if it has changed. Raises OSError, SettingsError."""
        return await self._thread.run(self._query)

    def latest(self) -> dict[str, Any] | None:
        """Return the list."""
        return self._latest

    async def change(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Make a change; return the list's response. Raises MalformedMessage, RequestRejected, OSError."""
        request = _checked(fields)
        response = await self._thread.run(self._ask, request)
        if not response.ok:
            raise RequestRejected(str(response.fields.get("error", "rejected")), response.text, response.hint)
        return {"text": response.text, "version": response.version}

    def _query(self) -> dict[str, Any] | None:
        info = self._ask({"op": "info"})
        if self._latest and self._latest["version"] == info.version:
            return None
        elements = self._ask({"op": "show", "start": 0, "stop": _SHOWN_ELEMENTS})
        changes = self._ask({"op": "changes", "since": max(0, info.version - _SHOWN_CHANGES)})
        self._latest = _shown(elements.fields, changes.fields)
        return self._latest

    def _ask(self, request: dict[str, Any]) -> Response:
        """Send a request. Raises ServerUnavailable, WrongServer, UnsupportedByServer, SettingsError."""
        if self._client is None:
            self._client = Client(list_settings(self._server), warn=lambda _: None)
        try:
            return self._client.ask(**request)
        except ServerUnavailable:
            raise
        except (KeyError, TypeError) as error:
            raise ServerUnavailable(f"{self._server}: the response is malformed: {error}") from None


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the request of a change. Raises MalformedMessage."""
    op, value, position = fields.get("op"), fields.get("value"), fields.get("position")
    if op not in ("append", "insert", "remove"):
        raise MalformedMessage("op must be append, insert or remove")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_VALUE_CHARACTERS:
        raise MalformedMessage(f"value must be a text of 1 to {MAX_VALUE_CHARACTERS} characters")
    if op != "insert":
        return {"op": op, "value": value}
    if type(position) is not int or abs(position) > _MAX_POSITION:
        raise MalformedMessage("position must be a whole number")
    return {"op": op, "value": value, "position": position}


def _shown(show: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    recent = changes.get("changes")
    return {
        "list": str(show.get("list", ""))[:_SHOWN_CHARACTERS],
        "version": int(show.get("version", 0)),
        "length": int(show.get("length", 0)),
        "elements": [str(element)[:_SHOWN_CHARACTERS] for element in show.get("elements", ())][:_SHOWN_ELEMENTS],
        "changes": [_change(change) for change in (recent if isinstance(recent, list) else ())][-_SHOWN_CHANGES:],
    }


def _change(change: Any) -> dict[str, Any]:
    fields = change if isinstance(change, dict) else {}
    return {name: str(fields.get(name, ""))[:_SHOWN_CHARACTERS] for name in ("version", "time", "op", "text")}
