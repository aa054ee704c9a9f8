"""The records of the list's server about clients and requests, within rate limits."""

import time
from dataclasses import dataclass, field
from typing import Any

from frota.core import trace
from frota.list.messages import Request
from frota.list.settings import PREFIX
from frota.logs.log import printable, record
from frota.logs.rate_limit import RateLimitedLog, RateLimiter
from frota.storage.wal.log import DiskFull

_LIMIT_INTERVAL_S = 60.0  # between two warnings that the connection limit is reached
_MAX_SHOWN_CHARACTERS = 200  # of a message in a record


@dataclass(slots=True)
class RequestRecord:
    """The sender of a logged request, when the request arrived, and the fields of its records."""

    peer: str
    client: str
    received: float = field(default_factory=time.perf_counter)
    fields: dict[str, Any] = field(default_factory=dict)


class EventLog(RateLimitedLog):
    """Writes the records, and counts."""

    def __init__(self, requests_per_second: int) -> None:
        self.clients_rejected_total = self.responses_dropped_total = 0
        self.disk_full_total = self.internal_errors_total = 0
        self._requests = RateLimiter("requests_suppressed", "requests", requests_per_second)
        self._rejections = RateLimiter("rejections_suppressed", "clients whose key is not on the allow-list")
        self._dropped = RateLimiter("responses_dropped_suppressed", "discarded responses", 1)
        self._disk = RateLimiter("disk_full_suppressed", "rounds of changes rejected because the disk is full", 1)
        self._internal = RateLimiter("internal_errors_suppressed", "requests that failed with an internal error", 1)
        self._limit_logged = -_LIMIT_INTERVAL_S
        super().__init__(self._requests, self._rejections, self._dropped, self._disk, self._internal)

    def logs_requests(self) -> bool:
        """Tell whether a request that arrives now would be logged."""
        return not self._requests.exhausted

    def suppress_requests(self, count: int) -> None:
        """Count requests that are not logged."""
        self._requests.suppress(count)

    def request(self, logged: RequestRecord, request: Request, body: list[bytes]) -> None:
        """Log a request."""
        self._requests.allow()
        logged.fields = {"PEER": logged.peer, "LIST": request.list, "TRACE_ID": request.trace or trace.new_id()}
        if logged.client:
            logged.fields["CLIENT"] = logged.client
        record("INFO", "request", f"Mensagem recebida: {_shown(b' '.join(body))}", **logged.fields)

    def response(self, logged: RequestRecord, response: bytes) -> None:
        """Log the response to a logged request."""
        milliseconds = f"{(time.perf_counter() - logged.received) * 1e3:.3f}"
        text = f"Enviando resposta ao cliente: {_shown(response)}"
        record("INFO", "response", text, **logged.fields, DURATION_MS=milliseconds)

    def client_rejected(self, key: str) -> None:
        """Count and log a client whose key is not on the allow-list."""
        self.clients_rejected_total += 1
        if self._rejections.allow():
            record("WARNING", "client_rejected", f"client rejected, its key is not on the allow-list: {key}", KEY=key)

    def responses_dropped(self, count: int) -> None:
        """Count and log discarded responses."""
        self.responses_dropped_total += count
        if self._dropped.allow():
            text = f"{count} responses discarded: the client does not read, or has disconnected"
            record("WARNING", "responses_dropped", text, COUNT=count)

    def descriptor_limit_low(self, files: int, connections: int, max_connections: int) -> None:
        """Log that the limit of open files allows fewer connections than configured."""
        text = f"{files} open files are allowed, enough for {connections} connections and not for {max_connections}"
        record("WARNING", "descriptor_limit_low", f"{text}: raise the limit (LimitNOFILE=)")

    def connection_limit_reached(self, connections: int, max_connections: int) -> None:
        """Log that the connection limit is reached, once a minute at most."""
        now = time.monotonic()
        if now - self._limit_logged >= _LIMIT_INTERVAL_S:
            self._limit_logged = now
            by_files = connections < max_connections
            more = "the limit of open files (LimitNOFILE=)" if by_files else f"{PREFIX}MAX_CONNECTIONS"
            text = f"connection limit of {connections} reached, further clients wait until some disconnect"
            record("WARNING", "connection_limit_reached", f"{text}; to allow more, raise {more}", COUNT=connections)

    def internal_error(self, error: Exception) -> None:
        """Count and log an unexpected error in a request."""
        self.internal_errors_total += 1
        if self._internal.allow():
            record("ERROR", "internal_error", "unexpected error while processing a request", error=error)

    def disk_full(self, error: DiskFull) -> None:
        """Count and log that the changes of a round were rejected because the disk is full."""
        self.disk_full_total += 1
        if self._disk.allow():
            record("ERROR", "disk_full", f"changes rejected, disk full; nothing was changed: {error}")


def _shown(message: bytes) -> str:
    text = printable(message[: 4 * _MAX_SHOWN_CHARACTERS].decode(errors="replace"))
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[:_MAX_SHOWN_CHARACTERS] + "…"
