"""A reading has one trace id in the journals of its client and of its server."""

import re
import socket
from collections import Counter
from pathlib import Path

import pytest

from support import TIMEOUT_S, start_frota

RECORD_BYTES = 64 * 1024


def test_client_and_server_log_the_same_trace_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server logs each reading with the trace id that the client logs, although it is not transmitted."""
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        journal.settimeout(TIMEOUT_S)
        monkeypatch.setenv("FROTA_JOURNAL_SOCKET", path)
        server = start_frota("sensors", "serve", "--host", "127.0.0.1", "--port", 0, "--state-dir", tmp_path / "server")
        started = journal.recv(RECORD_BYTES).decode()
        (port,) = re.findall(r"^ADDRESS=127.0.0.1:(\d+)$", started, re.MULTILINE)
        flags = ("--port", port, "--state-dir", tmp_path / "client", "--interval", 0.01, "--count", 3)
        client = start_frota("sensors", "simulate", "temperature", "--protocol", "native", *flags)
        traces: dict[str, Counter[str]] = {event: Counter() for event in ("reading", "reading_sent", "response")}
        while any(counts.total() < 3 for counts in traces.values()):
            fields = dict(re.findall(r"^([A-Z_]+)=(.*)$", journal.recv(RECORD_BYTES).decode(), re.MULTILINE))
            if fields.get("FROTA_EVENT") in traces:
                traces[fields["FROTA_EVENT"]][fields["TRACE_ID"]] += 1
        assert client.wait(TIMEOUT_S) == 0
        server.terminate()
        assert server.wait(TIMEOUT_S) == 0
    assert len(traces["reading"]) == 3
    assert traces["reading"] == traces["reading_sent"] == traces["response"]
