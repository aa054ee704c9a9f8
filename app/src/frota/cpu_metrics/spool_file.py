"""What outlives an agent that is stopped: its run, its next number, and the samples that wait.

A line of JSON with the facts, then each sample as on the wire. The file is there only while no agent runs: one that
is killed leaves none, so that the next begins a new run and never uses a number twice.
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
from frota.cpu_metrics.spool import Spool

_PARTS = {"memory": Memory, "disk": Disk, "network": Network, "own": Own}


class SpoolFile:
    """The agent's state folder, claimed for this process. Raises StateError where another has it."""

    def __init__(self, directory: Path) -> None:
        self._lock = state.lock(directory)
        self._path = directory / "spool"

    def take(self, limit: int) -> Spool:
        """Return what the last agent left, and remove it; a new run where there is nothing, or nothing of sense.

        Raises StateError where the file can neither be used nor removed.
        """
        try:
            try:
                with self._path.open("rb") as file:
                    spool = _read(file, limit)
            except FileNotFoundError:
                return Spool(limit)
            except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
                aside = self._path.with_suffix(".bad")
                self._path.replace(aside)
                text = f"{self._path}: {error or type(error).__name__}; it is now {aside.name}, and a new run begins"
                log.record("ERROR", "spool_unreadable", text)
                return Spool(limit)
            self._path.unlink()
            self._settle()  # a power cut that brought it back would have its numbers used twice
        except OSError as error:
            raise StateError(f"{self._path}: {error.strerror}; remove it, or choose another --state-dir") from error
        return spool

    def leave(self, spool: Spool) -> None:
        """Write what the next agent goes on with, whole or not at all. Raises OSError."""
        new = self._path.with_suffix(".new")
        facts = {"frota": VERSION, "run": spool.run, "next": spool.last + 1, "acked": spool.acked}
        facts |= {"samples": len(spool), "saved": time.time()}
        with new.open("wb") as file:
            file.write(json.dumps(facts).encode() + b"\n")
            file.writelines(sample.native(number, age) for number, age, sample in spool.aged(0, len(spool)))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self._settle()

    def close(self) -> None:
        """Give the folder back."""
        self._lock.close()

    def _settle(self) -> None:
        """Have the folder's names on the disk. Raises OSError."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(file: IO[bytes], limit: int) -> Spool:
    facts = _json(file.readline(LONGEST))
    run, following, acked, count = (facts[name] for name in ("run", "next", "acked", "samples"))
    whole = all(type(number) is int and number >= 0 for number in (following, acked, count))
    if facts["frota"] != VERSION or not is_run(run) or not whole or not max(count, acked) < following:
        raise ValueError("the first line is not that of a spool of this version")
    samples = _samples(file, following - count, following, max(0.0, time.time() - float(facts["saved"])))
    return Spool.resumed(limit, run, following, acked, samples)


def _samples(file: IO[bytes], first: int, following: int, since: float) -> Iterator[tuple[float, Sample]]:
    expected = first
    for line in iter(partial(file.readline, LONGEST + 1), b""):
        fields = _json(line)
        if fields["n"] != expected or expected == following:
            raise ValueError(f"sample {fields['n']} where another belongs")
        yield float(fields["age"]) + since, _sample(fields)
        expected += 1
    if expected != following:
        raise ValueError(f"sample {expected} is missing")


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
