"""One connection to the server: find out how it speaks, then deliver what waits, in order.

There are three ways. *native* numbers the readings, so that none is stored twice. *original* sends one, without a
newline, and waits. *auto* ends its first reading with a newline, and the answer tells which of the two it is to be.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress

from frota.logs import log
from frota.net.addresses import endpoint
from frota.sensors.client.spool import Spool
from frota.sensors.messages import ANSWER, ERROR, MALFORMED, MAX_LINE_BYTES, MAX_NUMBER
from frota.sensors.settings import ClientSettings

_WINDOW = 500  # readings on their way without an answer
_GRACE_SECONDS = 0.5  # between the parts of an answer, should the network part them
_NATIVE = b"frota "  # begins lines that end with a newline
_NUMBERED = re.compile(rb"frota numbered ([0-9]{1,%d})\n" % len(str(MAX_NUMBER)))


class Refused(ConnectionError):
    """The server does not take readings now; its text says why."""


class Delivery:
    """Delivers over one connection; `spool_changed` is set whenever a reading was added."""

    def __init__(
        self, config: ClientSettings, spool: Spool, spool_changed: asyncio.Event, delivered: Callable[[], None]
    ) -> None:
        self._config, self._spool, self._changed, self._delivered = config, spool, spool_changed, delivered

    async def run(self) -> None:
        """Connect and deliver until the connection ends. Raises OSError (of which Refused is one) or TimeoutError."""
        async with asyncio.timeout(self._config.answer_timeout):
            self._reader, self._writer = await asyncio.open_connection(self._config.host, self._config.port)
        try:
            log.record(
                "INFO", "connected", "Conectado ao servidor.", PEER=endpoint(self._config.host, self._config.port)
            )
            if self._config.protocol == "native" or (await self._learn() == "native"):
                await self._native()
            else:
                await self._original()
        finally:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

    async def _learn(self) -> str:
        """Return how the server speaks, found out by the first reading if need be."""
        if self._config.protocol == "original":
            return "original"
        if self._spool.fact("protocol") != "native":
            number, text = (await self._next(0, 1))[0]
            native = await self._exchange(number, f"{text}\n")
            self._spool.learn("protocol", "native" if native else "original")
        return self._spool.fact("protocol")

    async def _original(self) -> None:
        while True:
            number, text = (await self._next(0, 1))[0]
            await self._exchange(number, text)

    async def _exchange(self, number: int, message: str) -> bool:
        """Send one reading and wait for its answer; tell whether the answer ended with a newline."""
        self._send(number, message)
        answer = await self._answer()
        if answer == ANSWER and message.endswith("\n"):
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_SECONDS):
                    answer += await self._reader.read(1)
        self._take(number, answer)
        return answer.endswith(b"\n")

    async def _native(self) -> None:
        """Say who we are, learn what the server has, then send on while answers come back."""
        self._write(f"frota hello {self._spool.client}\n")
        answer = await self._answer()
        numbered = _NUMBERED.fullmatch(answer)
        if numbered is None:
            if not answer.startswith(ERROR.encode()):  # a server of ours that has no room now is one of ours still
                self._spool.learn("protocol", "")
            raise Refused(_shown(answer))
        last = int(numbered[1])
        if self._spool.delivered(1, last):  # the server has them, only its answers were lost
            self._delivered()
        self._spool.not_before(last)
        sent: asyncio.Queue[int] = asyncio.Queue(_WINDOW)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._send_on(last, sent))
            both.create_task(self._take_answers(sent))

    async def _send_on(self, last: int, sent: asyncio.Queue[int]) -> None:
        while True:
            for number, text in await self._next(last, _WINDOW):
                if number != last + 1:  # the spool was full and has dropped some
                    self._write(f"frota skip {number}\n")
                await sent.put(number)
                self._send(number, f"{text}\n")
                last = number
            await self._writer.drain()

    async def _take_answers(self, sent: asyncio.Queue[int]) -> None:
        while True:
            number = await sent.get()
            async with asyncio.timeout(self._config.answer_timeout):
                line = await self._reader.readline()
            self._take(number, line)

    async def _answer(self) -> bytes:
        """Read one answer: until a newline, or the whole of the one that may come without, or other words and silence.

        Raises Refused at the connection's end and for what is longer than any answer, TimeoutError for half an answer.
        """
        answer, clock = b"", asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self._config.answer_timeout) as patience:
                end = patience.when() or 0.0
                while answer != ANSWER and b"\n" not in answer:
                    if not _is_half(answer):
                        patience.reschedule(min(end, clock() + _GRACE_SECONDS))
                    piece = await self._reader.read(1024)
                    answer += piece
                    if not piece or len(answer) > MAX_LINE_BYTES:
                        raise Refused(_shown(answer))
        except TimeoutError:
            if _is_half(answer):
                raise
        return answer

    async def _next(self, number: int, most: int) -> list[tuple[int, str]]:
        """Wait for readings behind `number`. Raises Refused when there is no connection any more to send them over."""
        while True:
            self._changed.clear()
            waiting = self._spool.after(number, most)
            if self._reader.at_eof():
                raise Refused(_shown(b""))
            if waiting:
                return waiting
            await self._changed.wait()

    def _write(self, message: str) -> None:
        if self._writer.is_closing():
            raise Refused(_shown(b""))
        self._writer.write(message.encode())

    def _send(self, number: int, message: str) -> None:
        self._write(message)
        log.record("INFO", "reading_sent", f"Enviado: {message.strip()}", SENSOR=self._config.sensor, NUMBER=number)

    def _take(self, number: int, answer: bytes) -> None:
        """Forget a reading that is on the server's disk, or that it will never take; otherwise try again later."""
        text = _shown(answer)
        log.record("INFO", "response", f"Resposta: {text}", SENSOR=self._config.sensor, NUMBER=number)
        if text.startswith(f"{ERROR}{MALFORMED}"):
            log.record("ERROR", "reading_rejected", f"reading {number} was rejected, and is dropped", NUMBER=number)
        elif answer.rstrip() != ANSWER:
            raise Refused(text)
        self._spool.delivered(number, number)
        self._delivered()


def _is_half(answer: bytes) -> bool:
    """Tell whether the rest of an answer is still to come: of the one to a reading, or of one of the native mode."""
    return ANSWER.startswith(answer) or answer.startswith(_NATIVE) or _NATIVE.startswith(answer)


def _shown(answer: bytes) -> str:
    return log.printable(answer.decode(errors="replace").strip()[:200]) or "o servidor encerrou a conexão"
