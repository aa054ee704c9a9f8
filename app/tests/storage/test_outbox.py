"""The outbox: a record is durable, numbered, in order, and delivered at least once, whatever ends the process."""

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from frota.storage.outbox import COMPACT_BYTES, Outbox

_CALLS = ("write", "fdatasync", "fsync", "ftruncate", "open", "pread", "close", "replace")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of an outbox that does not exist yet."""
    return tmp_path / "outbox"


def stored(path: Path, max_records: int = 100) -> list[tuple[int, bytes]]:
    """Return what another process would read."""
    outbox = Outbox(path, max_records)
    try:
        return outbox.after(0, 1000)
    finally:
        outbox.close()


def filled(path: Path, *payloads: bytes, max_records: int = 100) -> Outbox:
    outbox = Outbox(path, max_records)
    for payload in payloads:
        outbox.append(payload)
    return outbox


def test_records_wait_in_order(path: Path) -> None:
    """Records have ascending numbers from 1, and are read in batches after a number."""
    outbox = filled(path, b"a", b"", b"c d")
    assert outbox.after(0, 9) == [(1, b"a"), (2, b""), (3, b"c d")]
    assert outbox.after(1, 1) == [(2, b"")]
    assert outbox.after(3, 9) == []
    assert (len(outbox), outbox.last) == (3, 3)
    assert stored(path) == outbox.after(0, 9)


def test_acknowledged_records_are_deleted(path: Path) -> None:
    """An acknowledgement deletes all records up to its number, also for the next process."""
    outbox = filled(path, b"a", b"b", b"c")
    assert outbox.acknowledge(2) == 2
    assert outbox.acknowledge(2) == 0
    assert outbox.after(0, 9) == stored(path) == [(3, b"c")]
    outbox.acknowledge(99)
    assert (stored(path), Outbox(path, 9).last) == ([], 3)


def test_no_file_before_the_first_record(path: Path) -> None:
    """An outbox that was not written has no file, and after `clear` neither."""
    outbox = Outbox(path, 9)
    assert outbox.after(0, 9) == []
    assert not path.exists()
    outbox.append(b"a")
    outbox.clear()
    assert (list(path.parent.iterdir()), len(outbox), outbox.last) == ([], 0, 0)
    assert outbox.append(b"b") == 0
    assert stored(path) == [(1, b"b")]


def test_full_outbox_drops_the_oldest(path: Path) -> None:
    """Beyond the limit the oldest records are dropped and counted; another process does not see them again."""
    outbox = filled(path, b"a", b"b", max_records=2)
    assert outbox.append(b"c") == 1
    assert outbox.after(0, 9) == stored(path) == [(2, b"b"), (3, b"c")]
    assert outbox.extend([(number, b"x") for number in range(4, 9)]) == 5
    assert stored(path) == [(7, b"x"), (8, b"x")]
    outbox.max_records = 1
    assert outbox.append(b"y") == 2
    assert stored(path) == [(9, b"y")]


def test_lower_limit_keeps_the_newest(path: Path) -> None:
    """A process with a lower limit reads the newest records."""
    filled(path, b"a", b"b", b"c")
    assert stored(path, 2) == [(2, b"b"), (3, b"c")]


def test_numbers_may_have_gaps(path: Path) -> None:
    """Numbers continue after one that the receiver knows, and none is used twice."""
    outbox = filled(path, b"a")
    outbox.continue_after(7)
    outbox.continue_after(3)
    outbox.append(b"b")
    outbox.extend([(12, b"c")])
    outbox.acknowledge(12)
    outbox.close()
    reopened = Outbox(path, 9)
    reopened.append(b"d")
    assert reopened.after(0, 9) == [(13, b"d")]


def test_facts_are_stored(path: Path) -> None:
    """The owner's facts are there for the next process, also after a compaction."""
    outbox = filled(path, b"a")
    outbox.set("client", "x")
    outbox.set("run", 3)
    outbox.set("client", "y")
    outbox.replace([(5, b"e")], 6, outbox.facts)
    reopened = Outbox(path, 9)
    assert (reopened.facts, reopened.last, reopened.after(0, 9)) == ({"client": "y", "run": 3}, 6, [(5, b"e")])


def test_payload_with_newline_is_rejected(path: Path) -> None:
    """A payload with a newline is a mistake of the caller, and nothing is stored."""
    with pytest.raises(ValueError, match="newline"):
        Outbox(path, 9).append(b"a\nb")
    assert stored(path) == []


def test_size_is_bounded(path: Path) -> None:
    """The file does not grow beyond what waits and a fixed amount, acknowledged or dropped."""
    outbox = Outbox(path, 10)
    for _ in range(3000):
        outbox.append(b"x" * 48)
    assert path.stat().st_size < COMPACT_BYTES + 2000
    for _ in range(3000):
        outbox.append(b"y" * 48)
        outbox.acknowledge(outbox.last)
    assert path.stat().st_size < COMPACT_BYTES + 2000
    assert (outbox.last, stored(path)) == (6000, [])


@pytest.mark.parametrize("cut", range(1, 16))
def test_torn_last_record_is_truncated(path: Path, cut: int) -> None:
    """A record that a crash tore is not read, and the next one is whole."""
    outbox = filled(path, b"a", b"bcde")
    outbox.close()
    os.truncate(path, path.stat().st_size - cut)
    outbox = Outbox(path, 9)
    assert (outbox.after(0, 9), outbox.damaged) == ([(1, b"a")], 0)
    outbox.append(b"f")
    assert stored(path) == [(1, b"a"), (2, b"f")]


@pytest.mark.parametrize("damage", [b"", b"\0" * 512, b"\xff\xfe", b"[" * 5000, b"00000000 + 2 x", b"a b c d"])
def test_damaged_lines_are_skipped(path: Path, damage: bytes) -> None:
    """Damaged lines are skipped and counted once, those after them are read, and a copy of the file stays."""
    filled(path, b"a", b"b", b"c").close()
    lines = path.read_bytes().splitlines()
    content = b"\n".join([damage, lines[0], damage, *lines[1:]]) + b"\n"
    path.write_bytes(content)
    outbox = Outbox(path, 9)
    assert (outbox.after(0, 9), outbox.damaged) == ([(1, b"a"), (2, b"b"), (3, b"c")], 2)
    assert path.with_suffix(".bad").read_bytes() == content
    assert Outbox(path, 9).damaged == 0


def test_every_changed_byte_is_noticed(path: Path) -> None:
    """A changed byte hides at most its own line and the next, and never gives another payload."""
    filled(path, b"first", b"second", b"third").close()
    content, whole = path.read_bytes(), stored(path)
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        records = stored(path)
        assert set(records) < set(whole)
        assert len(records) >= 1


@pytest.mark.parametrize("call", ["write", "fdatasync"])
def test_full_disk_stores_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """An append that fails is told, leaves nothing, and the next one has its number."""
    outbox = filled(path, b"a")
    real = os.write

    def full(fd: int, data: bytes = b"") -> int:
        if data and len(data) > 5:
            return real(fd, data[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space"):
            outbox.append(b"b" * 30)
    assert stored(path) == [(1, b"a")]
    outbox.append(b"c")
    assert outbox.after(0, 9) == stored(path) == [(1, b"a"), (2, b"c")]


def test_full_disk_does_not_stop_delivery(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An acknowledgement holds in this process even if it cannot be written; the next one sends again."""
    outbox = filled(path, b"a", b"b")

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        assert outbox.acknowledge(1) == 1
        assert [number for number, _ in outbox.after(1, 9)] == [2]
    assert stored(path) == [(1, b"a"), (2, b"b")]


def test_records_are_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file and its name are synced, then each append; an acknowledgement needs no sync of its own."""
    synced: list[str] = []

    def note(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "fdatasync", note)
    outbox = filled(path, b"a")
    assert synced == [path.parent.name, "outbox", "outbox"]
    outbox.append(b"b")
    outbox.acknowledge(1)
    assert synced[3:] == ["outbox"]
    outbox.replace([], 2)
    assert synced[4:6] == ["outbox.new", path.parent.name]


class Killed(BaseException):
    """Ends the process at a system call."""


class Killer:
    """Ends the process before or after its n-th system call, or in the middle of a write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, when: int, *, torn: bool) -> None:
        self.when, self.torn = when, torn
        for name in _CALLS:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            self.when -= 1
            if self.when < 0:
                if self.when == -1 and self.torn and call.__name__ == "write":
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                raise Killed
            return call(*args, **options)

        return wrapped


def _work(outbox: Outbox, confirmed: list[int], acknowledged: list[int]) -> Iterator[None]:
    """Append and acknowledge, with compactions."""
    for number in range(1, 9):
        outbox.append(b"%d" % number)
        confirmed.append(number)
        if number % 3 == 0:
            acknowledged.append(number - 1)
            outbox.acknowledge(number - 1)
        yield


@pytest.mark.parametrize("torn", [False, True])
def test_kill_at_every_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool) -> None:
    """Wherever a process is killed, the next one has every confirmed record that was not acknowledged, once."""
    for when in range(10_000):
        path = tmp_path / str(when) / "outbox"
        path.parent.mkdir()
        confirmed: list[int] = []
        acknowledged = [0]
        try:
            with monkeypatch.context() as patch:
                Killer(patch, when, torn=torn)
                list(_work(Outbox(path, 100, compact_bytes=30), confirmed, acknowledged))
        except Killed:
            pass
        else:
            assert when > 40
            return
        records = stored(path)
        numbers = [number for number, _ in records]
        assert numbers == sorted(set(numbers))
        assert set(range(acknowledged[-1] + 1, len(confirmed) + 1)) <= set(numbers)
        assert all(payload == b"%d" % number for number, payload in records)
        assert max(numbers, default=0) <= len(confirmed) + 1
        outbox = Outbox(path, 100)
        assert outbox.damaged == 0
        outbox.append(b"next")
        assert outbox.last > len(confirmed)
        outbox.close()


_APPENDING = """
import sys
from pathlib import Path
from frota.storage.outbox import COMPACT_BYTES, Outbox
outbox = Outbox(Path(sys.argv[1]), 1000)
while True:
    outbox.append(b"x" * 500)
    print(outbox.last, flush=True)
    if outbox.last % 7 == 0:
        outbox.acknowledge(outbox.last - 3)
"""


def test_killed_process(path: Path) -> None:
    """After kill -9 of a process that appends, the next one continues, with all that it confirmed."""
    last = 0
    for _ in range(5):
        command = [sys.executable, "-c", _APPENDING, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            for _ in range(random.randint(1, 300)):
                line = process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            acknowledged = process.stdout.read().split(b"\n")[:-1]
        confirmed = int(acknowledged[-1] if acknowledged else line)
        assert confirmed > last
        outbox = Outbox(path, 1000)
        last = outbox.last
        assert confirmed <= last <= confirmed + 1
        assert [number for number, _ in outbox.after(0, 1000)][-1:] in ([last], [])
        assert outbox.damaged == 0
        outbox.close()
