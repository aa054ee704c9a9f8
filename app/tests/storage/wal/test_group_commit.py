"""Group commit: callbacks run in order after the sync, and report failures."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from frota.storage.wal.group_commit import WriteAheadLog
from frota.storage.wal.log import Limits, LogFiles
from frota.storage.wal.reader import Reader
from support import TIMEOUT_S, Disk

Results = list[tuple[str, bool]]


def run(folder: Path, use: Callable[[WriteAheadLog, Results], Awaitable[None]]) -> Results:
    """Use a log and close it; return the name of each callback that ran, and whether it succeeded."""
    results: Results = []

    async def main() -> None:
        fatal = asyncio.get_running_loop().create_future()
        wal = WriteAheadLog(LogFiles(folder, Limits()), asyncio.get_running_loop(), fatal.set_result)
        await use(wal, results)
        if fatal.done():
            results.append(("fatal", False))
        await wal.close()

    asyncio.run(asyncio.wait_for(main(), 20))
    return results


def append(wal: WriteAheadLog, results: Results, name: str) -> None:
    wal.append(name.encode(), lambda name, error: results.append((name, error is None)), name)


def payloads(folder: Path) -> list[bytes]:
    return [record.payload for record in Reader(folder).records(1)]


def test_callbacks_run_in_order_after_the_sync(tmp_path: Path, disk: Disk) -> None:
    """Callbacks run after the sync, in the order of the appends."""

    async def use(wal: WriteAheadLog, results: Results) -> None:
        disk.may_sync.clear()
        for name in "abc":
            append(wal, results, name)
            await asyncio.sleep(0)
        wal.barrier(lambda name, _: results.append((name, True)), "barrier")
        append(wal, results, "d")
        assert results == []
        assert not wal.healthy() or wal.backlog
        disk.may_sync.set()
        await wal.drain()

    names = ["a", "b", "c", "barrier", "d"]
    assert run(tmp_path, use) == [(name, True) for name in names]
    assert payloads(tmp_path) == [b"a", b"b", b"c", b"d"]


def test_records_share_a_sync(tmp_path: Path, disk: Disk) -> None:
    """Records that are appended during a sync share the next one."""

    async def use(wal: WriteAheadLog, results: Results) -> None:
        disk.may_sync.clear()
        append(wal, results, "first")
        await asyncio.sleep(0)
        for number in range(500):
            append(wal, results, str(number))
            await asyncio.sleep(0)
        disk.may_sync.set()
        await wal.drain()

    assert len(run(tmp_path, use)) == 501
    assert disk.syncs <= 4


def test_full_disk_fails_all_pending_records(tmp_path: Path, disk: Disk) -> None:
    """After a full disk, no record succeeds that was appended before the failure was known."""

    async def use(wal: WriteAheadLog, results: Results) -> None:
        disk.failures = 1
        append(wal, results, "a")
        await asyncio.sleep(0)
        assert disk.failed.wait(10)  # the disk has failed and has space again, but the event loop does not know yet
        append(wal, results, "b")
        await wal.drain()
        append(wal, results, "c")
        await wal.drain()

    assert run(tmp_path, use) == [("a", False), ("b", False), ("c", True)]
    assert payloads(tmp_path) == [b"c"]


def test_failed_sync_is_fatal(tmp_path: Path, disk: Disk) -> None:
    """A failed sync runs no callback, and is reported once."""

    async def use(wal: WriteAheadLog, results: Results) -> None:
        disk.broken = True
        append(wal, results, "a")
        await wal.drain()
        assert not wal.healthy()

    assert run(tmp_path, use) == [("fatal", False)]


def test_error_in_the_commit_thread_is_fatal(tmp_path: Path) -> None:
    """An error that ends the commit thread is reported, and drain returns."""

    async def use(wal: WriteAheadLog, _: Results) -> None:
        too_large = 2**64  # for the sequence number of a record
        wal.append(b"a", lambda *_: None, None, bytes(range(16)), too_large)
        await asyncio.wait_for(wal.drain(), TIMEOUT_S)
        assert not wal.healthy()

    assert run(tmp_path, use) == [("fatal", False)]


def test_failing_callback_does_not_affect_others(tmp_path: Path) -> None:
    """A callback that raises does not affect the others."""

    async def use(wal: WriteAheadLog, results: Results) -> None:
        wal.append(b"x", lambda _, __: 1 / 0, None)  # type: ignore[arg-type]
        append(wal, results, "a")
        await wal.drain()

    assert run(tmp_path, use) == [("a", True)]
