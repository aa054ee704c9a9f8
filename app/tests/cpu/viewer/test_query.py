"""The client of a metrics server, and untrusted responses."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.core.errors import ServerUnavailable, WrongServer
from frota.cpu.viewer.host_status import SORTS, Host, disk_share, memory_share, number, ordered, percent
from frota.cpu.viewer.query import Client
from frota.net.json_lines import Limits
from support import reserved_port
from support.viewer import END, fake_metrics_server, host, lines

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
FIELDS = list(host("a"))
SAMPLE = list(host("a")["sample"])


def malformed_hosts() -> st.SearchStrategy[dict[str, Any]]:
    """Return hosts any of whose fields may be any JSON."""
    sample = st.dictionaries(st.sampled_from(SAMPLE), JSON | st.just([1, 2, 3]) | st.just({"total": 0, "used": "1"}))
    changes = st.dictionaries(st.sampled_from(FIELDS), JSON) | st.builds(lambda fields: {"sample": fields}, sample)
    return st.builds(lambda fields: host("web") | fields, changes)


def test_one_connection_serves_many_requests() -> None:
    """All requests of a client use one connection."""
    with fake_metrics_server(lines(host("a"), host("b"))) as server, Client("127.0.0.1", server.port) as client:
        assert [[entry.name for entry in client.hosts()] for _ in range(3)] == [["a", "b"]] * 3
        assert server.connections == 1
        assert server.requests == [{"frota": 1, "ask": "hosts"}] * 3


@pytest.mark.parametrize("reset", [False, True])
def test_reconnects_after_restart(reset: bool) -> None:
    """A request over a connection that was lost meanwhile is sent again over a new one."""
    with fake_metrics_server(lines(host("a"))) as server, Client("127.0.0.1", server.port) as client:
        client.hosts()
        server.stop(reset=reset)
        server.start()
        assert [entry.name for entry in client.hosts()] == ["a"]


def test_refused_connection() -> None:
    """A refused connection is a ServerUnavailable with the address and the reason."""
    with (
        reserved_port() as port,
        pytest.raises(ServerUnavailable, match=f"no metrics server at 127.0.0.1:{port}: Connection"),
    ):
        Client("127.0.0.1", port).hosts()


def test_invalid_host_name() -> None:
    """A name that no host can have is a ServerUnavailable."""
    with pytest.raises(ServerUnavailable, match="no metrics server at "):
        Client("a" * 100 + ".", 1).hosts()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x1b[2J\x1b]0;owned\x07\n",
        b"[1, 2]\n",
        b"{]\n",
        b'{"host": NaN}\n',
        b"\xff\xfe\n",
        b'{"a": ' + b"[" * 200_000 + b"\n",
        b"\n",
        b'{"status": "error"}\n',
    ],
    ids=["http", "ssh", "escapes", "a list", "no JSON", "NaN", "no UTF-8", "deep", "nothing", "other JSON"],
)
def test_wrong_server_is_named(answer: bytes) -> None:
    """A server of another kind is a WrongServer with its first bytes, short and printable."""
    with fake_metrics_server(answer) as server, pytest.raises(WrongServer) as raised:
        Client("127.0.0.1", server.port).hosts()
    assert str(raised.value).startswith(f"127.0.0.1:{server.port} is no metrics server: it answers ")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("answer", [b"", lines(host("a"))[:20], lines(host("a"))[: -len(END)]])
def test_incomplete_response(answer: bytes) -> None:
    """A connection that is closed before the end of the response is a ServerUnavailable."""
    with fake_metrics_server(answer) as server:
        server.closes_after_response = True
        with pytest.raises(ServerUnavailable, match=f"127.0.0.1:{server.port}: the server closed the connection"):
            Client("127.0.0.1", server.port).hosts()


def test_line_limit() -> None:
    """A line longer than the limit is a WrongServer."""
    limits = Limits(max_line_bytes=100_000)
    with (
        fake_metrics_server(b'{"host": "' + b"x" * 1_000_000) as server,
        pytest.raises(WrongServer, match="is no metrics server"),
    ):
        Client("127.0.0.1", server.port, limits).hosts()


def test_response_limit() -> None:
    """A response longer than the limit is a WrongServer."""
    with (
        fake_metrics_server(lines(host("a"), host("b"))) as server,
        pytest.raises(WrongServer, match="longer than 1000 bytes"),
    ):
        Client("127.0.0.1", server.port, max_hosts_bytes=1_000).hosts()


def test_response_timeout() -> None:
    """A response that does not end in time is a ServerUnavailable."""
    data = lines(host("a"))[: -len(END)]
    with fake_metrics_server(data) as server, pytest.raises(ServerUnavailable, match="no end of the response"):
        Client("127.0.0.1", server.port, hosts_timeout_s=-1.0).hosts()


def test_idle_timeout() -> None:
    """A server that sends nothing in time is a ServerUnavailable."""
    limits = Limits(idle_timeout_s=0.05)
    with fake_metrics_server(b"") as server, pytest.raises(ServerUnavailable, match="no response in time"):
        Client("127.0.0.1", server.port, limits).hosts()


def test_server_error_is_printable() -> None:
    """An error from the server is reported without its control characters."""
    answer = json.dumps({"frota": 1, "error": "host \x1b[2J desconhecido: ção"}).encode() + b"\n"
    with fake_metrics_server(answer) as server, pytest.raises(ServerUnavailable) as raised:
        Client("127.0.0.1", server.port).hosts()
    assert str(raised.value) == f"127.0.0.1:{server.port}: host \\x1b[2J desconhecido: ção"


def test_no_rest_of_a_malformed_response() -> None:
    """The rest of a malformed response is not read as the next response."""
    responses = [lines(host("old"))[: -len(END)] + b"[]\n" + lines(host("old")), lines(host("new"))]
    with fake_metrics_server(lambda _: responses.pop(0)) as server, Client("127.0.0.1", server.port) as client:
        with pytest.raises(WrongServer):
            client.hosts()
        assert [entry.name for entry in client.hosts()] == ["new"]
        assert server.connections == 2


def test_numbers_are_validated() -> None:
    """Only finite numbers are numbers; they are limited to their range."""
    assert [number(value) for value in (1, 2.5, -3, 1e300, 10**300)] == [1, 2.5, 0, 1e18, 1e18]
    assert [number(value) for value in (True, "1", None, [1], math.nan, math.inf)] == [None] * 6
    assert [percent(value) for value in (-1, 50, 100.1, "50")] == [0, 50, 100, None]


@given(st.one_of(malformed_hosts(), st.dictionaries(st.sampled_from(FIELDS), JSON)))
def test_any_host_can_be_read(fields: dict[str, Any]) -> None:
    """Whatever fields a server sends, every property is valid or None, and every text printable ASCII."""
    parsed = Host(fields, b"")
    assert parsed.name.isascii()
    assert parsed.name.isprintable()
    assert parsed.state in ("connected", "stale", "away", "?")
    shares = [parsed.mean, *parsed.cores, *parsed.means, memory_share(parsed.memory), disk_share(parsed.disk)]
    assert all(share is None or 0 <= share <= 100 for share in shares)
    assert all(
        text.isascii() and text.isprintable()
        for text in [*parsed.over_threshold, *parsed.name_conflicts, parsed.text("peer")]
    )
    for part in (parsed.load, parsed.network, parsed.own):
        assert part is None or all(0 <= value <= 1e18 for value in part)
    for key in SORTS:
        for reverse in (False, True):
            assert len(ordered([parsed, Host(host("b"), b""), Host({}, b"")], key, reverse=reverse)) == 3


def test_sort_order() -> None:
    """Names sort by their numbers, values from the highest; hosts without a value are last."""
    some = [host("web-10", 1), host("web-2", 3), host("Web-1", 2), host("none", sample=None)]
    hosts = [Host(fields, b"") for fields in some]
    names = [entry.name for entry in ordered(hosts, "name", reverse=False)]
    assert names == ["none", "Web-1", "web-2", "web-10"]
    assert [entry.name for entry in ordered(hosts, "name", reverse=True)] == names[::-1]
    assert [entry.name for entry in ordered(hosts, "cpu", reverse=False)] == ["web-2", "Web-1", "web-10", "none"]
    assert [entry.name for entry in ordered(hosts, "cpu", reverse=True)] == ["web-10", "Web-1", "web-2", "none"]


def test_sort_by_state() -> None:
    """By state, hosts that are away come first, then stale ones."""
    hosts = [Host(host(state, state=state), b"") for state in ("connected", "away", "stale")]
    assert [entry.name for entry in ordered(hosts, "state", reverse=False)] == ["away", "stale", "connected"]
