"""Asks a server for its hosts again and again, in a thread of its own, and rings a bell whenever something is new."""

import socket
import threading
import time
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from frota.core.backoff import Backoff
from frota.cpu_metrics.viewer.host_status import Host
from frota.cpu_metrics.viewer.query import Client

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 5.0  # seconds between two tries


class Answer(NamedTuple):
    """The hosts, and when they were told: in monotonic seconds, and by the clock."""

    hosts: list[Host]
    came: float
    clock: str


class Poller:
    """What a server last said, and what became of the last request; the bell is a socket to wait for and read."""

    def __init__(self, client: Client, interval: float) -> None:
        """Take the first answer in the caller's own thread. Raises ServerUnavailable and WrongServer."""
        self._client, self._interval = client, interval
        self.answer = self._asked()
        self.reason = ""  # why the last request failed
        self.bell, self._ring = socket.socketpair()
        self.bell.setblocking(False)
        self._ring.setblocking(False)

    def start(self) -> None:
        """Go on asking, until the process ends."""
        threading.Thread(target=self._poll, daemon=True, name="poll").start()

    def trouble(self) -> str:
        """Tell, in a sentence, that there is no answer any more; "" while there is."""
        silence = time.monotonic() - self.answer.came
        reason = self.reason
        if not reason and silence < self._interval + 3:
            return ""
        sentence = f"no answer from {self._client.where} for {silence:.0f} s: trying again"
        return f"{sentence} ({reason})" if reason else sentence

    def _without_address(self, reason: str) -> str:
        where = self._client.where
        return reason.removeprefix(f"no metrics server at {where}: ").removeprefix(f"{where}: ")

    def _asked(self) -> Answer:
        hosts = self._client.hosts()
        return Answer(hosts, time.monotonic(), datetime.now().astimezone().strftime("%H:%M:%S"))

    def _poll(self) -> None:
        backoff, due = Backoff(_FIRST_PAUSE, _LONGEST_PAUSE), self.answer.came
        while True:
            now = time.monotonic()
            due = max(due + self._interval, now)
            # The interval that was asked for; after a failure backoff, since no event tells that the server is back.
            time.sleep(backoff.pause() if self.reason else due - now)
            try:
                self.answer = self._asked()
                self.reason = ""
                backoff.reset()
            except OSError as error:
                self.reason = self._without_address(str(error)) or type(error).__name__
            with suppress(BlockingIOError):  # it is ringing already
                self._ring.send(b"!")
