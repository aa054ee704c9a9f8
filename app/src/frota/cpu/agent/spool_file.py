"""The agent's state folder: what the next agent needs to continue.

`spool`: a header, one line of JSON, then a line for each sample as on the wire. Written when the agent stops, and at
most twice a minute while the server is unavailable.
`numbers`: the next sequence number, while an agent runs (sequence.py). An agent that was killed leaves it behind; the
next one continues the run after it and uses no number twice.
`spool.bad`: a damaged spool, for people. `lock`: the lock of the process that uses the folder.
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
from frota.cpu.agent.sequence import BOOT_ID_FILE, SequenceFile, SequenceState, boot_id
from frota.cpu.agent.spool import Spool
from frota.cpu.messages import MAX_CORES, MAX_MESSAGE_BYTES, VERSION, Disk, Memory, Network, Own, Sample, is_run
from frota.logs import log
from frota.logs.log import printable
from frota.storage import files, state_folder

_WRITE_INTERVAL_S = 30.0  # between two writes; and how old a sample must be before the first
_MAX_REWRITE_RATIO = 60  # a write takes at most so many samples for each that is new in the file
_MALFORMED = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)  # what parsing a line may raise
_MAX_VALUE = 2.0**63 - 1025  # the server's limits
_MAX_LOAD = 1e9
_PARTS = {"memory": Memory, "disk": Disk, "network": Network, "own": Own}


class SpoolFile:
    """The state folder, locked for this process. Raises StateError if another process has locked it."""

    def __init__(self, directory: Path, boot_id_file: Path = BOOT_ID_FILE) -> None:
        self._lock = state_folder.lock(directory)
        self._path = directory / "spool"
        self._boot = boot_id(boot_id_file)
        self._sequence = SequenceFile(directory / "numbers", self._boot)
        self._exists = False
        self._saved = "", 0  # run and highest number in the file
        self._next_write = 0.0  # of the monotonic clock

    def load(self, limit: int, interval: float) -> Spool:
        """Return the former agent's spool, with `limit` samples at most; an empty one if there is none to read.

        From now on `numbers` says that an agent runs, with this interval (s). Raises StateError.
        """
        try:
            spool = self._load_spool(limit)
            if state := self._sequence.read():
                spool.continue_after(state.run, state.next_number - 1, state.acked)
            self._sequence.create(_state(spool), interval)
            files.sync_folder(self._path.parent)  # if a power failure removed the file, numbers would be used twice
        except OSError as error:
            raise StateError(f"{self._path}: {error.strerror}; remove it, or choose another --state-dir") from error
        return spool

    def checkpoint(self, spool: Spool, interval: float) -> None:
        """Write the next number, and the samples if enough of them are new, in case of a kill. Raises OSError."""
        self._sequence.write(_state(spool), interval)
        now = time.monotonic()
        if spool.oldest_age < _WRITE_INTERVAL_S:  # the server acknowledges
            if self._exists:
                self._path.unlink(missing_ok=True)
                self._exists, self._saved = False, ("", 0)
        elif now >= self._next_write and self._unsaved(spool) * _MAX_REWRITE_RATIO >= len(spool):
            self._next_write = now + _WRITE_INTERVAL_S
            self._write(spool)

    def save(self, spool: Spool) -> None:
        """Write the spool atomically and delete `numbers`: the agent stops. Raises OSError."""
        self._write(spool)
        self._sequence.remove()
        files.sync_folder(self._path.parent)

    def close(self) -> None:
        """Unlock the folder."""
        self._sequence.close()
        self._lock.close()

    def _unsaved(self, spool: Spool) -> int:
        run, number = self._saved
        return spool.last - (number if run == spool.run else 0)

    def _load_spool(self, limit: int) -> Spool:
        bad = self._path.with_suffix(".bad")
        try:
            with self._path.open("rb") as file:
                spool, fault = _read(file, limit, self._boot)
        except FileNotFoundError:
            return Spool(limit)
        except (OSError, *_MALFORMED) as error:
            self._path.replace(bad)
            text = f"{self._path}: {error or type(error).__name__}; moved to {bad.name}, its samples are lost"
            log.record("ERROR", "spool_unreadable", text)
            return Spool(limit)
        if fault:
            with suppress(OSError):  # the copy is for people; the samples are sent without it, too
                bad.write_bytes(self._path.read_bytes())
            text = f"{self._path}: {fault}; the other {len(spool)} samples are sent, {bad.name} is a copy of the file"
            log.record("ERROR", "spool_corrupted", text)
        self._exists, self._saved = True, (spool.run, spool.last)
        return spool

    def _write(self, spool: Spool) -> None:
        header = {"frota": VERSION, "run": spool.run, "next": spool.last + 1, "acked": spool.acked}
        header |= {"samples": len(spool), "saved": time.time(), "boot": self._boot, "clock": boottime()}
        samples = (sample.native(number, age) for number, age, sample in spool.after(0, len(spool)))
        files.replace(self._path, chain([json.dumps(header).encode() + b"\n"], samples))
        self._exists, self._saved = True, (spool.run, spool.last)


def _state(spool: Spool) -> SequenceState:
    return SequenceState(spool.run, spool.last + 1, spool.acked)


def _read(file: IO[bytes], limit: int, boot: str) -> tuple[Spool, str]:
    """Return the spool, and what is wrong with samples ("" if nothing is). Raises _MALFORMED if the header is wrong."""
    header = _json(file.readline(MAX_MESSAGE_BYTES))
    run, next_number, acked, count = (header[name] for name in ("run", "next", "acked", "samples"))
    valid = all(type(number) is int and number >= 0 for number in (next_number, acked, count))
    if header["frota"] != VERSION or not is_run(run) or not valid or not max(count, acked) < next_number:
        raise ValueError(f"the first line is not the header of a spool of version {VERSION}")
    samples = _SampleReader(file, next_number, _age(header, boot))
    spool = Spool.resumed(limit, run, next_number - 1, acked, samples)
    fault = samples.fault
    if not fault and samples.count != count:
        fault = f"{samples.count} samples, the header says {count}"
    return spool, fault


class _SampleReader:
    """Iterates over the samples of a file that is `file_age` seconds old, as (number, age in s, sample).

    Skips malformed lines; afterwards `count` is how many samples were read.
    """

    def __init__(self, file: IO[bytes], next_number: int, file_age: float) -> None:
        self._file, self._next_number, self._file_age = file, next_number, file_age
        self.count = self._malformed = 0
        self._first_fault = ""

    @property
    def fault(self) -> str:
        """How many lines are malformed and why the first one is; "" if none is."""
        return f"{self._malformed} lines are no samples ({self._first_fault})" if self._malformed else ""

    def __iter__(self) -> Iterator[tuple[int, float, Sample]]:
        last = 0
        for line in iter(partial(self._file.readline, MAX_MESSAGE_BYTES + 1), b""):
            try:
                fields = _json(line)
                number, age = fields["n"], _number(fields["age"])
                if type(number) is not int or not last < number < self._next_number:
                    raise ValueError(f"sample number {number!r}, expected from {last + 1} to {self._next_number - 1}")
                sample = _sample(fields)
            except _MALFORMED as error:
                self._malformed += 1
                self._first_fault = self._first_fault or printable(str(error)[:100]) or type(error).__name__
                continue
            last, self.count = number, self.count + 1
            yield number, age + self._file_age, sample


def _number(value: object, high: float = _MAX_VALUE) -> float:
    """Return a number that the server accepts. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
        raise ValueError(f"{str(value)[:40]!r} is no number from 0 to {high:g}")
    return value


def _json(line: bytes) -> dict[str, Any]:
    fields = json.loads(line, parse_constant=_reject_constant)
    if not isinstance(fields, dict):
        raise TypeError("a line is no JSON object")
    return fields


def _age(header: dict[str, Any], boot: str) -> float:
    """Return the seconds since a file was written: of the boot clock if this is the same boot, else of the date.

    The date may have jumped; Spool.resumed caps the samples' ages.
    """
    if header.get("boot") == boot != "?" and isinstance(saved := header.get("clock"), int | float):
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
