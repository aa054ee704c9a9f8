"""Records of the journal as the page gets them, and the filters of viewers."""

import json

import pytest

from frota.observer.dashboard.journal import MAX_MESSAGE_CHARACTERS, Filter, Record, parse
from support.dashboard import TRACE

_OTHER = "0af7651916cd43dd8448eb211c80319c"


def _record(**fields: object) -> Record:
    base = {"__REALTIME_TIMESTAMP": "1790000000000000", "_HOSTNAME": "sensor-1", "MESSAGE": "x", **fields}
    record = parse(json.dumps(base).encode())
    assert record
    return record


def test_record_as_journalctl_prints_it() -> None:
    """The fields of a record of ours are shown, with times in milliseconds."""
    record = _record(
        MESSAGE="Imagem foto.jpg processada", PRIORITY="4", SYSLOG_IDENTIFIER="frota-image-worker",
        FROTA_SYSTEM="images", FROTA_EVENT="image_done", TRACE_ID=TRACE, PEER="10.0.0.1:5", DURATION_MS="12.5",
        _SOURCE_REALTIME_TIMESTAMP="1790000000000123",
    )  # fmt: skip
    assert record.shown == {
        "time": 1790000000000.123, "host": "sensor-1", "unit": "frota-image-worker", "system": "images",
        "priority": 4, "event": "image_done", "message": "Imagem foto.jpg processada", "traces": (TRACE,),
        "peer": "10.0.0.1:5", "duration": 12.5,
    }  # fmt: skip


def test_unit_of_another_service() -> None:
    """A record without an identifier has the name of its unit."""
    assert _record(_SYSTEMD_UNIT="ssh.service").unit == "ssh"


def test_binary_message() -> None:
    """A message that is no UTF-8, which journalctl prints as a list of numbers, is text with replacements."""
    assert _record(MESSAGE=[104, 105, 255, 10]).message == "hi�\n"


def test_repeated_traces() -> None:
    """A record of several traces belongs to each; what is no trace id is left out."""
    record = _record(TRACE_ID=[TRACE, _OTHER, "x" * 32, [48] * 32])
    assert record.traces == (TRACE, _OTHER, "0" * 32)
    assert Filter(trace=_OTHER).selects(record)


def test_message_is_bounded() -> None:
    """A long message is cut, and one that journalctl leaves out for its size is empty."""
    assert len(_record(MESSAGE="x" * 10_000).message) == MAX_MESSAGE_CHARACTERS
    assert _record(MESSAGE=None).message == ""


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"-- No entries --", b"\xff", b"null", b'"x"', b"{" * 5000])
def test_lines_that_are_no_records(line: bytes) -> None:
    """A line that is no record is skipped."""
    assert parse(line) is None


@pytest.mark.parametrize(
    "field",
    [{"PRIORITY": "high"}, {"PRIORITY": "99"}, {"DURATION_MS": "1e999"}, {"_HOSTNAME": {"a": 1}}, {"PEER": [[]]}],
)
def test_malformed_fields(field: dict[str, object]) -> None:
    """A malformed field has its default, and the record is shown."""
    shown = _record(**field).shown
    assert shown["priority"] in (6, 7)
    assert "duration" not in shown
    assert "peer" not in shown


@pytest.mark.parametrize(
    ("selected", "matches"),
    [
        (Filter(), True),
        (Filter(host="sensor-1"), True),
        (Filter(host="sensor"), False),
        (Filter(unit="frota-list-server"), False),
        (Filter(priority=3), False),
        (Filter(priority=4), True),
        (Filter(text="DISK"), True),
        (Filter(text="disk_full"), True),
        (Filter(text="cpu"), False),
        (Filter(trace=TRACE), True),
        (Filter(trace=_OTHER), False),
    ],
)
def test_filter(selected: Filter, matches: bool) -> None:
    """A filter selects by host, unit, priority, trace, and by text in message or event, whatever its case."""
    record = _record(MESSAGE="The Disk is full", PRIORITY="4", FROTA_EVENT="disk_full", TRACE_ID=TRACE)
    assert selected.selects(record) == matches
