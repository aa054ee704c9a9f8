"""The lazy pirate: whatever becomes of servers, connections and answers, a change is made once or an error says so."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from frota.core.errors import ServerUnavailable
from frota.remote_list.client.client import Client
from frota.remote_list.client_settings import ClientSettings
from support import PATIENCE, reserved_port
from support.fake_list_server import CUT, answered, fake
from support.list_clients import client
from support.zmq_server import list_server


def test_a_lost_answer_is_asked_for_again_with_the_same_id_over_a_new_connection() -> None:
    answers = iter([0, 1])
    with fake(lambda request: [answered(request)] * next(answers)) as server, client(server.port) as one:
        assert one.ask("append", value="a b").text == "Feito."
    (first, request), (second, again) = server.received
    assert json.loads(request) == json.loads(again)
    assert first != second


def test_every_request_has_the_number_behind_the_last_and_says_only_what_belongs_to_it() -> None:
    with fake(lambda request: [answered(request)]) as server, client(server.port, list="other") as one:
        one.ask("append", value="a b")
        one.ask("clear")
    first, second = (json.loads(request) for _, request in server.received)
    name, number = first.pop("id").split(":")
    assert re.fullmatch("[0-9a-f]{32}", name)
    assert number == "1"
    assert second.pop("id") == f"{name}:2"
    for request in (first, second):
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", request.pop("traceparent"))
    assert first == {"op": "append", "list": "other", "value": "a b"}
    assert second == {"op": "clear", "list": "other"}


def test_a_request_belongs_to_the_trace_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{'ab' * 16}-{'cd' * 8}-01")
    with fake(lambda request: [answered(request)]) as server, client(server.port) as one:
        one.ask("info")
    assert f"00-{'ab' * 16}-" in server.received[0][1].decode()
    assert "cd" * 8 not in server.received[0][1].decode()


def test_a_connection_that_ends_is_known_at_once_and_not_after_a_time_out() -> None:
    cuts = iter([[CUT], []])
    with fake(lambda request: next(cuts) or [answered(request)]) as server, client(server.port, 0.9) as one:
        assert one.ask("clear").ok
    assert len(server.received) == 2


def test_a_connection_that_ended_while_nothing_was_asked_costs_no_request() -> None:
    cuts = iter([[CUT], []])
    with (
        fake(lambda request: [answered(request), *next(cuts)]) as server,
        client(server.port, 0.9) as one,
    ):
        assert one.ask("clear").ok
        assert one._connection
        while not one._connection.lost:
            one._connection._monitor.poll(int(PATIENCE * 1000))
        assert one.ask("undo").ok
    assert len(server.received) == 2


def test_a_server_that_comes_late_is_waited_for() -> None:
    with reserved_port() as port, ExitStack() as later:
        late = fake(lambda request: [answered(request)], port)
        access = ClientSettings(port=port, patience=PATIENCE)

        def begin(_: str) -> None:
            later.enter_context(late)

        with Client(access, warn=begin) as one:
            assert one.ask("clear").ok


def test_a_server_that_stays_away_is_told_of_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frota.remote_list.client.client._FIRST_TIMEOUT_S", 0.1)
    monkeypatch.setattr("frota.remote_list.client.client._MAX_BACKOFF_S", 0.1)
    with reserved_port() as port, client(port, 1) as one, pytest.raises(ServerUnavailable):
        one.ask("clear")
    assert capsys.readouterr().err == f"frota: 127.0.0.1:{port} does not answer, trying again\n"


def test_answers_that_come_twice_or_late_are_not_taken_for_those_to_the_next_request() -> None:
    def twice(request: bytes) -> list[bytes]:
        return [answered(request, version=int(json.loads(request)["id"].partition(":")[2]))] * 2

    with fake(twice) as server, client(server.port) as one:
        assert [one.ask("info").version for _ in range(5)] == [1, 2, 3, 4, 5]


def test_an_answer_to_another_request_is_none() -> None:
    wrong: Iterator[dict[str, Any]] = iter([{"id": "0" * 32 + ":7", "version": 5}, {"version": 6}])
    with fake(lambda request: [answered(request, **next(wrong))]) as server, client(server.port) as one:
        assert one.ask("clear").version == 6
    assert server.received[0][1] == server.received[1][1]


def test_a_busy_server_is_asked_again() -> None:
    busy: Iterator[dict[str, Any]] = iter([{"ok": False, "error": "busy", "text": "Ocupado."}, {}])
    with fake(lambda request: [answered(request, **next(busy))]) as server, client(server.port) as one:
        assert one.ask("sort").ok
    assert server.received[0] == server.received[1]


def test_a_refusal_is_an_answer() -> None:
    refusal: dict[str, Any] = {"ok": False, "error": "full", "text": "Limite atingido."}
    with fake(lambda request: [answered(request, **refusal)]) as server, client(server.port) as one:
        answer = one.ask("append", value="x")
    assert (answer.ok, answer.text) == (False, "Limite atingido.")


def test_a_killed_server_is_a_pause_to_its_clients_and_every_change_is_made_once(tmp_path: Path) -> None:
    numbers = [str(number) for number in range(300)]
    with list_server(tmp_path) as server, client(server.port) as one:
        appended = threading.Semaphore(0)

        def append() -> None:
            for number in numbers:
                assert one.ask("append", value=number).ok
                appended.release()

        thread = threading.Thread(target=append)
        thread.start()
        for end in (server.kill, server.stop, server.kill):
            for _ in range(50):
                assert appended.acquire(timeout=PATIENCE)
            end()
            server.start()
        thread.join(PATIENCE)
        with client(server.port) as other:
            assert other.ask("show").fields["elements"] == numbers
