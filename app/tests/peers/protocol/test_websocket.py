"""WebSockets without sockets: messages in fragments, and frames that are none."""

import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from frota.peers.protocol.websocket import WebSocket, server_side


class Client:
    """The other side: bytes of frames."""

    def __init__(self, server: WebSocket) -> None:
        self.protocol = ClientProtocol(parse_uri("ws://127.0.0.1:1/"))
        self.protocol.send_request(self.protocol.connect())
        assert server.receive(self.sent()) == []
        self.protocol.receive_data(server.outgoing())

    def sent(self) -> bytes:
        return b"".join(self.protocol.data_to_send())


@pytest.fixture
def server() -> WebSocket:
    return server_side(1000)


def test_fragments_become_a_message(server: WebSocket) -> None:
    """A message in fragments is one, whatever comes in between; the next one is another."""
    client = Client(server)
    client.protocol.send_text(b'{"a"', fin=False)
    client.protocol.send_ping(b"")
    client.protocol.send_continuation(b"", fin=False)
    client.protocol.send_continuation(b": 1}", fin=True)
    client.protocol.send_text(b"{}")
    assert server.receive(client.sent()) == [b'{"a": 1}', b"{}"]
    assert (server.other_frames, server.buffered_bytes) == (3, 0)


def test_empty_fragments_take_no_memory(server: WebSocket) -> None:
    """Frames without content count as frames, but are not kept."""
    client = Client(server)
    client.protocol.send_text(b"", fin=False)
    for _ in range(1000):
        client.protocol.send_continuation(b"", fin=False)
    assert server.receive(client.sent()) == []
    assert (server.other_frames, server.buffered_bytes) == (1001, 0)


def test_incomplete_messages_are_buffered_bytes(server: WebSocket) -> None:
    """What is incomplete counts as buffered, in fragments as in a frame; `stop` frees it."""
    client = Client(server)
    client.protocol.send_text(b"x" * 100, fin=False)
    server.receive(client.sent())
    assert server.buffered_bytes == 100
    client.protocol.send_continuation(b"x" * 100, fin=True)
    server.receive(client.sent()[:-1])
    assert 195 <= server.buffered_bytes <= 210
    server.stop()
    assert server.buffered_bytes == 0
