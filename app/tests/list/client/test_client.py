"""The client's retries: whatever fails, a change is made once, or an error says so."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from frota.core.errors import ServerUnavailable
from frota.list.client.client import Client
from frota.list.client_settings import ClientSettings
from support import TIMEOUT_S, reserved_port
from support.fake_list_server import DISCONNECT, fake_list_server, response_to
from support.list_clients import client
from support.zmq_server import list_server


def test_lost_response_is_retried_with_the_same_id() -> None:
    """After a timeout, the request is repeated with its id over a new connection."""
    response_counts = iter([0, 1])
    with (
        fake_list_server(lambda request: [response_to(request)] * next(response_counts)) as server,
        client(server.port) as user,
    ):
        assert user.ask("append", value="a b").text == "Feito."
    (first, request), (second, retried) = server.received
    assert json.loads(request) == json.loads(retried)
    assert first != second


def test_requests_are_numbered() -> None:
    """Requests have consecutive numbers and only the fields of their operation."""
    with fake_list_server(lambda request: [response_to(request)]) as server, client(server.port, list="other") as user:
        user.ask("append", value="a b")
        user.ask("clear")
    first, second = (json.loads(request) for _, request in server.received)
    name, number = first.pop("id").split(":")
    assert re.fullmatch("[0-9a-f]{32}", name)
    assert number == "1"
    assert second.pop("id") == f"{name}:2"
    for request in (first, second):
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", request.pop("traceparent"))
    assert first == {"op": "append", "list": "other", "value": "a b"}
    assert second == {"op": "clear", "list": "other"}


def test_request_joins_the_trace_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has the trace id of TRACEPARENT, with a span of its own."""
    monkeypatch.setenv("TRACEPARENT", f"00-{'ab' * 16}-{'cd' * 8}-01")
    with fake_list_server(lambda request: [response_to(request)]) as server, client(server.port) as user:
        user.ask("info")
    assert f"00-{'ab' * 16}-" in server.received[0][1].decode()
    assert "cd" * 8 not in server.received[0][1].decode()


def test_lost_connection_is_retried_at_once() -> None:
    """A connection that ends is noticed at once, not at the timeout."""
    cuts = iter([[DISCONNECT], []])
    with (
        fake_list_server(lambda request: next(cuts) or [response_to(request)]) as server,
        client(server.port, 0.9) as user,
    ):
        assert user.ask("clear").ok
    assert len(server.received) == 2


def test_connection_lost_while_idle() -> None:
    """A connection that ended while idle is replaced before the next request."""
    cuts = iter([[DISCONNECT], []])
    with (
        fake_list_server(lambda request: [response_to(request), *next(cuts)]) as server,
        client(server.port, 0.9) as user,
    ):
        assert user.ask("clear").ok
        assert user._connection
        deadline = time.monotonic() + TIMEOUT_S
        while not user._connection.lost:
            assert time.monotonic() < deadline
            user._connection._monitor.poll(100)
        assert user.ask("undo").ok
    assert len(server.received) == 2


def test_server_started_late() -> None:
    """The client waits for a server that starts late."""
    with reserved_port() as port, ExitStack() as later:
        late = fake_list_server(lambda request: [response_to(request)], port)
        access = ClientSettings(port=port, timeout=TIMEOUT_S)

        def begin(_: str) -> None:
            later.enter_context(late)

        with Client(access, warn=begin) as user:
            assert user.ask("clear").ok


def test_unavailable_server_is_one_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An unavailable server is reported in one line."""
    with reserved_port() as port:
        access = ClientSettings(port=port, timeout=1)
        with Client(access, first_timeout_s=0.1, max_backoff_s=0.1) as user, pytest.raises(ServerUnavailable):
            user.ask("clear")
    assert capsys.readouterr().err == f"frota: 127.0.0.1:{port} does not answer, trying again\n"


def test_duplicate_response_is_discarded() -> None:
    """A duplicate response is not taken for that of the next request."""

    def twice(request: bytes) -> list[bytes]:
        return [response_to(request, version=int(json.loads(request)["id"].partition(":")[2]))] * 2

    with fake_list_server(twice) as server, client(server.port) as user:
        assert [user.ask("info").version for _ in range(5)] == [1, 2, 3, 4, 5]


def test_response_with_another_id_is_discarded() -> None:
    """A response with another id is discarded, and the request repeated."""
    wrong: Iterator[dict[str, Any]] = iter([{"id": "0" * 32 + ":7", "version": 5}, {"version": 6}])
    with fake_list_server(lambda request: [response_to(request, **next(wrong))]) as server, client(server.port) as user:
        assert user.ask("clear").version == 6
    assert server.received[0][1] == server.received[1][1]


def test_busy_response_is_retried() -> None:
    """A request is repeated while the server is busy."""
    busy: Iterator[dict[str, Any]] = iter([{"ok": False, "error": "busy", "text": "Ocupado."}, {}])
    with fake_list_server(lambda request: [response_to(request, **next(busy))]) as server, client(server.port) as user:
        assert user.ask("sort").ok
    assert server.received[0] == server.received[1]


def test_rejection_is_a_response() -> None:
    """A rejection is returned, not retried."""
    refusal: dict[str, Any] = {"ok": False, "error": "full", "text": "Limite atingido."}
    with fake_list_server(lambda request: [response_to(request, **refusal)]) as server, client(server.port) as user:
        answer = user.ask("append", value="x")
    assert (answer.ok, answer.text) == (False, "Limite atingido.")


def test_killed_server_is_a_pause(tmp_path: Path) -> None:
    """Kills and restarts of the server neither lose nor repeat a change."""
    numbers = [str(number) for number in range(300)]
    with list_server(tmp_path) as server, client(server.port) as user:
        appended = threading.Semaphore(0)

        def append() -> None:
            for number in numbers:
                assert user.ask("append", value=number).ok
                appended.release()

        thread = threading.Thread(target=append)
        thread.start()
        for end in (server.kill, server.stop, server.kill):
            for _ in range(50):
                assert appended.acquire(timeout=TIMEOUT_S)
            end()
            server.start()
        thread.join(TIMEOUT_S)
        with client(server.port) as other:
            assert other.ask("show").fields["elements"] == numbers
