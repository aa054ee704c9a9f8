"""A reading has one trace id in the journals of its client and of its server."""

import json
import socket
from collections import Counter
from pathlib import Path

from frota.core import trace
from support import TIMEOUT_S, output, read_all, start_frota
from support.journal import journal, logged

EVENTS = ("reading", "reading_sent", "response")
CLIENT = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
SERVE = ("sensors", "serve", "--host", "127.0.0.1", "--port", 0, "--state-dir")


def test_client_and_server_log_the_same_trace_id(tmp_path: Path) -> None:
    """Client, server and history have the same trace id of each reading, although it is neither sent nor stored."""
    traces: dict[str, Counter[str]] = {event: Counter() for event in EVENTS}
    with journal(tmp_path) as records, logged(*SERVE, tmp_path / "server"):
        flags = ("--port", records.port(), "--state-dir", tmp_path / "client", "--interval", 0.01, "--count", 3)
        client = start_frota("sensors", "simulate", "temperature", "--protocol", "native", *flags)
        assert client.wait(TIMEOUT_S) == 0
        for event in EVENTS:
            records.wait_for(lambda _: sum(fields["FROTA_EVENT"] == [event] for fields in records.records) == 3, event)  # noqa: B023 -- called at once
        for fields in records.records:
            if (event := fields["FROTA_EVENT"][0]) in traces:
                traces[event][fields["TRACE_ID"][0]] += 1
        durations = [fields["DURATION_MS"][0] for fields in records.records if fields["FROTA_EVENT"] == ["response"]]
    assert len(traces["reading"]) == 3
    assert traces["reading"] == traces["reading_sent"] == traces["response"]
    assert all(float(duration) > 0 for duration in durations)
    lines = output("sensors", "history", "--state-dir", tmp_path / "server", "--json").splitlines()
    assert Counter(json.loads(line)["trace_id"] for line in lines) == traces["reading"]


def test_rejected_line_has_a_trace_id(tmp_path: Path) -> None:
    """A line that is rejected is logged with the trace id that its number gives, as its client logs it."""
    with journal(tmp_path) as records, logged(*SERVE, tmp_path / "server"):
        with socket.create_connection(("127.0.0.1", records.port()), TIMEOUT_S) as connection:
            connection.sendall(f"frota hello {CLIENT}\nfrota skip 7\nS - K: 5%\nno reading\n".encode())
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
        ids = {
            event: records.wait_for(lambda fields: fields["FROTA_EVENT"] == [event] and fields["TRACE_ID"], event)  # noqa: B023 -- called at once
            for event in ("reading", "connection_failed")
        }
    assert ids == {"reading": [trace.derive(CLIENT, 7)], "connection_failed": [trace.derive(CLIENT, 8)]}


def test_legacy_readings_have_no_trace_id_in_the_history(tmp_path: Path) -> None:
    """A legacy reading has a trace id in the server's journal alone: it has no number to derive it from."""
    with journal(tmp_path) as records, logged(*SERVE, tmp_path / "server"):
        with socket.create_connection(("127.0.0.1", records.port()), TIMEOUT_S) as connection:
            connection.sendall(b"S - K: 5%")
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
        records.wait_for(lambda fields: fields["FROTA_EVENT"] == ["reading"] and fields["TRACE_ID"], "reading")
    (line,) = output("sensors", "history", "--state-dir", tmp_path / "server", "--json").splitlines()
    assert "trace_id" not in json.loads(line)
