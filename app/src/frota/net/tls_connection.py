"""Connections of `TcpServer` over TLS. The handshake counts as a connection, and has its time: that of a first message.

TLS is between the socket and the handler, in this process: `asyncio` would call the server only after the handshake,
so that connections that never finish it would be without a limit.
"""

import ssl

from frota.net.exposition import CounterBy
from frota.net.tcp_server import Admission, CoarseClock, State, TcpConnection
from frota.net.tls import ServerTls

_HANDSHAKE_RECORD = b"\x16"  # what every TLS connection begins with, and no text does
_WRITABLE = (State.OPEN, State.HALF_CLOSED)
_FAILURES = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("no_certificate", "the client has no certificate"),
    "CERTIFICATE_VERIFY_FAILED": ("untrusted", "the client's certificate is not to be trusted"),
    "UNSUPPORTED_PROTOCOL": ("version", "the client does not speak TLS 1.3"),
}


class TlsListener:
    """Makes the connections of a listening socket: pass it to `TcpServer.listen`.

    `context` may be replaced, for the connections from then on. `clear_text_answer` is sent to a client that does not
    speak TLS.
    """

    def __init__(self, context: ssl.SSLContext, clear_text_answer: bytes = b"") -> None:
        self.context, self.clear_text_answer = context, clear_text_answer
        self.failures = CounterBy()  # handshakes that failed, by the reason

    def __call__(self, admission: Admission, clock: CoarseClock) -> TcpConnection:
        """Return the protocol of a new connection."""
        return TlsConnection(admission, clock, self)


class TlsConnection(TcpConnection):
    """A connection whose handler sees what is inside TLS."""

    __slots__ = ("_begun", "_listener", "_tls")

    def __init__(self, admission: Admission, clock: CoarseClock, listener: TlsListener) -> None:
        super().__init__(admission, clock)
        self._listener = listener
        self._tls = ServerTls(listener.context)
        self._begun = False

    @property
    def common_name(self) -> str:
        """The common name of the peer's certificate."""
        return self._tls.common_name

    def write(self, data: bytes) -> None:
        """Send, unless our side has ended; nothing before the end of the handshake."""
        if self._tls.established and self.state in _WRITABLE:
            self._tls.send(data)
            super().write(self._tls.outgoing())

    def finish(self) -> None:
        """End our side, in TLS and in TCP."""
        self._end_tls()
        super().finish()

    def close(self) -> None:
        """Send what is written, then close."""
        self._end_tls()
        super().close()

    def data_received(self, data: bytes) -> None:
        """Hand what the input carries to the handler; discard it while the connection ends."""
        if self.state is not State.OPEN:
            return
        if not self._begun:
            self._begun = True
            if data[:1] != _HANDSHAKE_RECORD:
                self._refuse_clear_text()
                return
        try:
            text = self._tls.receive(data)
        except ssl.SSLError as error:
            self._fail(error)
            return
        if answer := self._tls.outgoing():
            super().write(answer)
        if text:
            super().data_received(text)
        if self._tls.ended and not self.reading_paused:  # else the end of the TCP connection is read later
            self.eof_received()

    def _end_tls(self) -> None:
        if self.state in _WRITABLE:
            self._tls.close()
            super().write(self._tls.outgoing())

    def _refuse_clear_text(self) -> None:
        super().write(self._listener.clear_text_answer)
        self._end("clear_text", "the client does not speak TLS")

    def _fail(self, error: ssl.SSLError) -> None:
        if self._tls.established:
            self.abort(f"TLS failed: {error.reason}")
            return
        super().write(self._tls.outgoing())  # the alert, which tells the client why
        kind, text = _FAILURES.get(error.reason or "", ("other", str(error.reason)))
        detail = getattr(error, "verify_message", "")
        self._end(kind, f"{text}: {detail}" if detail else text)

    def _end(self, kind: str, reason: str) -> None:
        self._listener.failures.count(kind)
        self._admission.observer.aborted(self, f"the TLS handshake failed: {reason}")
        super().finish()
