"""One connection to the server: the native or the legacy protocol, without blocking.

Its owner waits for `link` until `deadline` (seconds of the monotonic clock) and calls `step`. `established`: the server
has answered the hello; of the legacy protocol: the connection stands. `delivered`: a sample was acknowledged; of the
legacy protocol: sent.
"""

import json
import math
from typing import Any

from frota.core.errors import ConnectionRejected, WrongServer
from frota.cpu import messages
from frota.cpu.agent.spool import Spool
from frota.cpu.agent.tcp_link import Link
from frota.cpu.messages import Sample
from frota.logs.log import printable

ANSWER_TIMEOUT_S = 15.0  # for the connection with the hello's answer, and for an acknowledgement
MAX_IN_FLIGHT = 500  # samples that are sent and not acknowledged yet
_BATCH_SAMPLES = 50  # samples in one write
_MAX_ANSWER_BYTES = 4096


class NameConflict(ConnectionRejected):
    """The server serves another agent with this agent's name: says where it is."""


class SampleRejected(ConnectionRejected):
    """The server rejects a sample for good: `number` is its sequence number."""

    def __init__(self, reason: str, number: int) -> None:
        super().__init__(reason)
        self.number = number


class NativeDelivery:
    """Sends the samples of the spool with their sequence numbers; the spool keeps them until they are acknowledged.

    `interval` is the agent's, in seconds.
    """

    def __init__(self, link: Link, spool: Spool, hello: bytes, interval: float, now: float) -> None:
        self.link, self._spool, self._hello, self._interval = link, spool, hello, interval
        self._hello_sent = False
        self._last_sent = 0  # sequence number
        self._received = b""
        self.established = self.delivered = False
        self.deadline = now + ANSWER_TIMEOUT_S

    def step(self, now: float, _sample: Sample | None = None) -> None:
        """Send and receive what is possible now.

        When the connection has ended, or must: raises OSError: among others WrongServer, ConnectionRejected.
        """
        if self.link.connected():
            if not self._hello_sent:
                self._hello_sent = True
                self.link.send(self._hello)
            for line in self._read_lines():
                self._process_answer(line, now)
            self.link.send()
            self._send_samples(now)
        if now >= self.deadline:
            raise TimeoutError("no answer from the server")

    def reconfigure(self, hello: bytes, interval: float) -> None:
        """Announce a new interval, in seconds, by another hello. Raises OSError."""
        self._hello, self._interval = hello, interval
        if self._hello_sent:
            self.link.send(hello)

    def _read_lines(self) -> list[bytes]:
        *lines, self._received = (self._received + self.link.receive()).split(b"\n")
        if len(self._received) > _MAX_ANSWER_BYTES:
            raise WrongServer(f"it sent a line of more than {_MAX_ANSWER_BYTES} bytes")
        return lines

    def _process_answer(self, line: bytes, now: float) -> None:
        answer = _parse(line)
        if "error" in answer:
            if type(number := answer.get("n")) is int and number > self._spool.acked:
                self._spool.discard(number)  # sent again, it would be rejected again, and block those after it
                raise SampleRejected(_reason(answer), number)
            raise _rejection(answer)
        if "ping" in answer:
            self.link.send(messages.PONG)
            return
        number = answer.get("last", answer.get("ack"))
        if type(number) is not int or number < 0 or ("last" not in answer and not self.established):
            raise _wrong_server(line)
        if not self.established:
            self._resume_after(number)
        elif number > self._last_sent:
            raise WrongServer(f"it acknowledged sample {number}, which this agent has not sent")
        elif "ack" in answer:
            self.delivered = True
        self._spool.acknowledge(number)
        self._set_deadline(now)

    def _resume_after(self, last: int) -> None:
        """Send the samples after `last`, the highest number of this run that the server has."""
        if last > self._spool.sent:  # the state folder is a copy, and another agent has used the run
            self._spool.acknowledge(self._spool.sent)
            self._spool.start_new_run()
            raise ConnectionError(
                f"the server has sample {last} of this run, not sent by this agent; starting a new run"
            )
        self._last_sent = max(last, self._spool.acked)
        self.established = True

    def _send_samples(self, now: float) -> None:
        if not self.established:
            return
        idle = self._last_sent <= self._spool.acked
        while not self.link.pending_bytes:
            limit = min(_BATCH_SAMPLES, self._spool.acked + MAX_IN_FLIGHT - self._last_sent)
            samples = self._spool.after(self._last_sent, limit) if limit > 0 else []
            if not samples:
                break
            # A gap: samples that the full spool dropped, or that were lost with an agent that was killed.
            self._spool.lost += samples[-1][0] - self._last_sent - len(samples)
            self.link.send(b"".join(sample.native(number, age) for number, age, sample in samples))
            self._last_sent = samples[-1][0]
            self._spool.sent = max(self._spool.sent, self._last_sent)
        if idle:
            self._set_deadline(now)

    def _set_deadline(self, now: float) -> None:
        """Expect the next answer, if samples are in flight."""
        in_flight = self._last_sent > self._spool.acked
        self.deadline = now + max(ANSWER_TIMEOUT_S, 3 * self._interval) if in_flight else math.inf


class LegacyDelivery:
    """Sends each sample once as the legacy text, which has no answer; drops one that the socket does not take now."""

    def __init__(self, link: Link, now: float) -> None:
        self.link = link
        self.established = self.delivered = False
        self.deadline = now + ANSWER_TIMEOUT_S

    def step(self, now: float, sample: Sample | None = None) -> None:
        """Send and receive what is possible now. Raises OSError when the connection has ended."""
        if self.link.connected():
            self.established, self.deadline = True, math.inf
            self.link.receive()  # notices the end of the connection; a legacy server sends nothing
            if sample and not self.link.pending_bytes:
                self.link.send(sample.legacy().encode())
                self.delivered = True
            else:
                self.link.send()
        elif now >= self.deadline:
            raise TimeoutError("no answer from the server")


def _rejection(answer: dict[str, Any]) -> ConnectionRejected:
    if answer.get("code") == messages.NAME_TAKEN_CODE:
        return NameConflict(f"at {printable(str(answer.get('holder'))[:100])}")
    if answer["error"] == messages.REPLACED:
        return NameConflict("which has just connected")
    return ConnectionRejected(_reason(answer))


def _reason(answer: dict[str, Any]) -> str:
    return printable(str(answer["error"])[:500])


def _parse(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or answer.get("frota") != messages.VERSION:
        raise _wrong_server(line)
    return answer


def _wrong_server(line: bytes) -> WrongServer:
    return WrongServer(f"it sent {printable(repr(line[:100]))}")
