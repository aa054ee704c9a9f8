"""One connection to the server: detect its protocol, then deliver the spool in order.

The native protocol numbers the readings, so that none is stored twice. The legacy protocol (setting: original) sends
one reading without a newline and waits for its answer. With auto, the first reading ends with a newline, and its answer
tells which protocol the server speaks.
"""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from frota.core import trace
from frota.core.errors import ConnectionRejected
from frota.logs import log
from frota.net.addresses import endpoint
from frota.sensors.client.spool import Spool
from frota.sensors.messages import ANSWER, ERROR, MALFORMED, MAX_LINE_BYTES, MAX_NUMBER
from frota.sensors.settings import ClientSettings

_MAX_IN_FLIGHT = 500  # readings that are sent and not answered yet
_GRACE_S = 0.5
_NATIVE = b"frota "  # begins lines that end with a newline
_NUMBERED = re.compile(rb"frota numbered ([0-9]{1,%d})\n" % len(str(MAX_NUMBER)))


class Delivery:
    """Delivers over one connection.

    `spool_changed` is set whenever a reading was added; `delivered` is called after each delivery. The network may
    split an answer: `grace_s` is how long its rest may take, in seconds.
    """

    def __init__(
        self,
        config: ClientSettings,
        spool: Spool,
        spool_changed: asyncio.Event,
        delivered: Callable[[], None],
        grace_s: float = _GRACE_S,
    ) -> None:
        self._config, self._spool, self._changed, self._delivered = config, spool, spool_changed, delivered
        self._grace_s = grace_s
        self.connected = False

    async def run(self) -> None:
        """Connect and deliver until the connection ends. Raises OSError (ConnectionRejected is one) or TimeoutError."""
        async with asyncio.timeout(self._config.response_timeout):
            self._reader, self._writer = await asyncio.open_connection(self._config.host, self._config.port)
        self.connected = True
        try:
            log.record(
                "INFO", "connected", "Conectado ao servidor.", PEER=endpoint(self._config.host, self._config.port)
            )
            if self._config.protocol == "native" or (await self._detect() == "native"):
                await self._deliver_native()
            else:
                await self._deliver_legacy()
        finally:
            self.connected = False
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _detect(self) -> str:
        """Return the server's protocol, detected with the first reading unless it is known."""
        if self._config.protocol == "original":
            return "original"
        if self._spool.get("protocol") != "native":
            number, text = (await self._next(0, 1))[0]
            native = await self._exchange(number, f"{text}\n")
            self._spool.set("protocol", "native" if native else "original")
        return self._spool.get("protocol")

    async def _deliver_legacy(self) -> None:
        while True:
            number, text = (await self._next(0, 1))[0]
            await self._exchange(number, text)

    async def _exchange(self, number: int, message: str) -> bool:
        """Send one reading and wait for its answer; tell whether the answer ended with a newline."""
        sent_at = time.perf_counter()
        self._send(number, message)
        answer = await self._answer()
        if answer == ANSWER and message.endswith("\n"):
            with suppress(TimeoutError):
                async with asyncio.timeout(self._grace_s):
                    answer += await self._reader.read(1)
        self._process_answer(number, answer, sent_at)
        return answer.endswith(b"\n")

    async def _deliver_native(self) -> None:
        """Identify this client, learn the server's last number, then send while answers arrive."""
        self._write(f"frota hello {self._spool.client}\n")
        answer = await self._answer()
        numbered = _NUMBERED.fullmatch(answer)
        if numbered is None:
            if not answer.startswith(ERROR.encode()):  # a native server that rejects is native all the same
                self._spool.set("protocol", "")
            raise ConnectionRejected(_as_text(answer))
        last = int(numbered[1])
        if self._spool.acknowledge(last):  # the server has them; its answers were lost
            self._delivered()
        self._spool.continue_after(last)
        sent: asyncio.Queue[tuple[int, float]] = asyncio.Queue(_MAX_IN_FLIGHT)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_spool(last, sent))
            group.create_task(self._receive_answers(sent))

    async def _send_spool(self, last: int, sent: asyncio.Queue[tuple[int, float]]) -> None:
        while True:
            for number, text in await self._next(last, _MAX_IN_FLIGHT):
                if number != last + 1:  # the full spool has dropped the ones before
                    self._write(f"frota skip {number}\n")
                await sent.put((number, time.perf_counter()))
                self._send(number, f"{text}\n")
                last = number
            await self._writer.drain()

    async def _receive_answers(self, sent: asyncio.Queue[tuple[int, float]]) -> None:
        while True:
            number, sent_at = await sent.get()
            async with asyncio.timeout(self._config.response_timeout):
                line = await self._reader.readline()
            self._process_answer(number, line, sent_at)

    async def _answer(self) -> bytes:
        """Read one answer: a line, the legacy answer without a newline, or other text and then `grace_s` of silence.

        Raises ConnectionRejected at the end of the connection and for an oversized answer, TimeoutError for an
        incomplete one.
        """
        answer, clock = b"", asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self._config.response_timeout) as timeout:
                end = timeout.when() or 0.0
                while answer != ANSWER and b"\n" not in answer:
                    if not _is_incomplete(answer):
                        timeout.reschedule(min(end, clock() + self._grace_s))
                    chunk = await self._reader.read(1024)
                    answer += chunk
                    if not chunk or len(answer) > MAX_LINE_BYTES:
                        raise ConnectionRejected(_as_text(answer))
        except TimeoutError:
            if _is_incomplete(answer):
                raise
        return answer

    async def _next(self, number: int, limit: int) -> list[tuple[int, str]]:
        """Wait for readings after `number`, `limit` at most. Raises ConnectionRejected at the end of the connection."""
        while True:
            self._changed.clear()
            readings = self._spool.after(number, limit)
            if self._reader.at_eof():
                raise ConnectionRejected(_as_text(b""))
            if readings:
                return readings
            await self._changed.wait()

    def _write(self, message: str) -> None:
        if self._writer.is_closing():
            raise ConnectionRejected(_as_text(b""))
        self._writer.write(message.encode())

    def _send(self, number: int, message: str) -> None:
        self._write(message)
        self._record("INFO", "reading_sent", f"Enviado: {message.strip()}", number)

    def _process_answer(self, number: int, answer: bytes, sent_at: float) -> None:
        """Delete a reading that the server has stored or rejected for good. Raises ConnectionRejected: retry later."""
        text = _as_text(answer)
        milliseconds = f"{(time.perf_counter() - sent_at) * 1e3:.3f}"
        self._record("INFO", "response", f"Resposta: {text}", number, DURATION_MS=milliseconds)
        if text.startswith(f"{ERROR}{MALFORMED}"):
            self._record("ERROR", "reading_rejected", f"reading {number} was rejected for good and is deleted", number)
        elif answer.rstrip() != ANSWER:
            raise ConnectionRejected(text)
        self._spool.acknowledge(number)
        self._delivered()

    def _record(self, level: str, event: str, text: str, number: int, **fields: Any) -> None:
        trace_id = trace.derive(self._spool.client, number)
        log.record(level, event, text, SENSOR=self._config.sensor, NUMBER=number, TRACE_ID=trace_id, **fields)


def _is_incomplete(answer: bytes) -> bool:
    """Tell whether bytes are the beginning of an answer to a reading, or of a native line."""
    return ANSWER.startswith(answer) or answer.startswith(_NATIVE) or _NATIVE.startswith(answer)


def _as_text(answer: bytes) -> str:
    return log.printable(answer.decode(errors="replace").strip()[:200]) or "o servidor encerrou a conexão"
