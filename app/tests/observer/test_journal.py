"""Records in the JSON of journalctl."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.observer import journal

ENTRY = {
    "__REALTIME_TIMESTAMP": "1764335000000002",
    "_SOURCE_REALTIME_TIMESTAMP": "1764335000000001",
    "__CURSOR": "s=1",
    "_HOSTNAME": "sensor-server",
    "_SYSTEMD_UNIT": "frota-sensor-server.service",
    "SYSLOG_IDENTIFIER": "frota-sensor-server",
    "PRIORITY": "4",
    "FROTA_SYSTEM": "sensors",
    "FROTA_EVENT": "reading",
    "MESSAGE": "text",
    "TRACE_ID": ["a" * 32, "b" * 32],
    "DURATION_MS": "1.5",
    "SENSOR": [83, 255],
}


def parse(*entries: object, host: str = "") -> list[journal.Record]:
    return list(journal.parse("\n".join(map(json.dumps, entries)) + "\n", host))


def test_record() -> None:
    """A record has the service's time, its host and unit, and its fields, binary and repeated ones included."""
    (record,) = parse(ENTRY)
    assert record[:9] == (
        1764335000000001,
        "sensor-server",
        "frota-sensor-server",
        4,
        "sensors",
        "reading",
        "text",
        ("a" * 32, "b" * 32),
        1.5,
    )
    assert record.fields == {"SENSOR": "S\ufffd"}


def test_host_of_the_call_counts() -> None:
    """Over SSH, a host has the name that the user gave."""
    assert parse(ENTRY, host="web-1")[0].host == "web-1"


@pytest.mark.parametrize("line", ["", "-- No entries --", "[1]", "{", "[" * 5000, '{"MESSAGE": "no time"}'])
def test_lines_that_are_no_records_are_skipped(line: str) -> None:
    """A line that is no record is skipped, the others are not."""
    assert len(list(journal.parse(f"{line}\n{json.dumps(ENTRY)}\n"))) == 1


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-1"])
def test_duration_that_is_none(text: str) -> None:
    """A duration that is no time is ignored."""
    assert parse(ENTRY | {"DURATION_MS": text})[0].duration_ms is None


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)


@given(st.dictionaries(st.sampled_from(sorted(ENTRY)), _JSON))
def test_any_values_are_parsed(entry: dict[str, Any]) -> None:
    """Whatever the values are, a record is parsed or skipped."""
    for record in parse(entry):
        assert 0 <= record.priority <= 7
        assert all(isinstance(text, str) for text in (record.message, *record.traces, *record.fields.values()))


def test_untrusted_text_is_no_option() -> None:
    """Matches are behind the options of journalctl."""
    command = journal.journalctl(["--rotate"], 5)
    assert command.index("--") < command.index("--rotate")
