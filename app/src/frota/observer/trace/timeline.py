"""The records of a trace as a timeline: their order, the time from each to the next, and the slowest hop. No I/O."""

import heapq
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

from frota.observer.journal import Record


class Hop(NamedTuple):
    """One record of a trace, and how long this hop took: the time since the record before it, in ms.

    Of the first record it is the duration that the service measured, None without one.
    """

    record: Record
    took_ms: float | None
    slowest: bool


class Recent(NamedTuple):
    """A recent trace, by its newest record."""

    trace: str
    record: Record


def timeline(journals: Iterable[Iterable[Record]]) -> list[Hop]:
    """Order the records of a trace and mark the slowest hop, if there are two or more.

    Records are ordered by the clocks of their hosts; those of one host keep the order of its journal.
    """
    records = _merged(journals)
    took = [_took(records, index) for index in range(len(records))]
    known = [duration for duration in took if duration is not None]
    slowest = took.index(max(known)) if len(known) > 1 and max(known) > 0 else None
    return [Hop(record, took[index], index == slowest) for index, record in enumerate(records)]


def recent(journals: Iterable[Iterable[Record]], count: int) -> list[Recent]:
    """Return the last `count` traces, oldest first."""
    newest: dict[str, Record] = {}
    for record in sorted(chain.from_iterable(journals), key=lambda record: record.time_us):
        for trace in record.traces:
            newest.pop(trace, None)
            newest[trace] = record
    return [Recent(trace, record) for trace, record in newest.items()][-count:]


def span_ms(hops: Iterable[Hop]) -> float:
    """Return the time from the beginning of the first hop to the last record, in ms."""
    return sum(hop.took_ms or 0.0 for hop in hops)


def _merged(journals: Iterable[Iterable[Record]]) -> list[Record]:
    hosts: defaultdict[str, dict[tuple[str, ...], Record]] = defaultdict(dict)
    for record in chain.from_iterable(journals):
        hosts[record.host].setdefault(record.identity, record)  # an upload that was repeated has copies
    return list(heapq.merge(*(records.values() for records in hosts.values()), key=lambda record: record.time_us))


def _took(records: list[Record], index: int) -> float | None:
    if index == 0:
        return records[0].duration_ms
    return (records[index].time_us - records[index - 1].time_us) / 1000
