"""`tail` and `history` with servers that restart, and with servers of another kind."""

import json
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.sensors import readings
from frota.sensors.viewer.output import Progress
from support import RESPONSE, TIMEOUT_S, start_frota

Readings = list[dict[str, Any]]


def reading(time_us: int, text: str = "S - Umidade: 5%") -> dict[str, Any]:
    return readings.StoredReading(time_us, "h:1", text, True, None, None).fields()


@contextmanager
def answering(*responses: bytes, hold: bool = False) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Give each connection in turn an answer and its end, or keep it open; yield the port and what was asked."""
    requests: Readings = []
    over = threading.Event()

    def serve() -> None:
        for answer in responses:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as lines:
                requests.append(json.loads(lines.readline().split(b" ", 2)[2]))
                try:
                    connection.sendall(answer)
                    if hold:
                        over.wait(TIMEOUT_S)
                except ConnectionError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], requests
        over.set()
    thread.join(TIMEOUT_S)


def lines(some: Readings) -> bytes:
    return b"".join(json.dumps(reading).encode() + b"\n" for reading in some)


def test_tail_resumes_within_one_timestamp() -> None:
    """After a reconnect a tail goes on behind the last reading, also within one timestamp."""
    batch = [reading(1_000_000, f"S - Umidade: {number}%") for number in (1, 2, 2, 2, 3)]
    later = reading(2_000_000, "S - Umidade: 4%")
    with answering(lines(batch[:3]), lines([*batch, later])) as (port, requests):
        tail = start_frota("sensors", "tail", "--port", port, "--json", stdout=-1, stderr=-1)
        assert tail.stdout
        printed = [json.loads(tail.stdout.readline()) for _ in range(6)]
    assert printed == [*batch, later]
    assert requests == [{"last": 10}, {"last": readings.MAX_READINGS, "since_us": 1_000_000}]
    tail.terminate()
    tail.communicate(timeout=TIMEOUT_S)


def test_tail_resumes_among_equal_readings() -> None:
    """After a reconnect a tail knows how many of equal readings it has shown."""
    same, other = reading(1), reading(1, "S - Umidade: 6%")
    progress = Progress()
    for item in (same, other):
        progress.note(item)
    assert list(progress.unseen([same, same, other, reading(2)])) == [reading(2)]


@given(st.data())
def test_tail_survives_any_disconnects(
    data: st.DataObject,
) -> None:
    """However often a tail reconnects, it shows every stored reading once."""
    pairs = data.draw(
        st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["a - U: 1%", "b - U: 1%"])), min_size=1, max_size=12)
    )
    stored = [reading(time, text) for time, text in sorted(pairs, key=lambda pair: pair[0])]
    progress, printed = Progress(), []
    begin = data.draw(st.integers(0, len(stored) - 1), "how many are before those asked for")
    answer = stored[begin:]
    for cut in [*data.draw(st.lists(st.integers(0, 12), max_size=4)), len(stored)]:
        for item in progress.unseen(answer[:cut]):
            progress.note(item)
            printed.append(item)
        if printed:
            answer = [item for item in stored if item["time"] >= progress.time]
    for item in stored[begin:]:
        assert stored[begin:].count(item) <= printed.count(item) <= stored.count(item)


_NOT_OURS = {
    "an HTTP server": b"HTTP/1.0 400 Bad request syntax\r\nContent-Type: text/html\r\n\r\n",
    "a legacy sensor server": RESPONSE,
    "no JSON": b"{nonsense}\n",
    "no object": b"[1, 2]\n",
    "an object without our fields": b'{"time": "2026-01-31T12:00:00Z"}\n',
    "an object with fields of another kind": lines([{**reading(1), "text": 5}]),
    "a time that is none": lines([{**reading(1), "time": "noon"}]),
    "deeply nested": b'{"a":' * 10_000 + b"\n",
    "binary": bytes(range(128, 256)),
    "binary that begins like JSON": b"{\xff\xfe\n",
}


@pytest.mark.parametrize("command", ["tail", "history"])
@pytest.mark.parametrize("response", _NOT_OURS.values(), ids=_NOT_OURS)
def test_wrong_server_is_named(response: bytes, command: str) -> None:
    """An answer of something that is no sensor server gives one sentence at once."""
    with answering(response, hold=True) as (port, _):
        asking = start_frota("sensors", command, "--port", port, stdout=-1, stderr=-1)
        printed, errors = asking.communicate(timeout=TIMEOUT_S)
    assert asking.returncode == 1
    assert printed == b""
    assert errors.decode().startswith(f"frota: 127.0.0.1:{port} is no sensor server: it answers ")
    assert errors.count(b"\n") == 1


def test_endless_answer_is_rejected() -> None:
    """An answer without an end gives one sentence and costs little memory."""

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))

    with answering(b'{"text": "' + b"x" * 2**28) as (port, _):
        asking = start_frota("sensors", "history", "--port", port, stdout=-1, stderr=-1, preexec_fn=little)
        printed, errors = asking.communicate(timeout=TIMEOUT_S)
    assert asking.returncode == 1
    assert printed == b""
    assert b'is no sensor server: it answers \'{"text": "xxx' in errors
    assert len(errors) < 200


def test_truncated_answer_is_reported() -> None:
    """An answer that ends early is reported."""
    for response in (b"", lines([reading(1)]), lines([reading(1)])[:-20]):
        with answering(response) as (port, _):
            asking = start_frota("sensors", "history", "--port", port, stdout=-1, stderr=-1)
            _, errors = asking.communicate(timeout=TIMEOUT_S)
        assert asking.returncode == 1
        assert errors.decode() == f"frota: 127.0.0.1:{port}: the server closed the connection\n"


def test_rejection_reason_is_shown() -> None:
    """The reason of a server that rejects a query is shown."""
    for response in (b"Erro: servidor cheio", b"Erro: servidor cheio\n", b"frota end servidor cheio\n"):
        with answering(response) as (port, _):
            asking = start_frota("sensors", "history", "--port", port, stderr=-1)
            _, errors = asking.communicate(timeout=TIMEOUT_S)
        assert asking.returncode == 1
        assert errors.decode().endswith("servidor cheio\n")
