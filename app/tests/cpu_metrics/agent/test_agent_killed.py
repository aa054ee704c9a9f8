"""What an agent leaves that is killed: its numbers, and what has waited for long."""

import os
import time
from pathlib import Path

import pytest

from frota.cpu_metrics.agent import sequence as sequence_module
from frota.cpu_metrics.agent import spool as spool_module
from frota.cpu_metrics.agent.spool import Spool
from frota.cpu_metrics.agent.spool_file import SpoolFile
from frota.cpu_metrics.messages import Sample

INTERVAL = 5.0


class Clock:
    """The time that passes for agents."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(spool_module, "boottime", lambda: self.now)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Agent:
    """Does with its folder what an agent does, and can be killed."""

    def __init__(self, folder: Path, limit: int = 720) -> None:
        self.folder = SpoolFile(folder)
        self.spool = self.folder.load(limit, INTERVAL)

    def measure(self, clock: Clock, count: int, *, acknowledged: bool = False) -> None:
        for _ in range(count):
            clock.now += INTERVAL
            self.spool.add(Sample((1.0,), 1.0))
            self.folder.checkpoint(self.spool, INTERVAL)
            if acknowledged:
                self.spool.acknowledge(self.spool.last)

    def numbers(self) -> list[int]:
        return [number for number, _, _ in self.spool.after(0, 100_000)]

    def killed(self) -> None:
        self.folder.close()

    def stopped(self) -> None:
        self.folder.save(self.spool)
        self.folder.close()


def test_the_run_goes_on_behind_every_number_that_was_used(tmp_path: Path, clock: Clock) -> None:
    agent = Agent(tmp_path)
    run = agent.spool.run
    agent.measure(clock, 10, acknowledged=True)
    agent.measure(clock, 2)
    agent.killed()
    again = Agent(tmp_path)
    assert (again.spool.run, again.spool.last, again.spool.acked) == (run, 12, 10)
    again.measure(clock, 1)
    assert again.numbers() == [13]
    again.killed()
    assert Agent(tmp_path).spool.last == 13


def test_what_has_waited_for_long_is_there_after_a_kill(tmp_path: Path, clock: Clock) -> None:
    agent = Agent(tmp_path)
    agent.measure(clock, 100, acknowledged=True)
    agent.measure(clock, 100)
    agent.killed()
    again = Agent(tmp_path)
    kept = again.numbers()
    assert kept == list(range(101, kept[-1] + 1))
    assert 200 - 30 / INTERVAL < kept[-1] <= 200
    again.measure(clock, 1)
    assert again.numbers() == [*kept, 201]
    assert again.spool.after(0, 1)[0][1] == pytest.approx(100 * INTERVAL, abs=60)


def test_an_agent_that_was_killed_twice_has_still_what_waits(tmp_path: Path, clock: Clock) -> None:
    agent = Agent(tmp_path)
    agent.measure(clock, 50)
    agent.killed()
    again = Agent(tmp_path)
    kept = again.numbers()
    again.killed()
    third = Agent(tmp_path)
    assert third.numbers() == kept
    third.stopped()
    assert Agent(tmp_path).numbers() == kept


def test_what_the_server_has_got_meanwhile_is_not_sent_again(tmp_path: Path, clock: Clock) -> None:
    agent = Agent(tmp_path)
    agent.measure(clock, 50)
    agent.spool.acknowledge(50)
    agent.measure(clock, 1)
    assert not (tmp_path / "spool").exists()
    agent.killed()
    again = Agent(tmp_path)
    assert (again.numbers(), again.spool.last) == ([], 51)


@pytest.mark.parametrize("waiting", [720, 20_000])
def test_what_waits_is_written_seldom_and_the_more_seldom_the_more_there_is(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    agent = Agent(tmp_path, limit=waiting)
    for _ in range(waiting):
        agent.spool.add(Sample((1.0,), 1.0))
    clock.now += 60
    written: list[int] = []
    monkeypatch.setattr(agent.folder, "_write", lambda spool: written.append(spool.last))
    agent.folder.checkpoint(agent.spool, INTERVAL)
    agent.folder._saved = agent.spool.run, agent.spool.last
    for _ in range(waiting):
        clock.now += INTERVAL
        agent.spool.add(Sample((1.0,), 1.0))
        agent.folder.checkpoint(agent.spool, INTERVAL)
        if len(written) > 1:
            break
    assert written[1] - written[0] == waiting // 60 + (waiting % 60 > 0)


def test_nothing_but_the_number_is_written_while_the_server_acknowledges_and_that_not_to_the_disk(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path)

    def never(_: int) -> None:
        raise AssertionError("a sync")

    monkeypatch.setattr(os, "fsync", never)
    agent.measure(clock, 100, acknowledged=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "numbers"]


def test_after_a_crash_of_the_computer_numbers_go_on_behind_all_that_can_have_been_used(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path)
    run = agent.spool.run
    agent.measure(clock, 10, acknowledged=True)
    agent.killed()
    monkeypatch.setattr(sequence_module, "BOOT_ID_FILE", tmp_path / "boot")
    (tmp_path / "boot").write_text("another\n", encoding="ascii")
    again = Agent(tmp_path)
    assert (again.spool.run, again.spool.last) == (run, 10 + 60 / INTERVAL)


def test_after_a_stop_and_a_reboot_nothing_is_left_out(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path)
    agent.measure(clock, 10)
    agent.stopped()
    assert not (tmp_path / "numbers").exists()
    monkeypatch.setattr(sequence_module, "BOOT_ID_FILE", tmp_path / "boot")
    (tmp_path / "boot").write_text("another\n", encoding="ascii")
    assert Agent(tmp_path).spool.last == 10


@pytest.mark.parametrize(
    "hurt", [b"", b"\x00" * 132, b"x y 1 2 3\n", b"ab" * 16 + b" boot 5 4 3\n", b"ab" * 16 + b" boot 5 6 5\n", b"\xff"]
)
def test_numbers_that_make_no_sense_begin_a_new_run(tmp_path: Path, clock: Clock, hurt: bytes) -> None:
    agent = Agent(tmp_path)
    agent.measure(clock, 10, acknowledged=True)
    agent.killed()
    (tmp_path / "numbers").write_bytes(hurt)
    again = Agent(tmp_path)
    assert again.spool.run != agent.spool.run
    assert again.spool.last == 0


def test_what_waited_in_another_run_than_that_of_the_numbers_is_numbered_anew(tmp_path: Path, clock: Clock) -> None:
    agent = Agent(tmp_path)
    agent.measure(clock, 50)
    old = agent.spool.run
    agent.spool.start_new_run()
    agent.folder._next_write = float("inf")
    agent.measure(clock, 1)
    new = agent.spool.run
    agent.killed()
    again = Agent(tmp_path)
    assert again.spool.run not in (old, new)
    kept = again.numbers()
    assert kept == list(range(1, len(kept) + 1))
    assert len(kept) > 40


def test_numbers_that_are_left_out_survive_being_written(tmp_path: Path) -> None:
    spool = Spool.resumed(10, "ab" * 16, 9, 2, [(3, 1.0, Sample((1.0,), 1.0)), (7, 0.5, Sample((2.0,), 2.0))])
    folder = SpoolFile(tmp_path)
    folder.save(spool)
    folder.close()
    again = Agent(tmp_path)
    assert (again.numbers(), again.spool.last, again.spool.acked) == ([3, 7], 9, 2)
