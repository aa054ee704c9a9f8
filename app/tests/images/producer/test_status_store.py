"""The status store: late and duplicate events, durability, subscriptions."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.images.producer.status_store import FINAL, State, Status, StatusStore
from frota.logs import log

QUEUED = Status("a" * 32, State.QUEUED, 1.0, "photo.jpg", "b" * 32, "c" * 64)


@asynccontextmanager
async def opened(folder: Path, max_images: int = 100, prune_interval: int = 1000) -> AsyncIterator[StatusStore]:
    statuses = StatusStore(folder, max_images, prune_interval)
    await statuses.open()
    try:
        yield statuses
    finally:
        await statuses.close()


def after(*states: State) -> State:
    """Return the state after several were noted one after the other, each in a group of its own."""

    async def run() -> State:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            async with opened(Path(folder)) as statuses:
                for state in states:
                    await statuses.save(QUEUED._replace(state=state))
                return (await statuses.get([QUEUED.id]))[0].state

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("states", "end"),
    [
        ([], State.UNKNOWN),
        ([State.QUEUED, State.WORKING, State.DONE], State.DONE),
        ([State.WORKING, State.QUEUED], State.WORKING),
        ([State.DONE, State.QUEUED, State.WORKING, State.DEAD], State.DONE),
        ([State.QUEUED, State.DEAD], State.DEAD),
        ([State.DEAD, State.QUEUED], State.DEAD),
        ([State.DEAD, State.WORKING], State.DEAD),
        ([State.DEAD, State.WORKING, State.DONE], State.DONE),
    ],
)
def test_late_events_do_not_revert_a_status(states: list[State], end: State) -> None:
    """Late and duplicate events do not revert a status."""
    assert after(*states) == end


@given(st.lists(st.sampled_from([State.QUEUED, State.WORKING, State.DEAD]), max_size=5))
def test_done_is_final(states: list[State]) -> None:
    """A done image stays done."""
    assert after(State.DONE, *states) == State.DONE


@pytest.mark.parametrize(
    ("before", "after", "end"),
    [
        ([], [], State.QUEUED),
        ([State.DEAD], [], State.QUEUED),
        ([State.DEAD], [State.WORKING], State.WORKING),
        ([State.DEAD], [State.DEAD], State.DEAD),
        ([State.DEAD, State.DONE], [], State.DONE),
        ([State.WORKING], [], State.WORKING),
    ],
)
def test_retry_requeues_dead_images_only(tmp_path: Path, before: list[State], after: list[State], end: State) -> None:
    """A retry makes a dead image queued, and no other."""

    async def run() -> State:
        async with opened(tmp_path) as statuses:
            for state in before:
                await statuses.save(QUEUED._replace(state=state))
            await statuses.save(QUEUED, retried=True)
            for state in after:
                await statuses.save(QUEUED._replace(state=state))
            return (await statuses.get([QUEUED.id]))[0].state

    assert asyncio.run(run()) == end


def test_saved_status_survives_a_crash(tmp_path: Path) -> None:
    """A saved status is on disk without closing the store."""

    async def run() -> None:
        statuses = StatusStore(tmp_path, 100)
        await statuses.open()
        await asyncio.gather(*(statuses.save(QUEUED._replace(id=f"{number:032x}")) for number in range(50)))

    asyncio.run(run())
    with sqlite3.connect(tmp_path / "statuses.sqlite") as table:
        assert table.execute("SELECT count(*) FROM images").fetchone() == (50,)


def test_oldest_statuses_are_deleted(tmp_path: Path) -> None:
    """The oldest statuses are deleted, and the newest kept."""

    async def run() -> tuple[list[Status], int]:
        async with opened(tmp_path, max_images=100) as statuses:
            await asyncio.gather(*(statuses.save(QUEUED._replace(id=f"{number:032x}")) for number in range(3000)))
            newest = await statuses.get([f"{number:032x}" for number in range(2900, 3000)])
        with sqlite3.connect(tmp_path / "statuses.sqlite") as table:
            return newest, table.execute("SELECT count(*) FROM images").fetchone()[0]

    newest, count = asyncio.run(run())
    assert {status.state for status in newest} == {State.QUEUED}
    assert count < 1200


def test_deletion_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleted statuses are logged with their count and the setting."""
    records: list[str] = []
    monkeypatch.setattr(log, "record", lambda _level, event, text, **_: records.append(f"{event}: {text}"))

    async def run() -> None:
        async with opened(tmp_path, max_images=100, prune_interval=10) as statuses:
            for number in range(115):
                await statuses.save(QUEUED._replace(id=f"{number:032x}"))

    asyncio.run(run())
    text = "deleted the oldest 10 statuses of more than 100 (IMAGES_MAX_STATUSES)"
    assert records == [f"statuses_expired: {text}"]


def test_clock_steps_delete_nothing(tmp_path: Path) -> None:
    """A step of the clock deletes no status."""

    async def run() -> list[Status]:
        async with opened(tmp_path, max_images=100, prune_interval=1) as statuses:
            for number, changed in enumerate([1.7e9, 1.7e9 + 30 * 86400, 1.7e9 - 30 * 86400] * 30):
                await statuses.save(QUEUED._replace(id=f"{number:032x}", changed=changed))
            return await statuses.get([f"{number:032x}" for number in range(90)])

    assert all(status.state == State.QUEUED for status in asyncio.run(run()))


def test_subscriber_gets_each_change_once(tmp_path: Path) -> None:
    """A subscriber gets each change of its images once."""

    async def run() -> list[State]:
        async with opened(tmp_path) as statuses:
            changes = statuses.watch([QUEUED.id])
            for state in (State.QUEUED, State.WORKING, State.QUEUED, State.DONE, State.WORKING):
                await statuses.save(QUEUED._replace(state=state))
                await statuses.save(QUEUED._replace(id="d" * 32, state=state))
            statuses.unwatch([QUEUED.id], changes)
            await statuses.save(QUEUED._replace(id=QUEUED.id, state=State.DEAD))
            return [changes.get_nowait().state for _ in range(changes.qsize())]

    assert asyncio.run(run()) == [State.QUEUED, State.WORKING, State.DONE]


def test_write_error_reaches_the_caller(tmp_path: Path) -> None:
    """A write error is raised to the caller."""

    async def run() -> None:
        async with opened(tmp_path) as statuses:
            with sqlite3.connect(tmp_path / "statuses.sqlite") as table:
                table.execute("DROP TABLE images")
            with pytest.raises(OSError, match="no such table"):
                await statuses.save(QUEUED)

    asyncio.run(run())


def test_states_equal_the_proto() -> None:
    """The states equal those of images.proto, and the final ones are known."""
    from frota.images.proto import images_pb2 as native

    assert {state.name: state.value for state in State} == dict(native.State.items())
    assert {state.name for state in FINAL} == {"UNKNOWN", "DONE", "DEAD"}
