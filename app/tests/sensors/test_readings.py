"""Stored readings: encoding, decoding and queries."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.sensors import readings
from frota.sensors.readings import Query
from frota.storage.wal.segment import DATA, NO_PRODUCER, Record

LINES = ["Sensor1 - Temperatura: 25.34°C", "Sensor2 - Umidade: 57.96%"]


def record(payload: bytes, writer: bytes = NO_PRODUCER, number: int = 0) -> Record:
    return Record(DATA, 1_700_000_000_123_456, writer, number, payload)


def test_record_round_trip() -> None:
    """A stored reading has its text, peer and time."""
    payload = readings.head("10.0.2.135", 54812, 2, [1]) + "\r\n".join([*LINES, ""]).encode()
    first, second = readings.decode(record(payload))
    assert first.fields() == {
        "time": "2023-11-14T22:13:20.123456+00:00",
        "sensor": "Sensor1",
        "kind": "Temperatura",
        "value": 25.34,
        "unit": "°C",
        "text": LINES[0],
        "peer": "10.0.2.135:54812",
        "in_range": True,
    }
    assert (second.text, second.in_range) == (LINES[1], False)


def test_batch_round_trip() -> None:
    """A batch of many connections is stored as one reading each."""
    heads = [readings.head("::1", 1, 1), readings.head("10.0.0.1", 2, 1, [0])]
    decoded = list(readings.decode(record(readings.join(heads, [line.encode() for line in LINES]))))
    assert [(reading.peer, reading.text, reading.in_range) for reading in decoded] == [
        ("[::1]:1", LINES[0], True),
        ("10.0.0.1:2", LINES[1], False),
    ]


def test_numbered_readings_carry_their_numbers() -> None:
    """Readings of a client with sequence numbers carry them."""
    client = uuid4()
    payload = readings.head("h", 1, 2) + "\n".join([*LINES, ""]).encode()
    decoded = [reading.fields() for reading in readings.decode(record(payload, client.bytes, 8))]
    assert [(reading["client"], reading["number"]) for reading in decoded] == [(str(client), 7), (str(client), 8)]


@given(st.lists(st.lists(st.sampled_from(LINES), min_size=1, max_size=4), min_size=1, max_size=4))
def test_count_agrees_with_decode(sections: list[list[str]]) -> None:
    """Counting a record's readings agrees with decoding them."""
    payload = b"".join(
        readings.head("h", 1, len(lines)) + "".join(f"{line}\n" for line in lines).encode() for lines in sections
    )
    assert Query().count(record(payload)) == len(list(readings.decode(record(payload))))


def test_query_selects_sensor_and_time() -> None:
    """A query selects by sensor and by time."""
    batch = record(readings.head("h", 1, 2) + "\n".join([*LINES, ""]).encode())
    assert [reading.text for reading in Query(sensor="Sensor2").select(batch)] == [LINES[1]]
    assert Query(sensor="Sensor2").count(batch) == 1
    assert Query(sensor="Sensor").count(batch) == 0
    assert Query(since_us=batch.time_us + 1).count(batch) == 0


OLDER = "SensorP - Altitude: 5e°C"  # as a server on Python 3.11.2 once acknowledged it


def test_illegible_reading_keeps_its_place() -> None:
    """An illegible reading is yielded in its place and has no fields."""
    batch = record(readings.head("h", 1, 3) + "\n".join([LINES[0], OLDER, LINES[1], ""]).encode())
    first, bad, last = Query().select(batch)
    assert [first.fields()["value"], last.fields()["value"]] == [25.34, 57.96]
    with pytest.raises(ValueError, match="expoente sem algarismos"):
        bad.fields()
    assert Query().count(batch) == 3
    assert Query(sensor="SensorP").count(batch) == 1


@given(st.binary(max_size=120), st.integers(0, 2**64 - 1), st.booleans())
def test_any_record_is_decoded(payload: bytes, time_us: int, headed: bool) -> None:
    """Any payload is decoded without an error."""
    data = readings.head("h", 1, 2) + payload if headed else payload
    batch = Record(DATA, time_us, NO_PRODUCER, 0, data)
    decoded = list(readings.decode(batch))
    assert len(decoded) == Query().count(batch)
    for reading in decoded:
        with suppress(ValueError):
            json.loads(json.dumps(reading.fields(), allow_nan=False))


def test_fields_are_canonical() -> None:
    """A reading keeps its text; its fields are in canonical form."""
    text = "Pa\u0301tio - Pressa\u0303o : 1.0E3 \u00b5bar"
    (reading,) = readings.decode(record(readings.head("h", 1, 1) + text.encode()))
    fields = reading.fields()
    assert fields["text"] == text
    assert [fields[name] for name in ("sensor", "kind", "value", "unit")] == [
        "P\u00e1tio",
        "Press\u00e3o",
        1000.0,
        "\u03bcbar",
    ]


@pytest.mark.parametrize("queried", ["P\u00e1tio 2", "Pa\u0301tio 2"])
@pytest.mark.parametrize("sent", ["P\u00e1tio 2", "Pa\u0301tio 2"])
def test_sensor_is_found_in_either_form(queried: str, sent: str) -> None:
    """A sensor is found by its composed and its decomposed name."""
    batch = record(readings.head("h", 1, 2) + f"{sent} - U: 5%\nP\u00e1tio 22 - U: 5%\n".encode())
    assert [reading.text for reading in Query(sensor=queried).select(batch)] == [f"{sent} - U: 5%"]


def test_former_units_are_legible() -> None:
    """Readings with units that earlier releases accepted are legible."""
    (reading,) = readings.decode(record(readings.head("h", 1, 1) + "S - K: 21.5°C.".encode()))
    fields = reading.fields()
    assert (fields["value"], fields["unit"]) == (21.5, "°C.")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"last": -1}', '{"last": true}', '{"sensor": 1}', '{"other": 1}', "[" * 190]
)
def test_invalid_query_is_rejected(text: str) -> None:
    """An invalid query is rejected with what would be right."""
    with pytest.raises(ValueError, match=r"esperava|vai de"):
        Query.from_json(text)


def test_query_round_trip() -> None:
    """A query is the same after to_json and from_json."""
    query = Query(7, "Sensor1", 5)
    assert Query.from_json(query.to_json()) == query


def test_since_is_a_span_or_a_time() -> None:
    """--since takes a time span or a time."""
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    noon = int(now.timestamp() * 1e6)
    assert readings.parse_since("10m", now) == noon - 600_000_000
    assert readings.parse_since("2026-01-31T12:00:00Z", now) == noon
    with pytest.raises(ValueError, match="expected 30s"):
        readings.parse_since("yesterday", now)


@pytest.mark.parametrize("count", ["-1", "0", "-5"])
def test_empty_section_ends_the_record(count: str) -> None:
    """A section with a count below 1 ends its record."""
    payload = f"h 1 {count} -\n{LINES[0]}\n".encode()
    assert len(list(readings.decode(record(payload)))) == 1
    assert Query().count(record(payload)) == 1
