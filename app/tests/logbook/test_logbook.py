"""The asyncio front of a log: answers come in order, after the sync, and tell the truth about failures."""

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from frota.logbook import reading
from frota.logbook.logbook import Logbook
from frota.logbook.store import Limits, NoRoom, Store

Answers = list[tuple[str, bool]]


class Disk:
    """Stands in for os.write and os.fdatasync: can be made to wait, to be full, to be broken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.go.set()
        self.full = self.broken = False
        self.syncs = 0
        self._write, self._sync = os.write, os.fdatasync
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(os, "fdatasync", self.sync)

    def write(self, fd: int, data: bytes) -> int:
        if self.full and threading.current_thread().name == "commit":
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._write(fd, data)

    def sync(self, fd: int) -> None:
        assert self.go.wait(10)
        if self.broken:
            raise OSError(errno.EIO, "Input/output error")
        self.syncs += 1
        self._sync(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def run(folder: Path, use: Callable[[Logbook, Answers], Awaitable[None]]) -> Answers:
    """Use a log, close it, and return who was answered, and whether with success."""
    answers: Answers = []

    async def main() -> None:
        fatal = asyncio.get_running_loop().create_future()
        book = Logbook(Store(folder, Limits()), asyncio.get_running_loop(), fatal.set_result)
        await use(book, answers)
        if fatal.done():
            answers.append(("fatal", False))
        await book.close()

    asyncio.run(asyncio.wait_for(main(), 20))
    return answers


def append(book: Logbook, answers: Answers, name: str) -> None:
    book.append(name.encode(), lambda who, error: answers.append((who, error is None)), name)


def kept(folder: Path) -> list[bytes]:
    return [record.payload for record in reading.records(folder, 1)]


def test_nothing_is_answered_before_the_sync_and_everything_in_order_after_it(tmp_path: Path, disk: Disk) -> None:
    async def use(book: Logbook, answers: Answers) -> None:
        disk.go.clear()
        for name in "abc":
            append(book, answers, name)
            await asyncio.sleep(0)
        book.barrier(lambda who, _: answers.append((who, True)), "barrier")
        append(book, answers, "d")
        assert answers == []
        assert not book.healthy() or book.backlog
        disk.go.set()
        await book.drain()

    names = ["a", "b", "c", "barrier", "d"]
    assert run(tmp_path, use) == [(name, True) for name in names]
    assert kept(tmp_path) == [b"a", b"b", b"c", b"d"]


def test_what_gathers_during_one_sync_shares_the_next(tmp_path: Path, disk: Disk) -> None:
    async def use(book: Logbook, answers: Answers) -> None:
        disk.go.clear()
        append(book, answers, "first")
        await asyncio.sleep(0)
        for number in range(500):
            append(book, answers, str(number))
            await asyncio.sleep(0)
        disk.go.set()
        await book.drain()

    assert len(run(tmp_path, use)) == 501
    assert disk.syncs <= 4


def test_after_a_full_disk_nothing_succeeds_that_was_appended_before_the_failure_was_known(
    tmp_path: Path, disk: Disk
) -> None:
    async def use(book: Logbook, answers: Answers) -> None:
        heard = asyncio.Event()
        disk.full = True

        def failed(name: str, error: NoRoom | None) -> None:
            answers.append((name, error is None))
            disk.full = False  # at once: the disk has room again before the later ones are looked at
            heard.set()

        book.append(b"a", failed, "a")
        await asyncio.sleep(0)
        append(book, answers, "b")
        await heard.wait()
        append(book, answers, "c")
        await book.drain()

    answers = run(tmp_path, use)
    assert answers[0] == ("a", False)
    assert answers[-1] == ("c", True)
    assert kept(tmp_path) == [name.encode() for name, stored in answers if stored]


def test_a_writers_numbers_are_never_durable_with_one_missing_in_between(tmp_path: Path, disk: Disk) -> None:
    async def use(book: Logbook, answers: Answers) -> None:
        writer = uuid4().bytes
        disk.go.clear()
        results: list[bool] = []
        for number in range(1, 30):
            disk.full = number >= 10
            book.append(b"%d" % number, lambda _, error: results.append(error is None), None, writer, number)
            await asyncio.sleep(0)
            if number == 5:
                disk.go.set()
        await book.drain()
        stored = sum(results)
        assert results == [True] * stored + [False] * (29 - stored)
        assert book.last(writer) == stored
        answers.append(("done", True))

    assert run(tmp_path, use) == [("done", True)]


def test_a_failed_sync_answers_nobody_and_is_reported_once(tmp_path: Path, disk: Disk) -> None:
    async def use(book: Logbook, answers: Answers) -> None:
        disk.broken = True
        append(book, answers, "a")
        await book.drain()
        assert not book.healthy()

    assert run(tmp_path, use) == [("fatal", False)]


def test_one_callers_mistake_does_not_cost_the_others_their_answer(tmp_path: Path) -> None:
    async def use(book: Logbook, answers: Answers) -> None:
        book.append(b"x", lambda _, __: 1 / 0, None)  # type: ignore[arg-type]
        append(book, answers, "a")
        await book.drain()

    assert run(tmp_path, use) == [("a", True)]
