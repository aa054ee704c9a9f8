"""Stored samples: packed one by one at first, later in compressed chunks of JSON columns. No I/O.

Percentages are packed in tenths, loads in hundredths, packets per second in thousandths, an agent's CPU time in
milliseconds: all the digits that viewers show.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import Any

import orjson

from frota.cpu.messages import Disk, Memory, Network, Own, Sample

_HEAD = struct.Struct("<dQHHB3I3Q4Q2Q2IIQ")
_LOAD, _MEMORY, _DISK, _NETWORK, _OWN = 1, 2, 4, 8, 16
_NOTHING = (0, 0, 0, 0)
_MAX_UINT32 = 2**32 - 1
_MAX_NUMBER = 2**62  # see server/history.py
_MAX_TIME = 6e10  # seconds since 1970, and before it: what a date can hold
_CORES = {count: struct.Struct(f"<{count}H") for count in range(65)}


def pack(time: float, number: int, sample: Sample) -> bytes:
    """Return a sample, taken at `time` (seconds since 1970), as bytes."""
    load, memory, disk, network, own = sample[2:]
    parts = _LOAD * bool(load) | _MEMORY * bool(memory) | _DISK * bool(disk) | _NETWORK * bool(network)
    head = _HEAD.pack(
        time,
        number,
        len(sample.cpu),
        round(sample.mean * 10),
        parts | _OWN * bool(own),
        *(_bounded(value * 100) for value in load or _NOTHING[:3]),
        *(memory or _NOTHING[:3]),
        *(round(value) for value in disk or _NOTHING),
        *((round(network.received), round(network.sent)) if network else _NOTHING[:2]),
        *((_bounded(network.drops * 1000), _bounded(network.errors * 1000)) if network else _NOTHING[:2]),
        *((_bounded(own.cpu * 1000), own.memory) if own else _NOTHING[:2]),
    )
    return head + _cores(len(sample.cpu)).pack(*(round(core * 10) for core in sample.cpu))


def unpack(packed: bytes, *, with_cores: bool = True) -> tuple[float, int, Sample]:
    """Return the time of a sample, its number, and the sample; without its cores that is cheaper."""
    time, number, count, mean, parts, *rest = _HEAD.unpack_from(packed)
    cores = tuple(core / 10 for core in _cores(count).unpack_from(packed, _HEAD.size)) if with_cores else ()
    load = (rest[0] / 100, rest[1] / 100, rest[2] / 100) if parts & _LOAD else None
    memory = Memory(*rest[3:6]) if parts & _MEMORY else None
    disk = Disk(*rest[6:10]) if parts & _DISK else None
    network = Network(rest[10], rest[11], rest[12] / 1000, rest[13] / 1000) if parts & _NETWORK else None
    own = Own(rest[14] / 1000, rest[15]) if parts & _OWN else None
    return time, number, Sample(cores, mean / 10, load, memory, disk, network, own)


def is_sample(packed: object) -> bool:
    """Tell whether bytes are a packed sample of valid size, time and number."""
    if not isinstance(packed, bytes) or len(packed) < _HEAD.size:
        return False
    time, number, count, *_ = _HEAD.unpack_from(packed)
    return bool(len(packed) == _HEAD.size + 2 * count and -_MAX_TIME < time < _MAX_TIME and 0 < number < _MAX_NUMBER)


def moment(packed: bytes) -> tuple[float, int, float]:
    """Return the time, number and mean of a packed sample."""
    time, number, _, mean, *_ = _HEAD.unpack_from(packed)
    return time, number, mean / 10


def columns(samples: Iterable[bytes]) -> dict[str, list[Any]]:
    """Return the columns of packed samples by name."""
    unpacked = [unpack(packed) for packed in samples]
    lists: dict[str, list[Any]] = {
        "time": [round(time, 3) for time, _, _ in unpacked],
        "number": [number for _, number, _ in unpacked],
    }
    for name in Sample._fields:
        values = (getattr(sample, name) for _, _, sample in unpacked)
        lists[name] = [tuple(value) if isinstance(value, tuple) else value for value in values]  # not a named one
    return lists


def compress(samples: Iterable[bytes]) -> bytes:
    """Return packed samples as a compressed line of JSON columns."""
    return zlib.compress(line(samples), 1)


def line(samples: Iterable[bytes]) -> bytes:
    """Return packed samples as a line of JSON columns."""
    return orjson.dumps(columns(samples)) + b"\n"


def shown(packed: bytes) -> dict[str, Any]:
    """Return a packed sample as the JSON object for viewers; missing values are omitted."""
    fields = unpack(packed)[2]._asdict()
    return {name: _named(value) for name, value in fields.items() if value is not None}


def _named(value: Any) -> Any:
    return value._asdict() if hasattr(value, "_asdict") else value


def _bounded(value: float) -> int:
    return min(round(value), _MAX_UINT32)


def _cores(count: int) -> struct.Struct:
    return _CORES.get(count) or struct.Struct(f"<{count}H")
