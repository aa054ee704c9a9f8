"""The spool: numbered, bounded, and continued after a stop and a start."""

import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frota.core.clock import boottime
from frota.core.errors import StateError
from frota.cpu.agent import spool as spool_module
from frota.cpu.agent import spool_file as spool_file_module
from frota.cpu.agent.spool import Spool
from frota.cpu.agent.spool_file import SpoolFile
from frota.cpu.messages import Disk, Memory, Network, Own, Sample
from frota.storage import files
from frota.storage.outbox import Outbox

WHOLE = Sample(
    (37.3, 31.5), 34.4, (0.1, 0.2, 0.3), Memory(3, 2, 1), Disk(4, 3, 2.5, 1.5), Network(1.5, 2.5, 3.5, 4.5), Own(0.5, 9)
)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list of the events that are logged."""
    events: list[str] = []
    monkeypatch.setattr("frota.logs.log.record", lambda _level, event, _text, **_: events.append(event))
    return events


def sample(mean: float) -> Sample:
    return Sample((float(mean),), float(mean))


def filled(count: int, limit: int = 100) -> Spool:
    spool = Spool(limit)
    for number in range(1, count + 1):
        spool.add(sample(number % 100))
    return spool


def numbers(spool: Spool, after: int = 0, limit: int = 1000) -> list[int]:
    return [number for number, _, _ in spool.after(after, limit)]


def test_samples_are_kept_until_acknowledged() -> None:
    """Samples get numbers from 1 and stay in the spool until they are acknowledged."""
    spool = filled(5)
    assert numbers(spool) == [1, 2, 3, 4, 5]
    spool.acknowledge(3)
    assert numbers(spool) == [4, 5]
    assert numbers(spool, after=4) == [5]
    assert numbers(spool, limit=1) == [4]
    spool.acknowledge(2)  # acknowledged already
    assert (len(spool), spool.acked, spool.last) == (2, 3, 5)


def test_full_spool_drops_the_oldest() -> None:
    """A full spool drops its oldest samples, and numbers continue."""
    spool = filled(3, limit=3)
    assert spool.add(sample(4)) == 1
    assert numbers(spool) == [2, 3, 4]
    spool.limit = 1
    assert spool.add(sample(5)) == 3
    assert numbers(spool) == [5]


def test_old_samples_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that are too old for the server are dropped."""
    spool = filled(3)
    now = boottime()
    monkeypatch.setattr(spool_module, "boottime", lambda: now + 31 * 86400)
    assert spool.add(sample(4)) == 3
    assert numbers(spool) == [4]


def test_age_is_of_the_boot_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample's age grows by the boot clock, whatever the date."""
    spool = filled(1)
    now = boottime()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(spool_module, "boottime", lambda: now + 7)
    ((_, age, _),) = spool.after(0, 1)
    assert age == pytest.approx(7, abs=1)


def test_restart_continues_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop and a start in another boot keep run, numbers, samples and ages."""
    spool = Spool(100)
    for _ in range(3):
        spool.add(WHOLE)
    spool.acknowledge(1)
    save(spool, tmp_path)
    saved_at = time.time()
    monkeypatch.setattr(time, "time", lambda: saved_at + 100)
    reloaded = SpoolFile(tmp_path, boot_id_file=tmp_path / "no boot id").load(100, 5.0)
    assert (reloaded.run, reloaded.acked, reloaded.last) == (spool.run, 1, 3)
    assert [(number, sample) for number, _, sample in reloaded.after(0, 9)] == [(2, WHOLE), (3, WHOLE)]
    assert all(age == pytest.approx(100, abs=5) for _, age, _ in reloaded.after(0, 9))


def test_date_set_back_keeps_ages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the date is set back while an agent is stopped, its samples get no younger."""
    folder, spool = loaded(tmp_path), filled(1)
    now = boottime()
    monkeypatch.setattr(spool_module, "boottime", lambda: now + 50)
    folder.save(spool)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    ((_, age, _),) = folder.load(100, 5.0).after(0, 1)
    assert age == pytest.approx(50, abs=5)


def test_restart_with_an_empty_spool(tmp_path: Path) -> None:
    """Numbers continue after a stop without samples, too."""
    spool = filled(5)
    spool.acknowledge(5)
    folder = loaded(tmp_path)
    folder.save(spool)
    reloaded = folder.load(100, 5.0)
    reloaded.add(sample(1))
    assert (reloaded.run, numbers(reloaded)) == (spool.run, [6])


def test_lower_limit_at_restart(tmp_path: Path) -> None:
    """A start with a lower limit keeps the newest samples."""
    folder = loaded(tmp_path)
    folder.save(filled(5))
    assert numbers(folder.load(2, 5.0)) == [4, 5]


def test_state_folder_is_locked(tmp_path: Path) -> None:
    """Two agents cannot use one state folder at the same time."""
    first = SpoolFile(tmp_path)
    with pytest.raises(StateError, match=f"in use by process {os.getpid()}"):
        SpoolFile(tmp_path)
    first.close()
    SpoolFile(tmp_path).close()


def loaded(directory: Path) -> SpoolFile:
    """Return the folder of a running agent."""
    folder = SpoolFile(directory)
    folder.load(100, 5.0)
    return folder


def save(spool: Spool, directory: Path) -> None:
    folder = loaded(directory)
    folder.save(spool)
    folder.close()


def lines() -> list[bytes]:
    """Return the lines of a former release's file with three samples."""
    header = {"frota": 1, "run": "ab" * 16, "next": 4, "acked": 0, "samples": 3, "saved": 1.7e9, "boot": "x"}
    text = json.dumps(header | {"clock": 5.0}).encode() + b"\n"
    return [text, *(sample(number).native(number, 0.5) for number in (1, 2, 3))]


BAD_HEADERS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "empty": lambda lines: lines[:0],
    "no JSON object": lambda lines: [b"[]\n", *lines[1:]],
    "not JSON": lambda lines: [b"\xff\x00\n", *lines[1:]],
    "nested too deeply": lambda lines: [b"[" * 60_000 + b"\n", *lines[1:]],
    "other version": lambda lines: [lines[0].replace(b'"frota": 1', b'"frota": 2'), *lines[1:]],
    "malformed run": lambda lines: [lines[0].replace(b'"run": "', b'"run": "x'), *lines[1:]],
    "negative": lambda lines: [lines[0].replace(b'"acked": 0', b'"acked": -1'), *lines[1:]],
    "acked too high": lambda lines: [lines[0].replace(b'"acked": 0', b'"acked": 9'), *lines[1:]],
    "next is no number": lambda lines: [lines[0].replace(b'"next": 4', b'"next": "4"'), *lines[1:]],
    "infinite time": lambda lines: [re.sub(rb'"saved": [0-9.]+, .*', b'"saved": 1e999}', lines[0]), *lines[1:]],
}


def changed(before: bytes, after: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Return a function that changes the line of sample 2."""

    def change(lines: list[bytes]) -> list[bytes]:
        assert before in lines[2]
        return [*lines[:2], lines[2].replace(before, after), *lines[3:]]

    return change


# A change of the file's lines, and the numbers of the three samples that are still read.
DAMAGED_SAMPLES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[int]]] = {
    "cut": (lambda lines: lines[:-1], [1, 2]),
    "cut within a line": (lambda lines: [*lines[:-1], lines[-1][:10]], [1, 2]),
    "a repeated sample": (lambda lines: [*lines, lines[-1]], [1, 2, 3]),
    "wrong order": (lambda lines: [lines[0], *lines[2:], lines[1]], [2, 3]),
    "zeros": (lambda lines: [*lines[:2], bytes(4096) + b"\n", *lines[3:]], [1, 3]),
    "NaN": (changed(b'"mean": 2.0', b'"mean": NaN'), [1, 3]),
    "infinite mean": (changed(b'"mean": 2.0', b'"mean": 1e999'), [1, 3]),
    "cpu is a number": (changed(b'"cpu": [2.0]', b'"cpu": 2.0'), [1, 3]),
    "infinite age": (changed(b'"age": ', b'"age": 1e999'), [1, 3]),
    "unknown field": (changed(b"}", b', "memory": {"x": 1}}'), [1, 3]),
    "infinite memory": (changed(b"}", b', "memory": {"total": 1e999, "used": 1, "available": 1}}'), [1, 3]),
}


@pytest.mark.parametrize("damage", BAD_HEADERS)
def test_unreadable_spool_is_set_aside(damage: str, tmp_path: Path, events: list[str]) -> None:
    """A former release's spool with a malformed header is logged and renamed, and the agent starts without it."""
    damaged = b"".join(BAD_HEADERS[damage](lines()))
    (tmp_path / "spool").write_bytes(damaged)
    spool = SpoolFile(tmp_path).load(100, 5.0)
    assert (len(spool), spool.last) == (0, 0)
    assert events == ["spool_unreadable"]
    assert (tmp_path / "spool.bad").read_bytes() == damaged
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("damage", DAMAGED_SAMPLES)
def test_damaged_samples_are_skipped(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged samples of a former release are skipped and logged; the others are kept, and a copy of the file."""
    records: list[tuple[str, str]] = []
    monkeypatch.setattr("frota.logs.log.record", lambda _level, *record, **_: records.append(record))
    change, expected = DAMAGED_SAMPLES[damage]
    damaged = b"".join(change(lines()))
    (tmp_path / "spool").write_bytes(damaged)
    spool = SpoolFile(tmp_path).load(100, 5.0)
    assert (numbers(spool), spool.last) == (expected, 3)
    assert [event for event, _ in records] == ["spool_corrupted"]
    assert records[0][1].isprintable()
    assert (tmp_path / "spool.bad").read_bytes() == damaged
    assert not (tmp_path / "spool").exists()


def test_date_jump_within_a_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the date jumps between two agents of one boot, samples keep their ages."""
    folder, now = loaded(tmp_path), boottime()
    folder.save(filled(1))
    for jump in (31 * 86400.0, -31 * 86400.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
        monkeypatch.setattr(spool_module, "boottime", lambda: now + 50)
        monkeypatch.setattr(spool_file_module, "boottime", lambda: now + 50)
        ((_, age, _),) = folder.load(100, 5.0).after(0, 1)
        assert age == pytest.approx(50, abs=5)


def test_date_jump_over_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the date jumps by a month over a reboot, no sample is dropped as too old."""
    save(filled(3), tmp_path)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 40 * 86400)
    spool = SpoolFile(tmp_path, boot_id_file=tmp_path / "no boot id").load(100, 5.0)
    assert spool.add(sample(4)) == 0
    assert numbers(spool) == [1, 2, 3, 4]
    assert all(age < 29 * 86400 for _, age, _ in spool.after(0, 9))


def test_former_spool_is_converted(tmp_path: Path) -> None:
    """A valid spool of a former release is read whole, into the outbox: the tests of damaged ones start from it."""
    (tmp_path / "spool").write_bytes(b"".join(lines()))
    spool_file = SpoolFile(tmp_path)
    assert numbers(spool_file.load(100, 5.0)) == [1, 2, 3]
    spool_file.close()
    assert not (tmp_path / "spool").exists()
    assert not (tmp_path / "spool.bad").exists()
    assert numbers(SpoolFile(tmp_path).load(100, 5.0)) == [1, 2, 3]


class Killed(BaseException):
    """Ends the process."""


@pytest.mark.parametrize(("target", "name"), [(Outbox, "replace"), (Path, "unlink"), (files, "sync_folder")])
def test_kill_during_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, name: str) -> None:
    """A kill after a step of the conversion of a former release's spool neither loses nor doubles a sample."""
    (tmp_path / "spool").write_bytes(b"".join(lines()))
    step = getattr(target, name)

    def kill(*args: object, **options: object) -> None:
        step(*args, **options)
        raise Killed

    spool_file = SpoolFile(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(target, name, kill)
        with pytest.raises(Killed):
            spool_file.load(100, 5.0)
    spool_file.close()
    spool = SpoolFile(tmp_path).load(100, 5.0)
    assert (numbers(spool), spool.run, spool.last) == ([1, 2, 3], "ab" * 16, 3)


def test_damaged_outbox(tmp_path: Path, events: list[str]) -> None:
    """Damaged lines of the outbox are skipped and logged; without the run's line the samples get a new run."""
    save(filled(3), tmp_path)
    content = (tmp_path / "outbox").read_bytes()
    (tmp_path / "outbox").write_bytes(content.replace(b'"n": 2', b'"n": 7').replace(b'"run"', b'"rum"'))
    spool = SpoolFile(tmp_path).load(100, 5.0)
    assert numbers(spool) == [1, 2]
    assert [sample.mean for _, _, sample in spool.after(0, 9)] == [1.0, 3.0]
    assert events == ["spool_corrupted"]
    assert (tmp_path / "outbox.bad").exists()


def test_unreadable_outbox_is_set_aside(tmp_path: Path, events: list[str]) -> None:
    """An outbox that cannot be read is logged and renamed, and the agent starts without it."""
    (tmp_path / "outbox").mkdir()
    assert len(SpoolFile(tmp_path).load(100, 5.0)) == 0
    assert events == ["spool_unreadable"]
    assert (tmp_path / "outbox.bad").is_dir()


def test_failed_save_keeps_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save that fails leaves the former file as it was."""
    folder = loaded(tmp_path)
    folder.save(filled(1))
    before = (tmp_path / "outbox").read_bytes()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.save(filled(50))
    assert (tmp_path / "outbox").read_bytes() == before


def test_save_and_load_are_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving and loading sync the files and the folder, so that they survive a power failure."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink().name))
    folder = loaded(tmp_path)
    assert synced == ["numbers", tmp_path.name]
    folder.save(filled(1))
    assert synced[2:4] == ["outbox.new", tmp_path.name]  # the file, its name
    assert synced[-1] == tmp_path.name  # the removal of `numbers`


def test_folder_without_write_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no file can be created in the state folder, the agent does not start and says what to do."""
    folder = SpoolFile(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StateError, match="Permission denied; remove it, or choose another --state-dir"):
        folder.load(100, 5.0)


def test_save_leaves_one_regular_file(tmp_path: Path) -> None:
    """A save leaves a regular file and no temporary one."""
    save(filled(3), tmp_path)
    assert stat.S_ISREG((tmp_path / "outbox").stat().st_mode)
    assert not (tmp_path / "outbox.new").exists()
