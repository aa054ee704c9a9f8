"""What became of images: in order whatever comes late or twice, on disk, and told to those who watch."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.images.producer import status_store as statuses_module
from frota.images.producer.status_store import FINAL, State, Status, StatusStore
from frota.logs import log

QUEUED = Status("a" * 32, State.QUEUED, 1.0, "photo.jpg", "b" * 32, "c" * 64)


@asynccontextmanager
async def opened(folder: Path, max_images: int = 100) -> AsyncIterator[StatusStore]:
    statuses = StatusStore(folder, max_images)
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
def test_what_comes_late_or_twice_does_not_turn_a_status_back(states: list[State], end: State) -> None:
    assert after(*states) == end


@given(st.lists(st.sampled_from([State.QUEUED, State.WORKING, State.DEAD]), max_size=5))
def test_a_done_image_stays_done_whatever_follows(states: list[State]) -> None:
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
def test_a_dead_image_that_an_operator_puts_back_is_queued_and_no_other_is(
    tmp_path: Path, before: list[State], after: list[State], end: State
) -> None:
    async def run() -> State:
        async with opened(tmp_path) as statuses:
            for state in before:
                await statuses.save(QUEUED._replace(state=state))
            await statuses.save(QUEUED, retried=True)
            for state in after:
                await statuses.save(QUEUED._replace(state=state))
            return (await statuses.get([QUEUED.id]))[0].state

    assert asyncio.run(run()) == end


def test_what_is_noted_is_there_after_the_process_has_gone_without_closing(tmp_path: Path) -> None:
    async def run() -> None:
        statuses = StatusStore(tmp_path, 100)
        await statuses.open()
        await asyncio.gather(*(statuses.save(QUEUED._replace(id=f"{number:032x}")) for number in range(50)))

    asyncio.run(run())
    with sqlite3.connect(tmp_path / "statuses.sqlite") as table:
        assert table.execute("SELECT count(*) FROM images").fetchone() == (50,)


def test_the_oldest_images_are_forgotten_and_the_newest_remembered(tmp_path: Path) -> None:
    async def run() -> tuple[list[Status], int]:
        async with opened(tmp_path, max_images=100) as statuses:
            await asyncio.gather(*(statuses.save(QUEUED._replace(id=f"{number:032x}")) for number in range(3000)))
            newest = await statuses.get([f"{number:032x}" for number in range(2900, 3000)])
        with sqlite3.connect(tmp_path / "statuses.sqlite") as table:
            return newest, table.execute("SELECT count(*) FROM images").fetchone()[0]

    newest, count = asyncio.run(run())
    assert {status.state for status in newest} == {State.QUEUED}
    assert count < 1200


def test_images_that_are_forgotten_are_told_of_with_how_many_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(log, "record", lambda _level, event, text, **_: told.append(f"{event}: {text}"))
    monkeypatch.setattr(statuses_module, "_PRUNE_INTERVAL", 10)

    async def run() -> None:
        async with opened(tmp_path, max_images=100) as statuses:
            for number in range(115):
                await statuses.save(QUEUED._replace(id=f"{number:032x}"))

    asyncio.run(run())
    text = "deleted the oldest 10 statuses of more than 100 (IMAGES_REMEMBERED)"
    assert told == [f"statuses_expired: {text}"]


def test_a_clock_that_leaps_a_month_makes_no_image_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses_module, "_PRUNE_INTERVAL", 1)

    async def run() -> list[Status]:
        async with opened(tmp_path, max_images=100) as statuses:
            for number, changed in enumerate([1.7e9, 1.7e9 + 30 * 86400, 1.7e9 - 30 * 86400] * 30):
                await statuses.save(QUEUED._replace(id=f"{number:032x}", changed=changed))
            return await statuses.get([f"{number:032x}" for number in range(90)])

    assert all(status.state == State.QUEUED for status in asyncio.run(run()))


def test_who_watches_an_image_is_told_of_each_change_once_and_of_no_other_image(tmp_path: Path) -> None:
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


def test_a_disk_that_takes_nothing_is_told_to_who_notes(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as statuses:
            with sqlite3.connect(tmp_path / "statuses.sqlite") as table:
                table.execute("DROP TABLE images")
            with pytest.raises(OSError, match="no such table"):
                await statuses.save(QUEUED)

    asyncio.run(run())


def test_the_states_are_those_of_the_contract_and_the_final_ones_are_left_only_by_a_retry() -> None:
    from frota.images.proto import images_pb2 as native

    assert {state.name: state.value for state in State} == dict(native.State.items())
    assert {state.name for state in FINAL} == {"UNKNOWN", "DONE", "DEAD"}
