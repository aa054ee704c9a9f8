"""What the list's server logs about its clients and their requests, within rate limits."""

import os
import time
from dataclasses import dataclass, field
from typing import Any

from frota.logs.log import printable, record
from frota.logs.rate_limit import RateLimitedLog, RateLimiter
from frota.remote_list.messages import Request
from frota.remote_list.settings import PREFIX
from frota.storage.wal.log import DiskFull

_QUIET = 60.0  # seconds between two warnings that there are as many connections as there may be
_LONGEST = 200  # characters of a message in the log


@dataclass(slots=True)
class RequestRecord:
    """What is known of a request that is logged: where it comes from, when it came, and what is logged with both."""

    peer: str
    client: str
    received: float = field(default_factory=time.perf_counter)
    fields: dict[str, Any] = field(default_factory=dict)


class EventLog(RateLimitedLog):
    """Writes the log's records."""

    def __init__(self, requests_per_second: int) -> None:
        self._requests = RateLimiter("requests_suppressed", "requests", requests_per_second)
        self._rejections = RateLimiter("rejections_suppressed", "attempts to connect without an allowed key")
        self._dropped = RateLimiter("responses_dropped_suppressed", "answers that nobody read", 1)
        self._disk = RateLimiter("disk_full_suppressed", "rounds of changes that were not kept", 1)
        self._internal = RateLimiter("internal_errors_suppressed", "requests that failed for a reason that is ours", 1)
        self._limit_logged = -_QUIET
        super().__init__(self._requests, self._rejections, self._dropped, self._disk, self._internal)

    def logs_requests(self) -> bool:
        """Tell whether a request that came now would be logged."""
        return not self._requests.exhausted

    def suppress_requests(self, count: int) -> None:
        """Count requests that are not logged."""
        self._requests.suppress(count)

    def request(self, logged: RequestRecord, request: Request, body: list[bytes]) -> None:
        """Log a request that has come."""
        self._requests.allow()
        logged.fields = {"PEER": logged.peer, "LIST": request.list, "TRACE_ID": request.trace or os.urandom(16).hex()}
        if logged.client:
            logged.fields["CLIENT"] = logged.client
        record("INFO", "request", f"Mensagem recebida: {_shown(b' '.join(body))}", **logged.fields)

    def response(self, logged: RequestRecord, response: bytes) -> None:
        """Log the answer to a request that was logged."""
        milliseconds = f"{(time.perf_counter() - logged.received) * 1e3:.3f}"
        text = f"Enviando resposta ao cliente: {_shown(response)}"
        record("INFO", "response", text, **logged.fields, DURATION_MS=milliseconds)

    def client_rejected(self, key: str) -> None:
        """Log that somebody was not let in."""
        if self._rejections.allow():
            record("WARNING", "client_rejected", f"refused a client whose key is not on the allow-list: {key}", KEY=key)

    def responses_dropped(self, count: int) -> None:
        """Log that answers were thrown away."""
        if self._dropped.allow():
            text = f"{count} answers thrown away: their client does not read what it asked for, or is gone"
            record("WARNING", "responses_dropped", text, COUNT=count)

    def descriptor_limit_low(self, files: int, connections: int, most: int) -> None:
        """Log that there cannot be as many connections as are configured."""
        text = f"{files} open files are allowed, enough for {connections} connections and not for {most}"
        record("WARNING", "descriptor_limit_low", f"{text}: raise the limit (LimitNOFILE=)")

    def connection_limit_reached(self, connections: int, most: int) -> None:
        """Log that there are as many connections as there may be, though not each time."""
        now = time.monotonic()
        if now - self._limit_logged >= _QUIET:
            self._limit_logged = now
            more = "the limit of open files (LimitNOFILE=)" if connections < most else f"{PREFIX}MAX_CONNECTIONS"
            text = f"connection limit of {connections} reached, further clients wait until some disconnect"
            record("WARNING", "connection_limit_reached", f"{text}; to allow more, raise {more}", COUNT=connections)

    def internal_error(self, error: Exception) -> None:
        """Log that unexpected error while processing a request."""
        if self._internal.allow():
            record("ERROR", "internal_error", "unexpected error while processing a request", error=error)

    def disk_full(self, error: DiskFull) -> None:
        """Log that changes were refused for want of room."""
        if self._disk.allow():
            record("ERROR", "disk_full", f"changes refused, nothing was changed: {error}")


def _shown(message: bytes) -> str:
    text = printable(message[: 4 * _LONGEST].decode(errors="replace"))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
