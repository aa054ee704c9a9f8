"""Requests the hosts from a server again and again, in a thread of its own."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from frota.core.backoff import Backoff
from frota.cpu.viewer.host_status import Host
from frota.cpu.viewer.query import Client

_MIN_RETRY_S, _MAX_RETRY_S = 0.5, 5.0
_GRACE_S = 3.0  # beyond the interval, before a missing response is reported


class Response(NamedTuple):
    """The hosts, and when they were received: in monotonic seconds, and as local time of day."""

    hosts: list[Host]
    received: float
    clock: str


class Poller:
    """The last response of a server, and why the last request failed, if it did."""

    def __init__(self, client: Client, interval_s: float) -> None:
        """Request the hosts once, in the caller's thread. Raises ServerUnavailable and WrongServer."""
        self._client, self._interval_s = client, interval_s
        self.response = self._request()
        self._error = ""

    def start(self, notify: Callable[[], object]) -> None:
        """Poll until the process ends; call `notify` in the thread after each request."""
        threading.Thread(target=self._poll, args=[notify], daemon=True, name="poll").start()

    def trouble(self) -> str:
        """Return a sentence about a server that does not respond any more; "" while it does."""
        silence_s = time.monotonic() - self.response.received
        error = self._error
        if not error and silence_s < self._interval_s + _GRACE_S:
            return ""
        sentence = f"no answer from {self._client.where} for {silence_s:.0f} s: trying again"
        return f"{sentence} ({error})" if error else sentence

    def _request(self) -> Response:
        hosts = self._client.hosts()
        return Response(hosts, time.monotonic(), datetime.now().astimezone().strftime("%H:%M:%S"))

    def _poll(self, notify: Callable[[], object]) -> None:
        backoff, due = Backoff(_MIN_RETRY_S, _MAX_RETRY_S), self.response.received
        while True:
            now = time.monotonic()
            due = max(due + self._interval_s, now)
            # The user's interval; after a failure backoff, since no event reports that the server is back.
            time.sleep(backoff.pause() if self._error else due - now)
            try:
                self.response = self._request()
                self._error = ""
                backoff.reset()
            except OSError as error:
                self._error = self._without_address(str(error)) or type(error).__name__
            with suppress(RuntimeError):  # the screen's event loop has ended
                notify()

    def _without_address(self, error: str) -> str:
        where = self._client.where
        return error.removeprefix(f"no metrics server at {where}: ").removeprefix(f"{where}: ")
