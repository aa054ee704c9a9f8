"""The log records of readings."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from frota.core import trace
from frota.sensors.server import event_log
from frota.sensors.server.event_log import EventLog

PEER: Any = SimpleNamespace(address=("10.0.0.1", 5))
READINGS: list[Any] = [(name, "Temperatura", "21.5", "°C") for name in ("a", "b", "c")]


@pytest.fixture(name="records")
def _records(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    monkeypatch.setattr(
        event_log, "record", lambda _level, event, _text, **fields: records.append(fields | {"": event})
    )
    return records


def test_trace_ids_of_numbered_readings(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    """The client and the server log the same trace id, which the producer and the sequence number give."""
    log = EventLog(tmp_path, 100)
    log.readings([PEER] * 3, READINGS, [1], "producer", 12)
    traces = {(record[""], record["SENSOR"]): record["TRACE_ID"] for record in records}
    expected = {name: trace.derive("producer", number) for name, number in (("a", 10), ("b", 11), ("c", 12))}
    assert traces == {("reading", name): trace_id for name, trace_id in expected.items()} | {
        ("reading_out_of_range", "b"): expected["b"]
    }


def test_trace_ids_of_legacy_readings(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    """Each reading of a legacy client has a new trace id, the same in both of its records."""
    log = EventLog(tmp_path, 100)
    log.readings([PEER] * 3, READINGS, [1])
    ids = [record["TRACE_ID"] for record in records if record[""] == "reading"]
    assert len(set(ids)) == 3
    assert [record["TRACE_ID"] for record in records if record[""] == "reading_out_of_range"] == ids[1:2]
