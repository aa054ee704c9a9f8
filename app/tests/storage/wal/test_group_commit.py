"""The asyncio front of a log: answers come in order, after the sync, and tell the truth about failures."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from frota.storage.wal.group_commit import WriteAheadLog
from frota.storage.wal.log import Limits, LogFiles
from frota.storage.wal.reader import Reader
from support import PATIENCE, Disk

Answers = list[tuple[str, bool]]


def run(folder: Path, use: Callable[[WriteAheadLog, Answers], Awaitable[None]]) -> Answers:
    """Use a log, close it, and return who was answered, and whether with success."""
    answers: Answers = []

    async def main() -> None:
        fatal = asyncio.get_running_loop().create_future()
        book = WriteAheadLog(LogFiles(folder, Limits()), asyncio.get_running_loop(), fatal.set_result)
        await use(book, answers)
        if fatal.done():
            answers.append(("fatal", False))
        await book.close()

    asyncio.run(asyncio.wait_for(main(), 20))
    return answers


def append(book: WriteAheadLog, answers: Answers, name: str) -> None:
    book.append(name.encode(), lambda who, error: answers.append((who, error is None)), name)


def kept(folder: Path) -> list[bytes]:
    return [record.payload for record in Reader(folder).records(1)]


def test_callbacks_run_in_order_after_the_sync(tmp_path: Path, disk: Disk) -> None:
    """Callbacks run after the sync, in the order of the appends."""

    async def use(book: WriteAheadLog, answers: Answers) -> None:
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


def test_records_share_a_sync(tmp_path: Path, disk: Disk) -> None:
    """Records that are appended during a sync share the next one."""

    async def use(book: WriteAheadLog, answers: Answers) -> None:
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


def test_full_disk_fails_all_pending_records(tmp_path: Path, disk: Disk) -> None:
    """After a full disk, no record succeeds that was appended before the failure was known."""

    async def use(book: WriteAheadLog, answers: Answers) -> None:
        disk.failures = 1
        append(book, answers, "a")
        await asyncio.sleep(0)
        assert disk.failed.wait(10)  # the disk has failed, and has room again, but the loop has not heard of it
        append(book, answers, "b")
        await book.drain()
        append(book, answers, "c")
        await book.drain()

    assert run(tmp_path, use) == [("a", False), ("b", False), ("c", True)]
    assert kept(tmp_path) == [b"c"]


def test_failed_sync_is_fatal(tmp_path: Path, disk: Disk) -> None:
    """A failed sync runs no callback, and is reported once."""

    async def use(book: WriteAheadLog, answers: Answers) -> None:
        disk.broken = True
        append(book, answers, "a")
        await book.drain()
        assert not book.healthy()

    assert run(tmp_path, use) == [("fatal", False)]


def test_error_in_the_commit_thread_is_fatal(tmp_path: Path) -> None:
    """An error that ends the commit thread is reported, and drain returns."""

    async def use(book: WriteAheadLog, _: Answers) -> None:
        book.append(b"a", lambda *_: None, None, bytes(range(16)), 2**64)  # a number that no record has room for
        await asyncio.wait_for(book.drain(), PATIENCE)
        assert not book.healthy()

    assert run(tmp_path, use) == [("fatal", False)]


def test_failing_callback_does_not_affect_others(tmp_path: Path) -> None:
    """A callback that raises does not affect the others."""

    async def use(book: WriteAheadLog, answers: Answers) -> None:
        book.append(b"x", lambda _, __: 1 / 0, None)  # type: ignore[arg-type]
        append(book, answers, "a")
        await book.drain()

    assert run(tmp_path, use) == [("a", True)]
