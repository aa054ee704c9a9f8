"""The listing of dead letters, also of foreign ones."""

from typing import Any

import pika
import pytest

from frota.images.client.dead_letters import DeadLetter


@pytest.mark.parametrize(
    "timestamp", [None, 0, 1_790_000_000, 1_790_000_000_000, 2**63, 2**64 - 1, -1, -(2**60)], ids=str
)
@pytest.mark.parametrize(
    "headers",
    [None, {}, {"x-death": "odd"}, {"x-death": [7]}, {"x-death": [{"time": 7}]}, {"size": "x", "traceparent": 5}],
    ids=str,
)
def test_foreign_dead_letters_are_listed(timestamp: int | None, headers: dict[str, Any] | None) -> None:
    """A foreign message with malformed headers or timestamp is listed, too."""
    properties = pika.BasicProperties(timestamp=timestamp, headers=headers)
    fields = DeadLetter(1, "-", properties, b"12345").fields()
    assert fields["size"] == 5
    assert fields["time"] == ("2026-09-21T14:13:20Z" if timestamp == 1_790_000_000 else fields["time"])
    assert isinstance(fields["reason"], str)


def test_impossible_timestamp_is_left_out() -> None:
    """A timestamp out of range is listed as -."""
    for timestamp in (1_790_000_000_000, 2**64 - 1):
        assert DeadLetter(1, "-", pika.BasicProperties(timestamp=timestamp), b"").fields()["time"] == "-"
