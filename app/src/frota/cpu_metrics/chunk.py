"""A sample as it is kept: packed while it is new, in columns of JSON, compressed, as soon as there are enough.

Percentages are packed in tenths, loads in hundredths, packets a second in thousandths, an agent's CPU time in
milliseconds: what is unpacked is what was measured, to the digits that anybody looks at.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import Any

import orjson

from frota.cpu_metrics.messages import Disk, Memory, Network, Own, Sample

_HEAD = struct.Struct("<dQHHB3I3Q4Q2Q2IIQ")
_LOAD, _MEMORY, _DISK, _NETWORK, _OWN = 1, 2, 4, 8, 16
_NOTHING = (0, 0, 0, 0)
_MOST = 2**32 - 1
_GREATEST = 2**62  # number of a sample, see history.py
_END_OF_TIME = 6e10  # seconds since 1970, and before it, that a date can be made of
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
        *(_bounded(one * 100) for one in load or _NOTHING[:3]),
        *(memory or _NOTHING[:3]),
        *(round(one) for one in disk or _NOTHING),
        *((round(network.received), round(network.sent)) if network else _NOTHING[:2]),
        *((_bounded(network.drops * 1000), _bounded(network.errors * 1000)) if network else _NOTHING[:2]),
        *((_bounded(own.cpu * 1000), own.memory) if own else _NOTHING[:2]),
    )
    return head + _cores(len(sample.cpu)).pack(*(round(one * 10) for one in sample.cpu))


def unpack(packed: bytes, *, with_cores: bool = True) -> tuple[float, int, Sample]:
    """Return when a sample was taken, its number, and the sample, which is had for less without its cores."""
    time, number, count, mean, parts, *rest = _HEAD.unpack_from(packed)
    cores = tuple(one / 10 for one in _cores(count).unpack_from(packed, _HEAD.size)) if with_cores else ()
    load = (rest[0] / 100, rest[1] / 100, rest[2] / 100) if parts & _LOAD else None
    memory = Memory(*rest[3:6]) if parts & _MEMORY else None
    disk = Disk(*rest[6:10]) if parts & _DISK else None
    network = Network(rest[10], rest[11], rest[12] / 1000, rest[13] / 1000) if parts & _NETWORK else None
    own = Own(rest[14] / 1000, rest[15]) if parts & _OWN else None
    return time, number, Sample(cores, mean / 10, load, memory, disk, network, own)


def is_sample(packed: object) -> bool:
    """Tell whether bytes are a sample that was packed, and not damaged in its size or its time."""
    if not isinstance(packed, bytes) or len(packed) < _HEAD.size:
        return False
    time, number, count, *_ = _HEAD.unpack_from(packed)
    return bool(
        len(packed) == _HEAD.size + 2 * count and -_END_OF_TIME < time < _END_OF_TIME and 0 < number < _GREATEST
    )


def moment(packed: bytes) -> tuple[float, int, float]:
    """Return when a sample was taken, its number, and its mean."""
    time, number, _, mean, *_ = _HEAD.unpack_from(packed)
    return time, number, mean / 10


def columns(samples: Iterable[bytes]) -> dict[str, list[Any]]:
    """Return packed samples as lists, by name."""
    unpacked = [unpack(packed) for packed in samples]
    found: dict[str, list[Any]] = {
        "time": [round(time, 3) for time, _, _ in unpacked],
        "number": [number for _, number, _ in unpacked],
    }
    for name in Sample._fields:
        values = (getattr(sample, name) for _, _, sample in unpacked)
        found[name] = [tuple(value) if isinstance(value, tuple) else value for value in values]  # not a named one
    return found


def compress(samples: Iterable[bytes]) -> bytes:
    """Return packed samples as they are kept: a line of JSON with their columns, compressed."""
    return zlib.compress(line(samples), 1)


def line(samples: Iterable[bytes]) -> bytes:
    """Return packed samples as a line of JSON with their columns."""
    return orjson.dumps(columns(samples)) + b"\n"


def shown(packed: bytes) -> dict[str, Any]:
    """Return a sample as viewers get it: what it does not have is left out."""
    fields = unpack(packed)[2]._asdict()
    return {name: _named(value) for name, value in fields.items() if value is not None}


def _named(value: Any) -> Any:
    return value._asdict() if hasattr(value, "_asdict") else value


def _bounded(value: float) -> int:
    return min(round(value), _MOST)


def _cores(count: int) -> struct.Struct:
    return _CORES.get(count) or struct.Struct(f"<{count}H")
