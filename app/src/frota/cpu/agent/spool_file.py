"""The agent's state folder: what the next agent needs to continue.

`outbox`: the samples, and the run. Written when the agent stops, and at most twice a minute while the server is
unavailable.
`numbers`: the next sequence number, while an agent runs (sequence.py). An agent that was killed leaves it behind; the
next one continues the run after it and uses no number twice.
`outbox.bad`: a damaged outbox, for people. `lock`: the lock of the process that uses the folder.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frota.core.clock import boottime
from frota.core.errors import StateError
from frota.cpu.agent.sequence import BOOT_ID_FILE, SequenceFile, SequenceState, boot_id
from frota.cpu.agent.spool import Spool, parse_sample
from frota.cpu.messages import Sample, is_run
from frota.logs import log
from frota.storage import files, state_folder
from frota.storage.outbox import Outbox

_WRITE_INTERVAL_S = 30.0  # between two writes; and how old a sample must be before the first
_BATCH_SAMPLES = 100  # in memory at the same time


class SpoolFile:
    """The state folder, locked for this process. Raises OSError, StateError if another process has locked it."""

    def __init__(self, directory: Path, boot_id_file: Path = BOOT_ID_FILE) -> None:
        self._lock = state_folder.lock(directory)
        self._directory = directory
        self._path = directory / "outbox"
        self._boot = boot_id(boot_id_file)
        self._sequence = SequenceFile(directory / "numbers", self._boot)
        self._outbox = self._open()
        self._next_write = 0.0  # of the monotonic clock

    def load(self, limit: int, interval: float) -> Spool:
        """Return the former agent's spool, with `limit` samples at most; an empty one if there is none to read.

        From now on `numbers` says that an agent runs, with this interval (s). Raises StateError.
        """
        try:
            self._outbox.max_records = limit
            self._convert_former(self._directory / "spool")
            spool = self._load_spool(limit)
            if state := self._sequence.read():
                spool.continue_after(state.run, state.next_number - 1, state.acked)
            self._sequence.create(_state(spool), interval)
            files.sync_folder(self._directory)  # if a power failure removed the file, numbers would be used twice
        except OSError as error:
            raise StateError(f"{self._path}: {error.strerror}; remove it, or choose another --state-dir") from error
        return spool

    def checkpoint(self, spool: Spool, interval: float) -> None:
        """Write the next number, and the samples if the server is unavailable, in case of a kill. Raises OSError."""
        self._sequence.write(_state(spool), interval)
        now = time.monotonic()
        if spool.oldest_age < _WRITE_INTERVAL_S:  # the server acknowledges
            if self._outbox.facts or len(self._outbox):
                self._outbox.clear()
        elif now >= self._next_write:
            self._next_write = now + _WRITE_INTERVAL_S
            self._append(spool)

    def save(self, spool: Spool) -> None:
        """Write the spool atomically and delete `numbers`: the agent stops. Raises OSError."""
        self._write(spool)
        self._sequence.remove()
        files.sync_folder(self._directory)

    def close(self) -> None:
        """Unlock the folder."""
        self._sequence.close()
        self._outbox.close()
        self._lock.close()

    def _open(self) -> Outbox:
        try:
            outbox = Outbox(self._path, sys.maxsize)
        except OSError as error:
            bad = self._path.with_suffix(".bad")
            self._path.replace(bad)
            text = f"{self._path}: {error}; moved to {bad.name}, its samples are lost"
            log.record("ERROR", "spool_unreadable", text)
            return Outbox(self._path, sys.maxsize)
        if outbox.damaged:
            text = f"{self._path}: {outbox.damaged} lines are damaged and skipped; the other {len(outbox)} samples"
            log.record("ERROR", "spool_corrupted", f"{text} are sent, {self._path.stem}.bad is a copy of the file")
        return outbox

    def _convert_former(self, path: Path) -> None:
        if path.exists():
            from frota.cpu.agent import former_spool  # memory that only the first start of a new release needs

            former_spool.convert(path, self._outbox)

    def _load_spool(self, limit: int) -> Spool:
        facts = self._outbox.facts
        run, acked = str(facts.get("run", "")), int(facts.get("acked", 0))
        spool = Spool.resumed(limit, run, self._outbox.last, acked, self._samples())
        if not is_run(run):
            spool.start_new_run()
        return spool

    def _samples(self) -> Iterator[tuple[int, float, Sample]]:
        """Iterate over the outbox, as (number, age in s, sample)."""
        last = 0
        while records := self._outbox.after(last, _BATCH_SAMPLES):
            for last, payload in records:
                fields = json.loads(payload)
                yield last, fields["age"] + _seconds_since(fields, self._boot), parse_sample(fields)

    def _append(self, spool: Spool) -> None:
        """Write the samples that are new."""
        if self._outbox.facts.get("run") != spool.run:
            return self._write(spool)
        self._outbox.max_records = spool.limit
        self._outbox.acknowledge(spool.after(0, 1)[0][0] - 1)
        self._outbox.extend(self._records(spool, self._outbox.last))
        return None

    def _write(self, spool: Spool) -> None:
        self._outbox.replace(self._records(spool), spool.last, {"run": spool.run, "acked": spool.acked})

    def _records(self, spool: Spool, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """Iterate over samples as records: the line on the wire, with the time at which its age is right."""
        clocks = json.dumps({"saved": time.time(), "boot": self._boot, "clock": boottime()}).encode()
        for number, age, sample in spool.after(after, len(spool)):
            yield number, clocks[:-1] + b", " + sample.native(number, age)[1:-1]


def _state(spool: Spool) -> SequenceState:
    return SequenceState(spool.run, spool.last + 1, spool.acked)


def _seconds_since(fields: dict[str, Any], boot: str) -> float:
    """Return the seconds since a record was written: of the boot clock if this is the same boot, else of the date.

    The date may have jumped; Spool.resumed caps the samples' ages.
    """
    if fields.get("boot") == boot != "?" and "clock" in fields:
        return max(0.0, boottime() - float(fields["clock"]))
    return max(0.0, time.time() - float(fields["saved"]))
