"""A client's connection: requests and their replies, as lines over TCP."""

from collections.abc import Sequence
from typing import TypeVar

from frota.core.errors import ServerUnavailable, StateError
from frota.logs.log import printable
from frota.net.json_lines import JsonLinesClient, Limits
from frota.peers.client_settings import ClientSettings
from frota.peers.protocol.calling_sides import MAX_REPLY_BYTES, ClientSide
from frota.peers.protocol.messages import MAX_BATCH, Rejection, Result, Task
from frota.peers.protocol.messages import Refusal as ServerRefusal
from frota.peers.protocol.requests import GetResults, Reply, Request, RequestFailed, Results, Submit, Submitted
from frota.peers.protocol.server_side import Rejected
from frota.peers.security import Security

R = TypeVar("R", bound=Reply)
_MARGIN_S = 10.0  # for an answer, beside the time that it may wait
POLL_S = 20.0  # of one request for results: the server may wait so long


class RequestRejected(StateError):
    """The server rejects a request: gives its reason."""


class PeersClient:
    """Sends requests to one server, each after the reply to the one before."""

    def __init__(self, config: ClientSettings) -> None:
        """Read the certificates. Raises StateError, SettingsError."""
        host, _ = address = config.address
        security = Security(config, host, "connect")
        limits = Limits(idle_timeout_s=POLL_S + _MARGIN_S, max_line_bytes=MAX_REPLY_BYTES)
        self._lines = JsonLinesClient(address, "peers' server", limits, secure=lambda plain: security.wrap(plain, host))
        self._side = ClientSide()
        self._id = 0

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()

    def next_id(self) -> int:
        """Return an id for a request."""
        self._id += 1
        return self._id

    def ask(self, request: Request, kind: type[R]) -> R:
        """Return the reply. Raises ServerUnavailable, WrongServer and RequestRejected."""
        self._side = ClientSide()
        line = next(iter(self._lines.lines(self._side.send(request))))
        for event in self._side.receive(line + b"\n"):
            if isinstance(event, RequestFailed):
                raise RequestRejected(f"the server rejects the request: {event.reason}")
            if isinstance(event, kind):
                return event
            if isinstance(event, ServerRefusal):
                raise ServerUnavailable(f"{self._lines.where}: the server refuses: {printable(event.reason)}")
            if isinstance(event, Rejected):
                break
        raise self._lines.wrong_server(line)

    def submit(self, tasks: Sequence[Task], trace: str = "") -> list[str | Rejection]:
        """Submit tasks; return the id of each that is durable now, or why it is rejected."""
        outcome: list[str | Rejection] = []
        for begin in range(0, len(tasks), MAX_BATCH):
            request = Submit(self.next_id(), tuple(tasks[begin : begin + MAX_BATCH]), trace)
            outcome += self.ask(request, Submitted).tasks
        return outcome

    def results(self, ids: Sequence[str], wait_s: float) -> list[Result]:
        """Return what is known of tasks, after `wait_s` for those that have not ended, POLL_S at most."""
        results: list[Result] = []
        for begin in range(0, len(ids), MAX_BATCH):
            request = GetResults(self.next_id(), tuple(ids[begin : begin + MAX_BATCH]), min(wait_s, POLL_S))
            results += self.ask(request, Results).results
        return results
