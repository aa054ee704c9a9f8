"""What outlives an agent: its run, its next number, and the samples that wait.

The file `spool` is a line of JSON with the facts, then each sample as on the wire: written when an agent stops, and
twice a minute at most while the server is away. Beside it `numbers` is there while an agent runs, see numbers.py: one
that is killed leaves it, so that the next goes on with the run and never uses a number twice.
"""

import json
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

from frota.core import log, state
from frota.core.state import StateError
from frota.cpu_metrics.messages import LONGEST, VERSION, Disk, Memory, Network, Own, Sample, is_run
from frota.cpu_metrics.numbers import Left, Numbers
from frota.cpu_metrics.spool import Spool

_PAUSE_SECONDS = 30.0  # that samples have waited before they are written, and between two writes
_SHARE = 60  # a write is worth it when so many times what is new is all there is
_PARTS = {"memory": Memory, "disk": Disk, "network": Network, "own": Own}


class SpoolFile:
    """The agent's state folder, claimed for this process. Raises StateError where another has it."""

    def __init__(self, directory: Path) -> None:
        self._lock = state.lock(directory)
        self._path = directory / "spool"
        self._numbers = Numbers(directory / "numbers")
        self._there = False  # whether there is a spool
        self._kept = "", 0  # of which run it is, and up to which number
        self._due = 0.0

    def take(self, limit: int, interval: float) -> Spool:
        """Return what the last agent left, a new run where there is nothing, or nothing of sense.

        Where that agent was killed, the numbers go on behind those that it has used. From here on it is an agent with
        this interval (s) that runs. Raises StateError.
        """
        try:
            spool = self._found(limit)
            if left := self._numbers.left():
                spool.go_on(left.run, left.following - 1, left.acked)
            self._numbers.begin(_left(spool), interval)
            self._settle()  # a power cut that took it away again would have numbers used twice
        except OSError as error:
            raise StateError(f"{self._path}: {error.strerror}; remove it, or choose another --state-dir") from error
        return spool

    def keep(self, spool: Spool, interval: float) -> None:
        """Let an agent that comes after a kill know the numbers, and, now and then, what waits. Raises OSError."""
        self._numbers.note(_left(spool), interval)
        now = time.monotonic()
        if spool.waited < _PAUSE_SECONDS:  # the server is there
            if self._there:
                self._path.unlink(missing_ok=True)
                self._there, self._kept = False, ("", 0)
        elif now >= self._due and self._new(spool) * _SHARE >= len(spool):
            self._due = now + _PAUSE_SECONDS
            self._write(spool)

    def leave(self, spool: Spool) -> None:
        """Write what the next agent goes on with, whole or not at all. Raises OSError."""
        self._write(spool)
        self._numbers.end()
        self._settle()

    def close(self) -> None:
        """Give the folder back."""
        self._numbers.close()
        self._lock.close()

    def _new(self, spool: Spool) -> int:
        run, number = self._kept
        return spool.last - (number if run == spool.run else 0)

    def _found(self, limit: int) -> Spool:
        try:
            with self._path.open("rb") as file:
                spool = _read(file, limit)
        except FileNotFoundError:
            return Spool(limit)
        except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
            aside = self._path.with_suffix(".bad")
            self._path.replace(aside)
            text = f"{self._path}: {error or type(error).__name__}; it is now {aside.name}, and what waited is lost"
            log.record("ERROR", "spool_unreadable", text)
            return Spool(limit)
        self._there, self._kept = True, (spool.run, spool.last)
        return spool

    def _write(self, spool: Spool) -> None:
        new = self._path.with_suffix(".new")
        facts = {"frota": VERSION, "run": spool.run, "next": spool.last + 1, "acked": spool.acked}
        facts |= {"samples": len(spool), "saved": time.time()}
        with new.open("wb") as file:
            file.write(json.dumps(facts).encode() + b"\n")
            file.writelines(sample.native(number, age) for number, age, sample in spool.aged(0, len(spool)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self._there, self._kept = True, (spool.run, spool.last)

    def _settle(self) -> None:
        """Have the folder's names on the disk. Raises OSError."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _left(spool: Spool) -> Left:
    return Left(spool.run, spool.last + 1, spool.acked)


def _read(file: IO[bytes], limit: int) -> Spool:
    facts = _json(file.readline(LONGEST))
    run, following, acked, count = (facts[name] for name in ("run", "next", "acked", "samples"))
    whole = all(type(number) is int and number >= 0 for number in (following, acked, count))
    if facts["frota"] != VERSION or not is_run(run) or not whole or not max(count, acked) < following:
        raise ValueError("the first line is not that of a spool of this version")
    samples = _samples(file, following, count, max(0.0, time.time() - float(facts["saved"])))
    return Spool.resumed(limit, run, following - 1, acked, samples)


def _samples(file: IO[bytes], following: int, count: int, since: float) -> Iterator[tuple[int, float, Sample]]:
    last = found = 0
    for line in iter(partial(file.readline, LONGEST + 1), b""):
        fields = _json(line)
        number = fields["n"]
        if type(number) is not int or not last < number < following:
            raise ValueError(f"sample {number!r} where another belongs")
        yield number, float(fields["age"]) + since, _sample(fields)
        last, found = number, found + 1
    if found != count:
        raise ValueError(f"{found} samples where there should be {count}")


def _json(line: bytes) -> dict[str, Any]:
    fields = json.loads(line, parse_constant=_refuse)
    if not isinstance(fields, dict):
        raise TypeError("a line is no JSON object")
    return fields


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _sample(fields: dict[str, Any]) -> Sample:
    load = fields.get("load")
    one, five, fifteen = map(float, load or (0, 0, 0))
    parts: dict[str, Any] = {
        name: kind(**{key: kind.__annotations__[key](value) for key, value in fields[name].items()})
        for name, kind in _PARTS.items()
        if fields.get(name) is not None
    }
    cpu, mean = tuple(map(float, fields["cpu"])), float(fields["mean"])
    if not cpu or not all(0 <= one <= 100 for one in (*cpu, mean)):
        raise ValueError(f"sample {fields['n']} is no sample")  # the server would refuse it, and all behind it
    return Sample(cpu, mean, (one, five, fifteen) if load else None, **parts)
