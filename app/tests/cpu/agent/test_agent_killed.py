"""What an agent that was killed leaves to the next: its sequence numbers, and samples that waited for long."""

import os
import time
from pathlib import Path

import pytest

from frota.cpu.agent import spool as spool_module
from frota.cpu.agent import spool_file as spool_file_module
from frota.cpu.agent.sequence import BOOT_ID_FILE
from frota.cpu.agent.spool import Spool
from frota.cpu.agent.spool_file import SpoolFile
from frota.cpu.messages import Sample

INTERVAL = 5.0


class Clock:
    """The monotonic and the boot clock of the agents."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(spool_module, "boottime", lambda: self.now)
        monkeypatch.setattr(spool_file_module, "boottime", lambda: self.now)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def other_boot(tmp_path: Path) -> Path:
    """Give the file with the boot id of another boot."""
    path = tmp_path / "boot_id"
    path.write_text("another\n", encoding="ascii")
    return path


class Agent:
    """Uses the state folder as an agent does."""

    def __init__(self, folder: Path, limit: int = 720, boot_id_file: Path = BOOT_ID_FILE) -> None:
        self.spool_file = SpoolFile(folder, boot_id_file)
        self.spool = self.spool_file.load(limit, INTERVAL)

    def measure(self, clock: Clock, count: int, *, acknowledged: bool = False) -> None:
        for _ in range(count):
            clock.now += INTERVAL
            self.spool.add(Sample((1.0,), 1.0))
            self.spool_file.checkpoint(self.spool, INTERVAL)
            if acknowledged:
                self.spool.acknowledge(self.spool.last)

    def numbers(self) -> list[int]:
        return [number for number, _, _ in self.spool.after(0, 100_000)]

    def kill(self) -> None:
        self.spool_file.close()

    def stop(self) -> None:
        self.spool_file.save(self.spool)
        self.spool_file.close()


def test_run_continues_after_a_kill(tmp_path: Path, clock: Clock) -> None:
    """After a kill the run continues after the last number used, also if nothing is acknowledged."""
    agent = Agent(tmp_path)
    run = agent.spool.run
    agent.measure(clock, 10, acknowledged=True)
    agent.measure(clock, 2)
    agent.kill()
    second = Agent(tmp_path)
    assert (second.spool.run, second.spool.last, second.spool.acked) == (run, 12, 10)
    second.measure(clock, 1)
    assert second.numbers() == [13]
    second.kill()
    assert Agent(tmp_path).spool.last == 13


def test_waiting_samples_survive_a_kill(tmp_path: Path, clock: Clock) -> None:
    """A kill loses at most 30 s of the samples that waited for the server; numbers leave a gap for them."""
    agent = Agent(tmp_path)
    agent.measure(clock, 100, acknowledged=True)
    agent.measure(clock, 100)
    agent.kill()
    second = Agent(tmp_path)
    numbers = second.numbers()
    assert numbers == list(range(101, numbers[-1] + 1))
    assert 200 - 30 / INTERVAL < numbers[-1] <= 200
    second.measure(clock, 1)
    assert second.numbers() == [*numbers, 201]
    assert second.spool.after(0, 1)[0][1] == pytest.approx(100 * INTERVAL, abs=60)


def test_waiting_samples_survive_two_kills(tmp_path: Path, clock: Clock) -> None:
    """Samples in the file survive a second kill and a stop."""
    agent = Agent(tmp_path)
    agent.measure(clock, 50)
    agent.kill()
    second = Agent(tmp_path)
    numbers = second.numbers()
    second.kill()
    third = Agent(tmp_path)
    assert third.numbers() == numbers
    third.stop()
    assert Agent(tmp_path).numbers() == numbers


def test_acknowledged_samples_leave_the_file(tmp_path: Path, clock: Clock) -> None:
    """Once the server acknowledges again, the file is deleted, so that a kill brings no sample back."""
    agent = Agent(tmp_path)
    agent.measure(clock, 50)
    agent.spool.acknowledge(50)
    agent.measure(clock, 1)
    assert not (tmp_path / "outbox").exists()
    agent.kill()
    second = Agent(tmp_path)
    assert (second.numbers(), second.spool.last) == ([], 51)


def test_only_new_samples_are_written(tmp_path: Path, clock: Clock) -> None:
    """While the server is unavailable, the samples of the last 30 s are appended to the file."""
    agent = Agent(tmp_path, limit=20_000)
    for _ in range(20_000):
        agent.spool.add(Sample((1.0,), 1.0))
    clock.now += 60
    agent.spool_file.checkpoint(agent.spool, INTERVAL)
    before = (tmp_path / "outbox").read_bytes()
    agent.measure(clock, 12)
    after = (tmp_path / "outbox").read_bytes()
    assert after.startswith(before)
    assert after[len(before) :].count(b"\n") in range(12, 15)  # and the oldest are dropped
    agent.kill()
    assert Agent(tmp_path, limit=20_000).numbers()[-1] == 20_012


def test_no_fsync_while_the_server_acknowledges(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the server acknowledges, only the sequence number is written, without fsync."""
    agent = Agent(tmp_path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    agent.measure(clock, 100, acknowledged=True)
    assert synced == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "numbers"]


def test_numbers_skip_a_minute_after_a_crash(tmp_path: Path, clock: Clock, other_boot: Path) -> None:
    """After a crash of the computer numbers continue after all that may have been used in the last minute."""
    agent = Agent(tmp_path)
    run = agent.spool.run
    agent.measure(clock, 10, acknowledged=True)
    agent.kill()
    second = Agent(tmp_path, boot_id_file=other_boot)
    assert (second.spool.run, second.spool.last) == (run, 10 + 60 / INTERVAL)


def test_numbers_have_no_gap_after_a_reboot(tmp_path: Path, clock: Clock, other_boot: Path) -> None:
    """After a stop and a reboot numbers continue without a gap."""
    agent = Agent(tmp_path)
    agent.measure(clock, 10)
    agent.stop()
    assert not (tmp_path / "numbers").exists()
    assert Agent(tmp_path, boot_id_file=other_boot).spool.last == 10


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 132, b"x y 1 2 3\n", b"ab" * 16 + b" boot 5 4 3\n", b"ab" * 16 + b" boot 5 6 5\n", b"\xff"],
)
def test_malformed_numbers_start_a_new_run(tmp_path: Path, clock: Clock, content: bytes) -> None:
    """A malformed sequence file starts a new run."""
    agent = Agent(tmp_path)
    agent.measure(clock, 10, acknowledged=True)
    agent.kill()
    (tmp_path / "numbers").write_bytes(content)
    second = Agent(tmp_path)
    assert second.spool.run != agent.spool.run
    assert second.spool.last == 0


def test_samples_of_another_run_are_renumbered(tmp_path: Path, clock: Clock) -> None:
    """If the samples in the file are of another run than the sequence file, they get numbers of a new run."""
    agent = Agent(tmp_path)
    agent.measure(clock, 50)
    first_run = agent.spool.run
    agent.spool.start_new_run()
    agent.measure(clock, 1)  # too soon for another write of the samples
    second_run = agent.spool.run
    agent.kill()
    second = Agent(tmp_path)
    assert second.spool.run not in (first_run, second_run)
    numbers = second.numbers()
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 40


def test_gaps_survive_a_stop(tmp_path: Path) -> None:
    """The file keeps gaps in the numbers."""
    spool = Spool.resumed(10, "ab" * 16, 9, 2, [(3, 1.0, Sample((1.0,), 1.0)), (7, 0.5, Sample((2.0,), 2.0))])
    spool_file = SpoolFile(tmp_path)
    spool_file.load(10, INTERVAL)
    spool_file.save(spool)
    spool_file.close()
    agent = Agent(tmp_path)
    assert (agent.numbers(), agent.spool.last, agent.spool.acked) == ([3, 7], 9, 2)
