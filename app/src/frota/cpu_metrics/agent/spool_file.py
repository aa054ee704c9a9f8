"""What outlives an agent: its run, its next number, and the samples that wait.

The file `spool` is a line of JSON with the facts, then each sample as on the wire: written when an agent stops, and
twice a minute at most while the server is away. Beside it `numbers` is there while an agent runs, see sequence.py: one
that is killed leaves it, so that the next goes on with the run and never uses a number twice.
"""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Any, NoReturn

from frota.core.clock import boottime
from frota.core.errors import StateError
from frota.cpu_metrics.agent.sequence import Left, Numbers, boot_id
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.messages import MAX_CORES, MAX_MESSAGE_BYTES, VERSION, Disk, Memory, Network, Own, Sample, is_run
from frota.logs import log
from frota.logs.log import printable
from frota.storage import files, state_folder

_PAUSE_SECONDS = 30.0  # that samples have waited before they are written, and between two writes
_SHARE = 60  # a write is worth it when so many times what is new is all there is
_BAD = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)  # what a line of nonsense may raise
_MOST = 2.0**63 - 1025  # of any figure, and of a load: what the server takes
_MOST_LOAD = 1e9
_PARTS = {"memory": Memory, "disk": Disk, "network": Network, "own": Own}


class SpoolFile:
    """The agent's state folder, claimed for this process. Raises StateError where another has it."""

    def __init__(self, directory: Path) -> None:
        self._lock = state_folder.lock(directory)
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
            files.sync_folder(self._path.parent)  # a power cut that took it away again would have numbers used twice
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
        files.sync_folder(self._path.parent)

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
                spool, fault = _read(file, limit)
        except FileNotFoundError:
            return Spool(limit)
        except (OSError, *_BAD) as error:
            aside = self._path.with_suffix(".bad")
            self._path.replace(aside)
            text = f"{self._path}: {error or type(error).__name__}; it is now {aside.name}, and what waited is lost"
            log.record("ERROR", "spool_unreadable", text)
            return Spool(limit)
        if fault:
            aside = self._path.with_suffix(".bad")
            with suppress(OSError):  # the copy is for people; without room for it the samples are sent all the same
                aside.write_bytes(self._path.read_bytes())
            text = f"{self._path}: {fault}; the other {len(spool)} samples are sent, {aside.name} is the file as it was"
            log.record("ERROR", "spool_corrupted", text)
        self._there, self._kept = True, (spool.run, spool.last)
        return spool

    def _write(self, spool: Spool) -> None:
        facts = {"frota": VERSION, "run": spool.run, "next": spool.last + 1, "acked": spool.acked}
        facts |= {"samples": len(spool), "saved": time.time(), "boot": boot_id(), "clock": boottime()}
        samples = (sample.native(number, age) for number, age, sample in spool.aged(0, len(spool)))
        files.replace(self._path, chain([json.dumps(facts).encode() + b"\n"], samples))
        self._there, self._kept = True, (spool.run, spool.last)


def _left(spool: Spool) -> Left:
    return Left(spool.run, spool.last + 1, spool.acked)


def _read(file: IO[bytes], limit: int) -> tuple[Spool, str]:
    """Return what is in the file, and what is wrong with it, if anything is. Raises _BAD where that is everything."""
    facts = _json(file.readline(MAX_MESSAGE_BYTES))
    run, following, acked, count = (facts[name] for name in ("run", "next", "acked", "samples"))
    whole = all(type(number) is int and number >= 0 for number in (following, acked, count))
    if facts["frota"] != VERSION or not is_run(run) or not whole or not max(count, acked) < following:
        raise ValueError("the first line is not that of a spool of this version")
    samples = _Samples(file, following, _seconds_since(facts))
    spool = Spool.resumed(limit, run, following - 1, acked, samples)
    fault = samples.fault
    if not fault and samples.count != count:
        fault = f"{samples.count} samples where there should be {count}"
    return spool, fault


class _Samples:
    """The samples of a file, without the lines that are none: how many were read, and what was wrong with others."""

    def __init__(self, file: IO[bytes], following: int, since: float) -> None:
        self._file, self._following, self._since = file, following, since
        self.count = self._bad = 0
        self._first_fault = ""

    @property
    def fault(self) -> str:
        """What was wrong, in words; empty where nothing was."""
        return f"{self._bad} lines are no samples ({self._first_fault})" if self._bad else ""

    def __iter__(self) -> Iterator[tuple[int, float, Sample]]:
        last = 0
        for line in iter(partial(self._file.readline, MAX_MESSAGE_BYTES + 1), b""):
            try:
                fields = _json(line)
                number, age = fields["n"], _number(fields["age"])
                if type(number) is not int or not last < number < self._following:
                    raise ValueError(f"sample {number!r} where another belongs")
                sample = _sample(fields)
            except _BAD as error:
                self._bad += 1
                self._first_fault = self._first_fault or printable(str(error)[:100]) or type(error).__name__
                continue
            last, self.count = number, self.count + 1
            yield number, age + self._since, sample


def _number(value: object, most: float = _MOST) -> float:
    """Return a number as the server takes it. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{str(value)[:40]!r} is no number from 0 to {most:g}")
    return value


def _json(line: bytes) -> dict[str, Any]:
    fields = json.loads(line, parse_constant=_refuse)
    if not isinstance(fields, dict):
        raise TypeError("a line is no JSON object")
    return fields


def _seconds_since(facts: dict[str, Any]) -> float:
    """Return how long ago a file was written: within one boot by the monotonic boot clock.

    After another boot only the calendar knows, which may have leapt: then samples are at most as old as a server takes.
    """
    if facts.get("boot") == boot_id() != "?" and isinstance(saved := facts.get("clock"), int | float):
        return max(0.0, boottime() - saved)
    return max(0.0, time.time() - _number(facts["saved"], 1e12))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _sample(fields: dict[str, Any]) -> Sample:
    load = fields.get("load")
    one, five, fifteen = (_number(part, _MOST_LOAD) for part in load or (0, 0, 0))
    parts: dict[str, Any] = {
        name: kind(**{key: kind.__annotations__[key](_number(value)) for key, value in fields[name].items()})
        for name, kind in _PARTS.items()
        if fields.get(name) is not None
    }
    cpu, mean = tuple(_number(core, 100) for core in fields["cpu"]), _number(fields["mean"], 100)
    if not 1 <= len(cpu) <= MAX_CORES:
        raise ValueError(f"{len(cpu)} cores")
    return Sample(cpu, mean, (one, five, fifteen) if load else None, **parts)
