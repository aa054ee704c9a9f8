"""One connection to the server, in the native dialect or in the original's; neither ever waits."""

import json
import math
from typing import Any

from frota.cpu_metrics import messages
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.agent.tcp_link import Link
from frota.cpu_metrics.messages import Sample
from frota.logs.log import printable

ANSWER_SECONDS = 15.0  # in which a connection is made, and a hello answered
WINDOW = 500  # samples on their way
_AT_ONCE = 50  # samples handed over together
_LONGEST_ANSWER = 4096


class RefusedError(Exception):
    """The server says what it does not like."""


class NameTakenError(RefusedError):
    """Another agent has the name: says at which address."""


class NoServerError(Exception):
    """What answers is no server of ours."""


class Native:
    """Numbered samples, kept until they are acknowledged. `greeted`: the server has said what it has already.

    `proven`: it has acknowledged something since. `deadline`: when it must have answered, on the monotonic clock.
    """

    def __init__(self, link: Link, spool: Spool, hello: bytes, interval: float, now: float) -> None:
        self.link, self._spool, self._hello, self._interval = link, spool, hello, interval
        self._sent: int | None = None  # None before there was a connection to send anything on
        self._received = b""
        self.greeted = self.proven = False
        self.deadline = now + ANSWER_SECONDS

    def step(self, now: float, _sample: Sample | None = None) -> None:
        """Do what can be done now. Raises OSError, RefusedError or NoServerError where the connection is over."""
        if self.link.connected():
            if self._sent is None:
                self._sent = 0
                self.link.send(self._hello)
            for line in self._lines():
                self._answered(line, now)
            self.link.send()
            self._send(now)
        if now >= self.deadline:
            raise TimeoutError("the server does not answer")

    def changed(self, hello: bytes, interval: float) -> None:
        """Say hello again, with another interval."""
        self._hello, self._interval = hello, interval
        if self._sent is not None:
            self.link.send(hello)

    def _lines(self) -> list[bytes]:
        *lines, self._received = (self._received + self.link.receive()).split(b"\n")
        if len(self._received) > _LONGEST_ANSWER:
            raise NoServerError("it sends a line without an end")
        return lines

    def _answered(self, line: bytes, now: float) -> None:
        answer = _read(line)
        if "error" in answer:
            if type(number := answer.get("n")) is int and number > self._spool.acked:
                self._spool.discard(number)  # or all behind it would wait for ever
            raise _refused(answer)
        if "ping" in answer:
            self.link.send(messages.PONG)
            return
        number = answer.get("last", answer.get("ack"))
        if type(number) is not int or number < 0 or ("last" not in answer and not self.greeted):
            raise NoServerError(f"it answers {printable(repr(line[:100]))}")
        if not self.greeted:
            self._begin(number)
        elif number > self._in_flight_to:
            raise NoServerError(f"it acknowledges sample {number}, which it was not sent")
        elif "ack" in answer:
            self.proven = True
        self._spool.acknowledge(number)
        self._expect(now)

    def _begin(self, last: int) -> None:
        """Go on behind what the server has of this run."""
        if last > self._spool.sent:  # another agent goes on with a copy of this run
            self._spool.acknowledge(self._spool.sent)
            self._spool.renew()
            raise ConnectionError(f"the server has sample {last} of this run, never sent from here: a new run begins")
        self._sent = max(last, self._spool.acked)
        self.greeted = True

    def _send(self, now: float) -> None:
        if not self.greeted:
            return
        idle = self._in_flight_to <= self._spool.acked
        while not self.link.busy and (room := min(_AT_ONCE, self._spool.acked + WINDOW - self._in_flight_to)) > 0:
            samples = self._spool.aged(self._in_flight_to, room)
            if not samples:
                break
            # Numbers that are left out: dropped while they waited, or with an agent that was killed.
            self._spool.lost += samples[-1][0] - self._in_flight_to - len(samples)
            self.link.send(b"".join(sample.native(number, age) for number, age, sample in samples))
            self._sent = samples[-1][0]
            self._spool.sent = max(self._spool.sent, self._sent)
        if idle:
            self._expect(now)

    def _expect(self, now: float) -> None:
        """Set the time of the next answer: never, where none is owed."""
        owed = self._in_flight_to > self._spool.acked
        self.deadline = now + max(ANSWER_SECONDS, 3 * self._interval) if owed else math.inf

    @property
    def _in_flight_to(self) -> int:
        return self._sent or 0


class Original:
    """Each sample as the original's text, once, and no answer; what cannot be sent at once is not sent."""

    def __init__(self, link: Link, now: float) -> None:
        self.link = link
        self.greeted = self.proven = False
        self.deadline = now + ANSWER_SECONDS

    def step(self, now: float, sample: Sample | None = None) -> None:
        """Do what can be done now. Raises OSError where the connection is over."""
        if self.link.connected():
            self.greeted, self.deadline = True, math.inf
            self.link.receive()  # nothing is expected but the end
            if sample and not self.link.busy:
                self.link.send(sample.legacy().encode())
                self.proven = True
            else:
                self.link.send()
        elif now >= self.deadline:
            raise TimeoutError("the server does not answer")


def _refused(answer: dict[str, Any]) -> RefusedError:
    reason = printable(str(answer["error"])[:500])
    if answer.get("code") == messages.NAME_TAKEN_CODE:
        return NameTakenError(f"at {printable(str(answer.get('holder'))[:100])}")
    if answer["error"] == messages.REPLACED:
        return NameTakenError("which has just connected")
    return RefusedError(reason)


def _read(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or answer.get("frota") != messages.VERSION:
        raise NoServerError(f"it answers {printable(repr(line[:100]))}")
    return answer
