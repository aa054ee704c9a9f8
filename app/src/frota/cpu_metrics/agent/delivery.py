"""One connection to the server, in the native dialect or in the original's; neither ever waits."""

import json
import math
from typing import Any

from frota.cpu_metrics import messages
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.agent.tcp_link import Link
from frota.cpu_metrics.messages import Sample
from frota.logs.log import printable

ANSWER_TIMEOUT_S = 15.0  # in which a connection is made, and a hello answered
MAX_IN_FLIGHT = 500  # samples on their way
_BATCH_SAMPLES = 50  # samples handed over together
_MAX_ANSWER_BYTES = 4096


class ConnectionRejected(Exception):
    """The server says what it does not like."""


class NameConflict(ConnectionRejected):
    """Another agent has the name: says at which address."""


class NoServerError(Exception):
    """What answers is no server of ours."""


class NativeDelivery:
    """Numbered samples, kept until they are acknowledged. `established`: the server has said what it has already.

    `delivered`: it has acknowledged something since. `deadline`: when it must have answered, on the monotonic clock.
    """

    def __init__(self, link: Link, spool: Spool, hello: bytes, interval: float, now: float) -> None:
        self.link, self._spool, self._hello, self._interval = link, spool, hello, interval
        self._hello_sent = False
        self._last_sent = 0  # sequence number
        self._received = b""
        self.established = self.delivered = False
        self.deadline = now + ANSWER_TIMEOUT_S

    def step(self, now: float, _sample: Sample | None = None) -> None:
        """Do what can be done now. Raises OSError, ConnectionRejected or NoServerError where the connection is over."""
        if self.link.connected():
            if not self._hello_sent:
                self._hello_sent = True
                self.link.send(self._hello)
            for line in self._read_lines():
                self._process_answer(line, now)
            self.link.send()
            self._send(now)
        if now >= self.deadline:
            raise TimeoutError("the server does not answer")

    def reconfigure(self, hello: bytes, interval: float) -> None:
        """Say hello again, with another interval."""
        self._hello, self._interval = hello, interval
        if self._hello_sent:
            self.link.send(hello)

    def _read_lines(self) -> list[bytes]:
        *lines, self._received = (self._received + self.link.receive()).split(b"\n")
        if len(self._received) > _MAX_ANSWER_BYTES:
            raise NoServerError("it sends a line without an end")
        return lines

    def _process_answer(self, line: bytes, now: float) -> None:
        answer = _parse(line)
        if "error" in answer:
            if type(number := answer.get("n")) is int and number > self._spool.acked:
                self._spool.discard(number)  # or all behind it would wait for ever
            raise _rejection(answer)
        if "ping" in answer:
            self.link.send(messages.PONG)
            return
        number = answer.get("last", answer.get("ack"))
        if type(number) is not int or number < 0 or ("last" not in answer and not self.established):
            raise NoServerError(f"it answers {printable(repr(line[:100]))}")
        if not self.established:
            self._resume_after(number)
        elif number > self._last_sent:
            raise NoServerError(f"it acknowledges sample {number}, which it was not sent")
        elif "ack" in answer:
            self.delivered = True
        self._spool.acknowledge(number)
        self._set_deadline(now)

    def _resume_after(self, last: int) -> None:
        """Go on behind what the server has of this run."""
        if last > self._spool.sent:  # another agent goes on with a copy of this run
            self._spool.acknowledge(self._spool.sent)
            self._spool.start_new_run()
            raise ConnectionError(f"the server has sample {last} of this run, never sent from here: a new run begins")
        self._last_sent = max(last, self._spool.acked)
        self.established = True

    def _send(self, now: float) -> None:
        if not self.established:
            return
        idle = self._last_sent <= self._spool.acked
        while not self.link.pending_bytes:
            limit = min(_BATCH_SAMPLES, self._spool.acked + MAX_IN_FLIGHT - self._last_sent)
            samples = self._spool.after(self._last_sent, limit) if limit > 0 else []
            if not samples:
                break
            # Numbers that are left out: dropped while they waited, or with an agent that was killed.
            self._spool.lost += samples[-1][0] - self._last_sent - len(samples)
            self.link.send(b"".join(sample.native(number, age) for number, age, sample in samples))
            self._last_sent = samples[-1][0]
            self._spool.sent = max(self._spool.sent, self._last_sent)
        if idle:
            self._set_deadline(now)

    def _set_deadline(self, now: float) -> None:
        """Set the time of the next answer: never, where none is owed."""
        owed = self._last_sent > self._spool.acked
        self.deadline = now + max(ANSWER_TIMEOUT_S, 3 * self._interval) if owed else math.inf


class LegacyDelivery:
    """Each sample as the original's text, once, and no answer; what cannot be sent at once is not sent."""

    def __init__(self, link: Link, now: float) -> None:
        self.link = link
        self.established = self.delivered = False
        self.deadline = now + ANSWER_TIMEOUT_S

    def step(self, now: float, sample: Sample | None = None) -> None:
        """Do what can be done now. Raises OSError where the connection is over."""
        if self.link.connected():
            self.established, self.deadline = True, math.inf
            self.link.receive()  # nothing is expected but the end
            if sample and not self.link.pending_bytes:
                self.link.send(sample.legacy().encode())
                self.delivered = True
            else:
                self.link.send()
        elif now >= self.deadline:
            raise TimeoutError("the server does not answer")


def _rejection(answer: dict[str, Any]) -> ConnectionRejected:
    reason = printable(str(answer["error"])[:500])
    if answer.get("code") == messages.NAME_TAKEN_CODE:
        return NameConflict(f"at {printable(str(answer.get('holder'))[:100])}")
    if answer["error"] == messages.REPLACED:
        return NameConflict("which has just connected")
    return ConnectionRejected(reason)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or answer.get("frota") != messages.VERSION:
        raise NoServerError(f"it answers {printable(repr(line[:100]))}")
    return answer
