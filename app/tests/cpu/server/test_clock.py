"""Clock jumps change no dates and delete nothing; deletions are logged."""

import time

import pytest

from frota.cpu.server import clock as clock_module
from frota.cpu.server.clock import Clock
from frota.cpu.server.event_log import EventLog
from frota.cpu.server.history import MAX_CHUNK_SAMPLES, HostRow
from frota.cpu.server.host import Host
from support.metrics import STORED_HOST

MONTH = 30 * 86400.0
Records = list[tuple[str, str]]


class Hands:
    """The clock that people set, and the one that nobody sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set, self.steady = 1.7e9, 500.0
        monkeypatch.setattr(time, "time", lambda: self.set)
        monkeypatch.setattr(clock_module, "boottime", lambda: self.steady)

    def go_on(self, clock: Clock, seconds: int) -> None:
        for _ in range(seconds):
            self.set += 1
            self.steady += 1
            clock.sweep()


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    records: Records = []
    for place in ("logs.log", "cpu.server.event_log"):
        monkeypatch.setattr(f"frota.{place}.record", lambda _, event, text, **__: records.append((event, text)))
    return records


@pytest.mark.parametrize("leap", [MONTH, -MONTH, 10.0])
def test_short_clock_jump_is_ignored(hands: Hands, records: Records, leap: float) -> None:
    """A clock jump of less than a minute changes no date and is logged once."""
    clock, begin = Clock(), hands.set
    hands.go_on(clock, 10)
    hands.set += leap
    hands.go_on(clock, 50)
    assert clock.now() == pytest.approx(begin + 60)
    hands.set -= leap
    hands.go_on(clock, 10)
    assert clock.now() == pytest.approx(begin + 70)
    assert [event for event, _ in records] == ["clock_jumped", "clock_restored"]
    assert f"the clock has jumped by {leap:+.0f} s" in records[0][1]


@pytest.mark.parametrize("leap", [MONTH, -MONTH])
def test_lasting_clock_jump_is_adopted(hands: Hands, records: Records, leap: float) -> None:
    """A clock that has jumped is taken as the right one after a minute."""
    clock, begin = Clock(), hands.set
    hands.set += leap
    hands.go_on(clock, 62)
    assert clock.now() == pytest.approx(begin + leap + 62)
    assert [event for event, _ in records] == ["clock_jumped", "clock_adopted"]


def test_slewed_clock_is_followed(hands: Hands, records: Records) -> None:
    """A clock that is set in small steps is followed without a record."""
    clock = Clock()
    for _ in range(30):
        hands.set += 0.5
        hands.go_on(clock, 1)
    assert clock.now() == pytest.approx(hands.set)
    assert records == []


def test_age_of_a_sample_from_the_future() -> None:
    """The age of a host is right although its last sample has a date in the future."""
    host = Host(STORED_HOST._replace(last_seen=1e9 + MONTH))
    host.heard = time.monotonic() - 77
    assert host.shown(1e9)["age"] == pytest.approx(77, abs=5)
    assert host.shown(1e9 + MONTH + 5)["age"] == 5


def test_deletions_are_logged_with_counts(records: Records) -> None:
    """Deleted hosts and samples are logged with their counts and the setting behind it."""
    event_log, row = EventLog(0), HostRow(1, "web-1", "native", "", 7, 1.0, 2.0, 5.0, 7, 0, 0, 0, 0)
    event_log.forgotten(Host(row), 7.0)
    text = "web-1: deleted with its history of 7 samples, after 7 days of the server's running time without a sample"
    assert records.pop() == ("host_expired", f"{text} (CPU_EXPIRY_DAYS)")
    for _ in range(1000):
        event_log.trimmed(2, 17_280)
    assert len(records) == 1  # and the others within the hour
    event_log.report()
    text = f"deleted 1998 chunks of {MAX_CHUNK_SAMPLES} samples at most, the oldest of hosts with more"
    assert records[1] == ("history_trimmed", f"{text} than 17280 samples (CPU_HISTORY_SAMPLES)")
