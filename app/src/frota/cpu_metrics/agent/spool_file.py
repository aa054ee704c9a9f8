"""What outlives an agent: its run, its next number, and the samples that wait.

The file `spool` is a line of JSON with the header, then each sample as on the wire: written when an agent stops, and
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
from frota.cpu_metrics.agent.sequence import SequenceFile, SequenceState, boot_id
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.messages import MAX_CORES, MAX_MESSAGE_BYTES, VERSION, Disk, Memory, Network, Own, Sample, is_run
from frota.logs import log
from frota.logs.log import printable
from frota.storage import files, state_folder

_WRITE_INTERVAL_S = 30.0  # that samples have waited before they are written, and between two writes
_SAMPLES_PER_NEW = 60  # a write is worth it when so many times what is new is all there is
_MALFORMED = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)  # what a line of nonsense may raise
_MAX_VALUE = 2.0**63 - 1025  # of any figure, and of a load: what the server takes
_MAX_LOAD = 1e9
_PARTS = {"memory": Memory, "disk": Disk, "network": Network, "own": Own}


class SpoolFile:
    """The agent's state folder, claimed for this process. Raises StateError where another has it."""

    def __init__(self, directory: Path) -> None:
        self._lock = state_folder.lock(directory)
        self._path = directory / "spool"
        self._sequence = SequenceFile(directory / "numbers")
        self._exists = False  # whether there is a spool
        self._saved = "", 0  # of which run it is, and up to which number
        self._next_write = 0.0

    def load(self, limit: int, interval: float) -> Spool:
        """Return what the last agent left, a new run where there is nothing, or nothing of sense.

        Where that agent was killed, the numbers go on behind those that it has used. From here on it is an agent with
        this interval (s) that runs. Raises StateError.
        """
        try:
            spool = self._load_spool(limit)
            if state := self._sequence.read():
                spool.continue_after(state.run, state.next_number - 1, state.acked)
            self._sequence.create(_state(spool), interval)
            files.sync_folder(self._path.parent)  # a power cut that took it away again would have numbers used twice
        except OSError as error:
            raise StateError(f"{self._path}: {error.strerror}; remove it, or choose another --state-dir") from error
        return spool

    def checkpoint(self, spool: Spool, interval: float) -> None:
        """Let an agent that comes after a kill know the numbers, and, now and then, what waits. Raises OSError."""
        self._sequence.write(_state(spool), interval)
        now = time.monotonic()
        if spool.oldest_age < _WRITE_INTERVAL_S:  # the server is there
            if self._exists:
                self._path.unlink(missing_ok=True)
                self._exists, self._saved = False, ("", 0)
        elif now >= self._next_write and self._unsaved(spool) * _SAMPLES_PER_NEW >= len(spool):
            self._next_write = now + _WRITE_INTERVAL_S
            self._write(spool)

    def save(self, spool: Spool) -> None:
        """Write what the next agent goes on with, whole or not at all. Raises OSError."""
        self._write(spool)
        self._sequence.remove()
        files.sync_folder(self._path.parent)

    def close(self) -> None:
        """Give the folder back."""
        self._sequence.close()
        self._lock.close()

    def _unsaved(self, spool: Spool) -> int:
        run, number = self._saved
        return spool.last - (number if run == spool.run else 0)

    def _load_spool(self, limit: int) -> Spool:
        try:
            with self._path.open("rb") as file:
                spool, fault = _read(file, limit)
        except FileNotFoundError:
            return Spool(limit)
        except (OSError, *_MALFORMED) as error:
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
        self._exists, self._saved = True, (spool.run, spool.last)
        return spool

    def _write(self, spool: Spool) -> None:
        header = {"frota": VERSION, "run": spool.run, "next": spool.last + 1, "acked": spool.acked}
        header |= {"samples": len(spool), "saved": time.time(), "boot": boot_id(), "clock": boottime()}
        samples = (sample.native(number, age) for number, age, sample in spool.after(0, len(spool)))
        files.replace(self._path, chain([json.dumps(header).encode() + b"\n"], samples))
        self._exists, self._saved = True, (spool.run, spool.last)


def _state(spool: Spool) -> SequenceState:
    return SequenceState(spool.run, spool.last + 1, spool.acked)


def _read(file: IO[bytes], limit: int) -> tuple[Spool, str]:
    """Return the spool, and what is wrong with the file, if anything is. Raises _MALFORMED where all of it is."""
    header = _json(file.readline(MAX_MESSAGE_BYTES))
    run, next_number, acked, count = (header[name] for name in ("run", "next", "acked", "samples"))
    whole = all(type(number) is int and number >= 0 for number in (next_number, acked, count))
    if header["frota"] != VERSION or not is_run(run) or not whole or not max(count, acked) < next_number:
        raise ValueError("the first line is not that of a spool of this version")
    samples = _SampleReader(file, next_number, _seconds_since(header))
    spool = Spool.resumed(limit, run, next_number - 1, acked, samples)
    fault = samples.fault
    if not fault and samples.count != count:
        fault = f"{samples.count} samples where there should be {count}"
    return spool, fault


class _SampleReader:
    """The samples of a file, without the lines that are none: how many were read, and what was wrong with others."""

    def __init__(self, file: IO[bytes], next_number: int, since: float) -> None:
        self._file, self._next_number, self._since = file, next_number, since
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
                if type(number) is not int or not last < number < self._next_number:
                    raise ValueError(f"sample {number!r} where another belongs")
                sample = _sample(fields)
            except _MALFORMED as error:
                self._bad += 1
                self._first_fault = self._first_fault or printable(str(error)[:100]) or type(error).__name__
                continue
            last, self.count = number, self.count + 1
            yield number, age + self._since, sample


def _number(value: object, most: float = _MAX_VALUE) -> float:
    """Return a number as the server takes it. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{str(value)[:40]!r} is no number from 0 to {most:g}")
    return value


def _json(line: bytes) -> dict[str, Any]:
    fields = json.loads(line, parse_constant=_reject_constant)
    if not isinstance(fields, dict):
        raise TypeError("a line is no JSON object")
    return fields


def _seconds_since(header: dict[str, Any]) -> float:
    """Return how long ago a file was written: within one boot by the monotonic boot clock.

    After another boot only the calendar knows, which may have leapt: then samples are at most as old as a server takes.
    """
    if header.get("boot") == boot_id() != "?" and isinstance(saved := header.get("clock"), int | float):
        return max(0.0, boottime() - saved)
    return max(0.0, time.time() - _number(header["saved"], 1e12))


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def _sample(fields: dict[str, Any]) -> Sample:
    load = fields.get("load")
    one, five, fifteen = (_number(part, _MAX_LOAD) for part in load or (0, 0, 0))
    parts: dict[str, Any] = {
        name: kind(**{key: kind.__annotations__[key](_number(value)) for key, value in fields[name].items()})
        for name, kind in _PARTS.items()
        if fields.get(name) is not None
    }
    cpu, mean = tuple(_number(core, 100) for core in fields["cpu"]), _number(fields["mean"], 100)
    if not 1 <= len(cpu) <= MAX_CORES:
        raise ValueError(f"{len(cpu)} cores")
    return Sample(cpu, mean, (one, five, fifteen) if load else None, **parts)
