"""Timelines."""

from frota.observer.journal import Record
from frota.observer.trace.timeline import recent, span_ms, timeline

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def record(host: str, time_us: int, event: str = "", duration: float | None = None, trace: str = TRACE) -> Record:
    identity = (host, str(time_us), event)
    return Record(time_us, host, "unit", 6, "images", event, "", (trace,), duration, {}, identity)


def test_hops_are_ordered_by_time_over_all_hosts() -> None:
    """A hop takes the time since the record before it, the first one what its service measured; one is the slowest."""
    producer = [record("producer", 1_000_000, "queued", 12.5), record("producer", 1_090_000, "done")]
    worker = [record("worker", 1_050_000, "started"), record("worker", 1_070_000, "converted", 20)]
    hops = timeline([producer, worker])
    assert [(hop.record.event, hop.took_ms, hop.slowest) for hop in hops] == [
        ("queued", 12.5, False),
        ("started", 50, True),
        ("converted", 20, False),
        ("done", 20, False),
    ]
    assert span_ms(hops) == 102.5


def test_records_of_a_host_keep_their_order() -> None:
    """A host whose clock was set back keeps the order of its journal."""
    stepped = [record("a", 5_000, "first"), record("a", 1_000, "second"), record("a", 2_000, "third")]
    hops = timeline([stepped, [record("b", 3_000, "other")]])
    assert [hop.record.event for hop in hops if hop.record.host == "a"] == ["first", "second", "third"]


def test_copies_of_a_record_are_one_hop() -> None:
    """A record that was uploaded twice is one hop; the same text of two hosts is two."""
    copy = record("a", 1_000, "first")
    assert len(timeline([[copy, copy], [copy]])) == 1
    assert len(timeline([[copy], [copy._replace(host="b")]])) == 2


def test_single_hop_is_not_the_slowest() -> None:
    """Of a single hop none is the slowest; nothing has no hops."""
    (hop,) = timeline([[record("a", 1_000, duration=5)]])
    assert (hop.took_ms, hop.slowest) == (5, False)
    assert timeline([[], []]) == []


def test_recent_traces() -> None:
    """The last traces are listed once each, oldest first, by their newest record; a record may have several."""
    one, two, three = ("1" * 32, "2" * 32, "3" * 32)
    first = [record("a", 4, "newest of one", trace=one), record("a", 1, trace=one)]
    second = [record("b", 3, trace=three), record("b", 2)._replace(traces=(two, one))]
    assert [(item.trace, item.record.time_us) for item in recent([first, second], 9)] == [
        (two, 2),
        (three, 3),
        (one, 4),
    ]
    assert [item.trace for item in recent([first, second], 1)] == [one]
    assert recent([[record("a", 1)._replace(traces=())]], 5) == []
