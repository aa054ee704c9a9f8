"""`frota cpu history`: samples as lines for people and for machines."""

import json
import subprocess
from typing import Any

import pytest

from support import reserved_port, run_frota
from support.viewer import END, fake_metrics_server, lines

CHUNK: dict[str, Any] = {
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
    return run_frota("cpu", "history", "--port", port, *words)


def test_text() -> None:
    """A sample is a line with its time in UTC; missing values are dashes."""
    with fake_metrics_server(lines(CHUNK, CHUNK | {"time": [1769860810, 1769860815]})) as server:
        done = run(server.port, "web-1", "--seconds", "60")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third, _ = done.stdout.splitlines()
    rates = "read 1.2M/s  write 340K/s  in 2.0M/s  out 1.0K/s"
    assert first == f"2026-01-31T12:00:00.000Z  cpu  37.3%  mem  50%  disk  25%  {rates}"
    rates = "read    -/s  write    -/s  in    -/s  out    -/s"
    assert second == f"2026-01-31T12:00:05.123Z  cpu  50.0%  mem    -  disk    -  {rates}"
    assert third.startswith("2026-01-31T12:00:10.000Z")
    assert server.requests == [{"frota": 1, "ask": "history", "host": "web-1", "seconds": 60}]


def test_json() -> None:
    """A sample is a JSON object with named parts, without those that were not measured."""
    with fake_metrics_server(lines(CHUNK)) as server:
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


def test_missing_columns() -> None:
    """Columns that the server does not send are dashes."""
    with fake_metrics_server(lines({"time": [1769860800.0], "mean": ["37"]})) as server:
        assert run(server.port, "a").stdout.startswith("2026-01-31T12:00:00.000Z  cpu      -  mem    -")


def test_empty_history() -> None:
    """Without a sample, a sentence on standard error says so."""
    with fake_metrics_server(lines()) as server:
        done = run(server.port, "web-1", "--seconds", "60")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "frota: no sample of web-1 in the last 60 s\n")


@pytest.mark.parametrize("value", ["0", "nan", "2e9", "-1", "abc"])
def test_invalid_seconds(value: str) -> None:
    """An invalid --seconds is a usage error that names the range."""
    done = run(1, "web-1", f"--seconds={value}")
    assert done.returncode == 2
    assert done.stderr.endswith(f"argument --seconds: {value!r}: must be from 0.1 to 1000000000 seconds\n")


def test_unknown_host() -> None:
    """The server's error for an unknown host is reported without control characters."""
    with fake_metrics_server(b'{"frota": 1, "error": "host desconhecido: x\\u001b[2J"}\n') as server:
        done = run(server.port, "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"frota: 127.0.0.1:{server.port}: host desconhecido: x\\x1b[2J\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail\r\n",
        lines({"time": 5}),
        lines({"host": "a"}),
        lines(CHUNK | {"mean": [1]}),
        lines(CHUNK | {"time": ["x", 1]}),
        lines({"time": [1e18]}),
        lines({"time": [1], "mean": "x"}),
    ],
)
def test_malformed_history(answer: bytes) -> None:
    """A malformed history is reported in one line."""
    with fake_metrics_server(answer) as server:
        done = run(server.port, "a")
    assert done.returncode == 1
    assert done.stderr.startswith(f"frota: 127.0.0.1:{server.port} is no metrics server: ")
    assert done.stderr.count("\n") == 1


def test_incomplete_history() -> None:
    """Samples received before the connection was lost are printed, then the error."""
    with fake_metrics_server(lambda _: None) as server:
        assert run(server.port, "a").stderr == f"frota: 127.0.0.1:{server.port}: the server closed the connection\n"
    with fake_metrics_server(lines(CHUNK)[: -len(END)]) as server:
        server.closes_after_response = True
        done = run(server.port, "a")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)


def test_no_server() -> None:
    """Without a server, one line says so, and the status is 1."""
    with reserved_port() as port:
        done = run(port, "a", "--json")
    assert done.stderr == f"frota: no metrics server at 127.0.0.1:{port}: Connection refused\n"
    assert done.returncode == 1
