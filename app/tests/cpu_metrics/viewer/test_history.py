"""`frota cpu history`: samples as lines for people and for machines."""

import json
import subprocess
from typing import Any

import pytest

from support import ran, reserved_port
from support.viewer import END, fake, lines

STRETCH: dict[str, Any] = {
    "time": [1769860800.0, 1769860805.123],
    "number": [1, 2],
    "mean": [37.34, 50.0],
    "cpu": [[37.3, 31.5], [50.0]],
    "load": [[0.1, 0.2, 0.3], None],
    "memory": [[16 << 30, 4 << 30, 8 << 30], None],
    "disk": [[100, 25, 1_258_291.0, 348_160.0], None],
    "network": [[2_097_152, 1024, 0.0, 0.5], None],
    "own": [[1.5, 1024], None],
}


def run(port: int, *words: object) -> "subprocess.CompletedProcess[str]":
    return ran("cpu", "history", "--port", port, *words)


def test_a_sample_is_a_line() -> None:
    with fake(lines(STRETCH, STRETCH | {"time": [1769860810, 1769860815]})) as server:
        done = run(server.port, "web-1", "--seconds", "60")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third, _ = done.stdout.splitlines()
    rates = "read 1.2M/s  write 340K/s  in 2.0M/s  out 1.0K/s"
    assert first == f"2026-01-31T12:00:00.000Z  cpu  37.3%  mem  50%  disk  25%  {rates}"
    rates = "read    -/s  write    -/s  in    -/s  out    -/s"
    assert second == f"2026-01-31T12:00:05.123Z  cpu  50.0%  mem    -  disk    -  {rates}"
    assert third.startswith("2026-01-31T12:00:10.000Z")
    assert server.asked == [{"frota": 1, "ask": "history", "host": "web-1", "seconds": 60}]


def test_json_has_the_parts_by_name_and_leaves_out_what_was_not_measured() -> None:
    with fake(lines(STRETCH)) as server:
        first, second = map(json.loads, run(server.port, "web-1", "--json").stdout.splitlines())
    assert first == {
        "time": "2026-01-31T12:00:00.000Z",
        "number": 1,
        "cpu": [37.3, 31.5],
        "mean": 37.34,
        "load": [0.1, 0.2, 0.3],
        "memory": {"total": 16 << 30, "used": 4 << 30, "available": 8 << 30},
        "disk": {"total": 100, "used": 25, "read": 1_258_291.0, "write": 348_160.0},
        "network": {"received": 2_097_152, "sent": 1024, "drops": 0.0, "errors": 0.5},
        "own": {"cpu": 1.5, "memory": 1024},
    }
    assert second == {"time": "2026-01-31T12:00:05.123Z", "number": 2, "cpu": [50.0], "mean": 50.0}


def test_columns_may_be_missing() -> None:
    with fake(lines({"time": [1769860800.0], "mean": ["37"]})) as server:
        assert run(server.port, "a").stdout.startswith("2026-01-31T12:00:00.000Z  cpu      -  mem    -")


def test_an_empty_history_is_told() -> None:
    with fake(lines()) as server:
        done = run(server.port, "web-1", "--seconds", "60")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "frota: no sample of web-1 in the last 60 s\n")


@pytest.mark.parametrize("value", ["0", "nan", "2e9", "-1", "abc"])
def test_a_time_that_makes_no_sense_is_told(value: str) -> None:
    done = run(1, "web-1", f"--seconds={value}")
    assert done.returncode == 2
    assert done.stderr.endswith(f"argument --seconds: {value!r}: must be from 0.1 to 1000000000 seconds\n")


def test_a_host_that_nobody_knows_is_the_servers_to_tell() -> None:
    with fake(b'{"frota": 1, "error": "host desconhecido: x\\u001b[2J"}\n') as server:
        done = run(server.port, "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"frota: 127.0.0.1:{server.port}: host desconhecido: x\\x1b[2J\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail\r\n",
        lines({"time": 5}),
        lines({"host": "a"}),
        lines(STRETCH | {"mean": [1]}),
        lines(STRETCH | {"time": ["x", 1]}),
        lines({"time": [1e18]}),
        lines({"time": [1], "mean": "x"}),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(answer: bytes) -> None:
    with fake(answer) as server:
        done = run(server.port, "a")
    assert done.returncode == 1
    assert done.stderr.startswith(f"frota: 127.0.0.1:{server.port} is no metrics server: ")
    assert done.stderr.count("\n") == 1


def test_a_connection_that_ends_too_early_is_told_after_what_came() -> None:
    with fake(lambda _: None) as server:
        assert run(server.port, "a").stderr == f"frota: 127.0.0.1:{server.port}: the server closed the connection\n"
    with fake(lines(STRETCH)[: -len(END)]) as server:
        server.hangs_up = True
        done = run(server.port, "a")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)


def test_without_a_server_a_sentence_says_so() -> None:
    with reserved_port() as port:
        done = run(port, "a", "--json")
    assert done.stderr == f"frota: no metrics server at 127.0.0.1:{port}: Connection refused\n"
    assert done.returncode == 1
