"""What waits for the server: numbered, bounded, and the same after a stop and a start."""

import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from frota.core.clock import boottime
from frota.core.errors import StateError
from frota.cpu_metrics.agent import sequence as sequence_module
from frota.cpu_metrics.agent import spool as spool_module
from frota.cpu_metrics.agent import spool_file as spool_file_module
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.agent.spool_file import SpoolFile
from frota.cpu_metrics.messages import Disk, Memory, Network, Own, Sample

WHOLE = Sample(
    (37.3, 31.5), 34.4, (0.1, 0.2, 0.3), Memory(3, 2, 1), Disk(4, 3, 2.5, 1.5), Network(1.5, 2.5, 3.5, 4.5), Own(0.5, 9)
)


def sample(mean: float) -> Sample:
    return Sample((float(mean),), float(mean))


def filled(count: int, limit: int = 100) -> Spool:
    spool = Spool(limit)
    for number in range(1, count + 1):
        spool.add(sample(number % 100))
    return spool


def numbers(spool: Spool, after: int = 0, most: int = 1000) -> list[int]:
    return [number for number, _, _ in spool.after(after, most)]


def test_samples_are_numbered_from_1_and_kept_until_they_are_acknowledged() -> None:
    spool = filled(5)
    assert numbers(spool) == [1, 2, 3, 4, 5]
    spool.acknowledge(3)
    assert numbers(spool) == [4, 5]
    assert numbers(spool, after=4) == [5]
    assert numbers(spool, most=1) == [4]
    spool.acknowledge(2)  # late
    assert (len(spool), spool.acked, spool.last) == (2, 3, 5)


def test_the_oldest_go_first_and_numbers_go_on() -> None:
    spool = filled(3, limit=3)
    assert spool.add(sample(4)) == 1
    assert numbers(spool) == [2, 3, 4]
    spool.limit = 1
    assert spool.add(sample(5)) == 3
    assert numbers(spool) == [5]


def test_what_is_older_than_a_server_takes_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(3)
    now = boottime()
    monkeypatch.setattr(spool_module, "boottime", lambda: now + 31 * 86400)
    assert spool.add(sample(4)) == 3
    assert numbers(spool) == [4]


def test_an_age_grows_by_a_clock_that_nobody_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(1)
    now = boottime()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(spool_module, "boottime", lambda: now + 7)
    ((_, age, _),) = spool.after(0, 1)
    assert age == pytest.approx(7, abs=1)


def test_a_stop_and_a_start_keep_run_numbers_samples_and_ages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(100)
    for _ in range(3):
        spool.add(WHOLE)
    spool.acknowledge(1)
    folder = SpoolFile(tmp_path)
    folder.save(spool)
    folder.close()
    left = time.time()
    monkeypatch.setattr(sequence_module, "BOOT_ID_FILE", tmp_path / "another")
    monkeypatch.setattr(time, "time", lambda: left + 100)
    again = SpoolFile(tmp_path).load(100, 5.0)
    assert (again.run, again.acked, again.last) == (spool.run, 1, 3)
    assert [(number, one) for number, _, one in again.after(0, 9)] == [(2, WHOLE), (3, WHOLE)]
    assert all(age == pytest.approx(100, abs=5) for _, age, _ in again.after(0, 9))


def test_a_clock_that_was_set_back_makes_no_sample_younger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, spool = SpoolFile(tmp_path), filled(1)
    now = boottime()
    monkeypatch.setattr(spool_module, "boottime", lambda: now + 50)
    folder.save(spool)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    ((_, age, _),) = folder.load(100, 5.0).after(0, 1)
    assert age == pytest.approx(50, abs=5)


def test_with_nothing_waiting_the_numbers_go_on_all_the_same(tmp_path: Path) -> None:
    spool = filled(5)
    spool.acknowledge(5)
    folder = SpoolFile(tmp_path)
    folder.save(spool)
    again = folder.load(100, 5.0)
    again.add(sample(1))
    assert (again.run, numbers(again)) == (spool.run, [6])


def test_a_lower_limit_at_the_next_start_keeps_the_newest(tmp_path: Path) -> None:
    folder = SpoolFile(tmp_path)
    folder.save(filled(5))
    assert numbers(folder.load(2, 5.0)) == [4, 5]


def test_two_agents_never_have_one_folder(tmp_path: Path) -> None:
    first = SpoolFile(tmp_path)
    with pytest.raises(StateError, match=f"in use by process {os.getpid()}"):
        SpoolFile(tmp_path)
    first.close()
    SpoolFile(tmp_path).close()


def lines(tmp_path: Path) -> list[bytes]:
    folder = SpoolFile(tmp_path)
    folder.save(filled(3))
    folder.close()
    return (tmp_path / "spool").read_bytes().splitlines(keepends=True)


HURT: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "empty": lambda lines: lines[:0],
    "no object": lambda lines: [b"[]\n", *lines[1:]],
    "not JSON": lambda lines: [b"\xff\x00\n", *lines[1:]],
    "deep": lambda lines: [b"[" * 60_000 + b"\n", *lines[1:]],
    "other version": lambda lines: [lines[0].replace(b'"frota": 1', b'"frota": 2'), *lines[1:]],
    "run": lambda lines: [lines[0].replace(b'"run": "', b'"run": "x'), *lines[1:]],
    "negative": lambda lines: [lines[0].replace(b'"acked": 0', b'"acked": -1'), *lines[1:]],
    "acknowledged what was never": lambda lines: [lines[0].replace(b'"acked": 0', b'"acked": 9'), *lines[1:]],
    "no number": lambda lines: [lines[0].replace(b'"next": 4', b'"next": "4"'), *lines[1:]],
    "a time beyond all": lambda lines: [re.sub(rb'"saved": [0-9.]+, .*', b'"saved": 1e999}', lines[0]), *lines[1:]],
}


def changed(before: bytes, after: bytes) -> Callable[[list[bytes]], list[bytes]]:
    """Return what changes something in the line of sample 2."""

    def change(lines: list[bytes]) -> list[bytes]:
        assert before in lines[2]
        return [*lines[:2], lines[2].replace(before, after), *lines[3:]]

    return change


# What is done to one of three samples, and which are left.
DAMAGED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[int]]] = {
    "cut": (lambda lines: lines[:-1], [1, 2]),
    "cut within a line": (lambda lines: [*lines[:-1], lines[-1][:10]], [1, 2]),
    "one too many": (lambda lines: [*lines, lines[-1]], [1, 2, 3]),
    "other numbers": (lambda lines: [lines[0], *lines[2:], lines[1]], [2, 3]),
    "endless": (lambda lines: [lines[0], b" " * 1_000_000 + lines[1], *lines[2:]], [1, 2, 3]),
    "zeros": (lambda lines: [*lines[:2], bytes(4096) + b"\n", *lines[3:]], [1, 3]),
    "NaN": (changed(b'"mean": 2.0', b'"mean": NaN'), [1, 3]),
    "a float beyond all": (changed(b'"mean": 2.0', b'"mean": 1e999'), [1, 3]),
    "a text": (changed(b'"mean": 2.0', b'"mean": "2.0"'), [1, 3]),
    "a flag": (changed(b'"cpu": [2.0]', b'"cpu": [true]'), [1, 3]),
    "no percentage": (changed(b'"cpu": [2.0]', b'"cpu": [300.0]'), [1, 3]),
    "no cores": (changed(b'"cpu": [2.0]', b'"cpu": []'), [1, 3]),
    "a load beyond all": (changed(b"}", b', "load": [1e999, 0, 0]}'), [1, 3]),
    "an age beyond all": (changed(b'"age": ', b'"age": 1e999'), [1, 3]),
    "unknown part": (changed(b"}", b', "memory": {"x": 1}}'), [1, 3]),
    "memory beyond all": (changed(b"}", b', "memory": {"total": 1e999, "used": 1, "available": 1}}'), [1, 3]),
    "negative": (changed(b"}", b', "own": {"cpu": -1.0, "memory": 1}}'), [1, 3]),
}


@pytest.mark.parametrize("how", HURT)
def test_a_file_that_makes_no_sense_is_told_and_set_aside(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("frota.logs.log.record", lambda *words, **_: told.append(words[1]))
    hurt = b"".join(HURT[how](lines(tmp_path)))
    (tmp_path / "spool").write_bytes(hurt)
    spool = SpoolFile(tmp_path).load(100, 5.0)
    assert (len(spool), spool.last) == (0, 0)
    assert told == ["spool_unreadable"]
    assert (tmp_path / "spool.bad").read_bytes() == hurt
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("how", DAMAGED)
def test_a_sample_that_is_damaged_is_left_out_and_told_of_and_the_others_are_kept(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    monkeypatch.setattr("frota.logs.log.record", lambda *words, **_: told.append(words[1:]))
    damage, left = DAMAGED[how]
    damaged = b"".join(damage(lines(tmp_path)))
    (tmp_path / "spool").write_bytes(damaged)
    spool = SpoolFile(tmp_path).load(100, 5.0)
    assert (numbers(spool), spool.last) == (left, 3)
    assert [event for event, _ in told] == ["spool_corrupted"]
    assert told[0][1].isprintable()
    assert (tmp_path / "spool.bad").read_bytes() == damaged
    assert (tmp_path / "spool").exists()


def test_a_clock_that_leaps_between_two_agents_of_one_boot_makes_no_sample_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, now = SpoolFile(tmp_path), boottime()
    folder.save(filled(1))
    for leap in (31 * 86400.0, -31 * 86400.0):
        monkeypatch.setattr(time, "time", lambda leap=leap: 1.7e9 + leap)
        monkeypatch.setattr(spool_module, "boottime", lambda: now + 50)
        monkeypatch.setattr(spool_file_module, "boottime", lambda: now + 50)
        ((_, age, _),) = folder.load(100, 5.0).after(0, 1)
        assert age == pytest.approx(50, abs=5)


def test_a_clock_that_leaps_a_month_over_a_reboot_costs_no_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SpoolFile(tmp_path)
    folder.save(filled(3))
    now = time.time()
    monkeypatch.setattr(sequence_module, "BOOT_ID_FILE", tmp_path / "another")
    monkeypatch.setattr(time, "time", lambda: now + 40 * 86400)
    spool = folder.load(100, 5.0)
    assert spool.add(sample(4)) == 0
    assert numbers(spool) == [1, 2, 3, 4]
    assert all(age < 29 * 86400 for _, age, _ in spool.after(0, 9))


def test_a_file_as_it_should_be_is_taken(tmp_path: Path) -> None:
    lines(tmp_path)
    assert len(SpoolFile(tmp_path).load(100, 5.0)) == 3  # or the test above could not fail
    assert not (tmp_path / "spool.bad").exists()


def test_what_is_left_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SpoolFile(tmp_path)
    folder.save(filled(1))
    before = (tmp_path / "spool").read_bytes()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.save(filled(50))
    assert (tmp_path / "spool").read_bytes() == before


def test_what_is_left_and_that_it_is_taken_survive_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink().name))
    folder = SpoolFile(tmp_path)
    folder.save(filled(1))
    assert synced == ["spool.new", tmp_path.name, tmp_path.name]  # the spool, its name, and that `numbers` is gone
    folder.load(100, 5.0)
    assert synced[3:] == ["numbers", tmp_path.name]


def test_a_folder_where_no_file_can_be_made_is_no_folder_for_an_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines(tmp_path)
    folder = SpoolFile(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StateError, match="Permission denied; remove it, or choose another --state-dir"):
        folder.load(100, 5.0)


def test_the_file_of_a_spool_is_a_plain_file(tmp_path: Path) -> None:
    lines(tmp_path)
    assert stat.S_ISREG((tmp_path / "spool").stat().st_mode)
    assert not (tmp_path / "spool.new").exists()
