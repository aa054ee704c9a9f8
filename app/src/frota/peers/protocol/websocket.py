"""WebSockets (RFC 6455) of both sides: bytes in, messages out, and back. No I/O; the protocol is that of websockets.

Compression is not offered: messages are small, and it would cost more CPU time than all the rest.
"""

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

HANDSHAKE = b"GET "  # what a WebSocket begins with, and no JSON object
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebSocket:
    """One WebSocket. After each call, send what `outgoing` returns; close the connection if `ended`."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._fragments = bytearray()  # of a message; they may be empty, and any number
        self._fragmented = False
        self.other_frames = 0  # received frames that end no message
        self.ended = False  # this side has sent its last byte

    @property
    def open(self) -> bool:
        """Whether messages may be sent: after the handshake, before the end."""
        return self._protocol.state is OPEN

    @property
    def buffered_bytes(self) -> int:
        """How many bytes of an incomplete message are buffered."""
        return len(self._fragments) + len(self._protocol.reader.buffer)

    def stop(self) -> None:
        """Free the buffers."""
        self._fragments.clear()
        self._protocol.reader.buffer.clear()

    def receive(self, data: bytes) -> list[bytes]:
        """Process bytes; return the messages that are complete now. Raises InvalidHandshake at a client."""
        if self.ended:
            return []
        self._protocol.receive_data(data)
        messages: list[bytes] = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._receive_frame(event, messages)
            else:
                self._shake_hands(event)
        if isinstance(self._protocol.handshake_exc, InvalidHandshake) and isinstance(self._protocol, ClientProtocol):
            raise self._protocol.handshake_exc
        return messages

    def send(self, message: bytes) -> None:
        """Send a message as text; nothing once the connection is closing."""
        if self._protocol.state is OPEN:
            self._protocol.send_text(message)

    def close(self, reason: str = "", code: CloseCode = CloseCode.NORMAL_CLOSURE) -> None:
        """Begin to close the connection."""
        try:
            self._protocol.send_close(code, reason.encode()[:120].decode(errors="ignore"))
        except InvalidState:
            self._protocol.fail(CloseCode.ABNORMAL_CLOSURE)  # no handshake yet

    def outgoing(self) -> bytes:
        """Return what is to be sent."""
        writes = self._protocol.data_to_send()
        if writes and writes[-1] == b"":
            self.ended = True
        return writes[0] if len(writes) == 1 else b"".join(writes)

    def _receive_frame(self, frame: Frame, messages: list[bytes]) -> None:
        if frame.opcode not in _DATA:
            self.other_frames += 1
            return
        if frame.fin and not self._fragmented:
            messages.append(bytes(frame.data))
            return
        self._fragments += frame.data
        self._fragmented = not frame.fin
        if frame.fin:
            messages.append(bytes(self._fragments))
            self._fragments.clear()
        else:
            self.other_frames += 1

    def _shake_hands(self, event: Request | Response) -> None:
        if isinstance(self._protocol, ServerProtocol) and isinstance(event, Request):
            self._protocol.send_response(self._protocol.accept(event))


def server_side(max_bytes: int) -> WebSocket:
    """Return a server's side. A request with an Origin is refused: no page in a browser is to be a worker."""
    return WebSocket(ServerProtocol(origins=[None], max_size=max_bytes))


def client_side(host: str, port: int, max_bytes: int) -> WebSocket:
    """Return a client's side, whose handshake is in `outgoing`."""
    where = f"[{host}]" if ":" in host else host
    protocol = ClientProtocol(parse_uri(f"ws://{where}:{port}/"), max_size=max_bytes)
    protocol.send_request(protocol.connect())
    return WebSocket(protocol)
