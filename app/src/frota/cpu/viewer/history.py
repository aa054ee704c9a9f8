"""`frota cpu history`: a host's samples on standard output, as text or as JSON lines."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from frota.core.errors import WrongServer
from frota.cpu.messages import Disk, Memory, Network, Own, Sample
from frota.cpu.viewer import gauges
from frota.cpu.viewer.host_status import disk_share, memory_share, number, part, percent
from frota.cpu.viewer.query import Client
from frota.logs.log import printable

_PARTS: dict[str, type[Memory | Disk | Network | Own]] = {
    "memory": Memory,
    "disk": Disk,
    "network": Network,
    "own": Own,
}
_COLUMNS = ("time", "number", *Sample._fields)


def history(args: argparse.Namespace) -> int:
    """Print a host's samples, oldest first. Raises ServerUnavailable and WrongServer."""
    to_line: Callable[[dict[str, Any]], str] = _json_line if args.json else _text_line
    with Client(args.host, args.port) as client:
        samples = _Samples(client, args.name, args.seconds)
        for line in map(to_line, samples):
            print(line, flush=True)
    if not samples.count:
        print(f"frota: no sample of {printable(args.name)} in the last {args.seconds:g} s", file=sys.stderr)
    return 0


class _Samples:
    """The samples of a history, and their count so far."""

    def __init__(self, client: Client, name: str, seconds: float) -> None:
        self._client = client
        self._query = name, seconds
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for chunk in self._client.history(*self._query):
            columns = [chunk.get(name) for name in _COLUMNS]
            times = columns[0]
            if not isinstance(times, list):
                raise self._wrong_server()
            for column in columns:
                if column is not None and (not isinstance(column, list) or len(column) != len(times)):
                    raise self._wrong_server()
            for values in zip(*(column or [None] * len(times) for column in columns), strict=True):
                self.count += 1
                yield dict(zip(_COLUMNS, (self._time(values[0]), *values[1:]), strict=True))

    def _time(self, value: object) -> str:
        seconds = number(value)
        try:
            moment = datetime.fromtimestamp(seconds, UTC) if seconds is not None else None
        except (ValueError, OverflowError, OSError):
            moment = None
        if moment is None:
            raise self._wrong_server()
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _wrong_server(self) -> WrongServer:
        return WrongServer(f"{self._client.where} is no metrics server: its history is malformed")


def _part(sample: dict[str, Any], name: str) -> Any:
    kind = _PARTS[name]
    return part(kind, sample[name], len(kind._fields))


def _json_line(sample: dict[str, Any]) -> str:
    """Return a sample as JSON, without the values that it lacks."""
    parts = {name: values and values._asdict() for name in _PARTS for values in [_part(sample, name)]}
    return json.dumps({name: value for name, value in (sample | parts).items() if value is not None})


def _text_line(sample: dict[str, Any]) -> str:
    memory, disk, network = (_part(sample, name) for name in ("memory", "disk", "network"))
    fields = [
        sample["time"],
        f"cpu {gauges.tenths(percent(sample['mean'])):>6}",
        f"mem {gauges.whole(memory_share(memory)):>4}",
        f"disk {gauges.whole(disk_share(disk)):>4}",
        f"read {_rate(disk and disk.read)}  write {_rate(disk and disk.write)}",
        f"in {_rate(network and network.received)}  out {_rate(network and network.sent)}",
    ]
    return "  ".join(fields)


def _rate(value: float | None) -> str:
    return f"{gauges.size(value):>4}/s"
