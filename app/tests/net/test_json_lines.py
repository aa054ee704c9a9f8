"""The client of servers that respond with JSON lines."""

import itertools

import pytest

from frota.core.errors import ServerUnavailable, WrongServer
from frota.net.json_lines import JsonLinesClient, Limits
from support.viewer import fake_metrics_server

PLAIN = (b"end", b"error: ")


def received(answer: bytes, count: int, hangs_up: bool = False, limits: Limits = Limits()) -> list[bytes]:  # noqa: B008 -- immutable
    """Return the first lines of a response; stops at `count`, since the fake server leaves the connection open."""
    with (
        fake_metrics_server(answer) as server,
        JsonLinesClient(("127.0.0.1", server.port), "test server", limits, PLAIN) as client,
    ):
        server.closes_after_response = hangs_up
        return list(itertools.islice(client.lines(b"{}\n"), count))


def test_lines_of_both_kinds() -> None:
    """JSON lines and the plain lines of this protocol are yielded, without their newlines."""
    assert received(b'{"a": 1}\n{}\nend\n', 3) == [b'{"a": 1}', b"{}", b"end"]


def test_plain_line_without_newline() -> None:
    """A plain line that the end of the connection completes is yielded: servers reject connections so."""
    assert received(b"{}\nerror: server is full", 2, hangs_up=True) == [b"{}", b"error: server is full"]


def test_end_of_connection() -> None:
    """A connection that ends within a JSON line is a ServerUnavailable, also after complete lines."""
    with pytest.raises(ServerUnavailable, match="the server closed the connection"):
        received(b'{}\n{"a"', 2, hangs_up=True)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400", b"ended\n"[1:], b"{}\n[1]\n", b"{}\nerroneous"])
def test_wrong_server(answer: bytes) -> None:
    """The first bytes that cannot become a line of this protocol are a WrongServer, although no line has ended."""
    with pytest.raises(WrongServer, match="is no test server: it answers "):
        received(answer, 3)


def test_max_line_bytes() -> None:
    """A line longer than the limit is a WrongServer before it has ended."""
    with pytest.raises(WrongServer):
        received(b'{"a": "' + b"x" * 2_000, 1, limits=Limits(max_line_bytes=1_000))
