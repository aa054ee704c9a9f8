"""What is kept comes back, whatever happened to the process, and what is damaged is never taken for whole."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from frota.core.errors import StateError
from frota.remote_list.changes import execute
from frota.remote_list.lists import Limits, Lists
from frota.remote_list.messages import Request, RequestRejected
from frota.remote_list.response_cache import ResponseCache
from frota.remote_list.server import change_log, snapshot
from frota.remote_list.server.change_log import ChangeLog
from frota.storage.wal import segment

CLIENT = "cd" * 16


class Kept:
    """Lists with a journal in a folder."""

    def __init__(self, folder: Path, snapshot_bytes: int = 2**20, limits: Limits | None = None) -> None:
        self.folder = folder
        self.log = ChangeLog(folder, snapshot_bytes)
        self.lists, self.cache = Lists(limits or Limits()), ResponseCache(1000)
        try:
            self.count = self.log.recover(self.lists, self.cache)
        except StateError:
            self.log.close()
            raise

    def change(self, op: str, number: int = 0, **fields: object) -> bytes:
        client = {"client": CLIENT, "number": number, "id": f"{CLIENT}:{number}", "native": True} if number else {}
        request = Request(op, **client, **fields)
        executed = execute(request, 7, self.lists, self.cache)
        self.log.commit([change_log.encode(executed, 7)], change_log.replay_bytes(executed))
        return executed.response

    def state(self) -> object:
        lists = {one.name: (list(one.elements), one.version, one.size, one.undo) for one in self.lists.by_name.values()}
        return lists, dict(self.cache.by_client), self.lists.elements, self.lists.size

    def snapshot(self) -> None:
        async def make() -> None:
            self.log.snapshot_if_due(self.lists, self.cache)
            await written_down(self.log)

        self.log._wal_bytes = 2**40
        asyncio.run(make())


async def written_down(log_: ChangeLog) -> None:
    while log_._writer:  # noqa: ASYNC110 -- the journal tells nobody else
        await asyncio.sleep(0)


def some_changes(kept: Kept) -> None:
    kept.change("append", value="b")
    kept.change("append", 1, value="a ç")
    kept.change("insert", value="x", position=-1)
    kept.change("append", list="other", value="1")
    kept.change("remove", 2, value="b")
    kept.change("sort", by="number", descending=True)
    kept.change("undo")
    kept.change("clear", list="other")


def reopened(kept: Kept, **options: object) -> Kept:
    kept.log.close()
    return Kept(kept.folder, **options)  # type: ignore[arg-type]


def test_everything_comes_back_with_versions_answers_and_what_can_be_undone(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    before = kept.state()
    again = reopened(kept)
    assert again.state() == before
    assert again.count == 8
    again.change("undo", list="other")
    assert again.lists.get("other").elements == ["1"]
    assert [change.op for change in again.lists.recent][-2:] == ["clear", "undo"]


def test_a_snapshot_takes_the_place_of_the_log_before_it(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    kept.snapshot()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002.segment", "00000002.snapshot", "lock"]
    kept.change("append", 3, value="after")
    before = kept.state()
    again = reopened(kept)
    assert again.state() == before
    assert again.count == 1
    again.snapshot()
    assert snapshot.newest(tmp_path) == 3
    before = again.state()
    assert reopened(again).state() == before


def test_a_sorted_list_that_was_never_undone_comes_back_from_a_snapshot_with_its_undo(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for value in "cab":
        kept.change("append", value=value)
    kept.change("sort")
    kept.snapshot()
    again = reopened(kept)
    again.change("undo")
    assert again.lists.get("default").elements == list("cab")


def test_what_is_changed_while_a_snapshot_is_written_is_not_in_it_twice(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    for number in range(2000):
        kept.change("append", value=str(number))
    kept.change("clear")

    async def make() -> None:
        kept.log._wal_bytes = 2**40
        kept.log.snapshot_if_due(kept.lists, kept.cache)
        kept.change("undo")
        for number in range(500):
            kept.change("append", value=f"later {number}")
        await written_down(kept.log)

    asyncio.run(make())
    assert snapshot.newest(tmp_path) == 2
    before = kept.state()
    assert reopened(kept).state() == before


def test_a_snapshot_that_was_never_finished_is_nothing(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    before = kept.state()
    kept.log._wal.begin_segment()
    (tmp_path / "00000002.unfinished").write_bytes(b"frota logbook 1\nhalf")
    assert reopened(kept).state() == before
    assert not (tmp_path / "00000002.unfinished").exists()


def test_segments_that_outlived_their_snapshot_are_deleted_and_not_applied_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    old = (tmp_path / "00000001.segment").read_bytes()
    kept.snapshot()
    before = kept.state()
    kept.log.close()
    (tmp_path / "00000001.segment").write_bytes(old)
    assert Kept(tmp_path).state() == before
    assert not (tmp_path / "00000001.segment").exists()


@pytest.fixture
def log() -> Iterator[list[str]]:
    told: list[str] = []
    sink = logger.add(lambda message: told.append(message.record["message"]))
    yield told
    logger.remove(sink)


def test_a_torn_end_is_cut_off_and_told_of(tmp_path: Path, log: list[str]) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    before = kept.state()
    kept.change("append", value="torn")
    path = tmp_path / "00000001.segment"
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-3])
    assert reopened(kept).state() == before
    assert [line for line in log if "bytes are no whole commit" in line]


@pytest.mark.parametrize("position", range(0, 400, 13))
def test_a_flipped_bit_of_a_snapshot_is_never_taken_for_an_element(tmp_path: Path, position: int) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    kept.snapshot()
    kept.log.close()
    path = tmp_path / "00000002.snapshot"
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 4
    path.write_bytes(data)
    with pytest.raises(StateError, match=r"00000002\.snapshot is damaged; put a backup"):
        Kept(tmp_path)


def test_a_log_that_lacks_a_segment_is_refused(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    kept.snapshot()
    kept.log._wal.begin_segment()
    kept.change("append", value="x")
    kept.log.close()
    (tmp_path / "00000002.segment").unlink()
    with pytest.raises(StateError, match="a segment is missing"):
        Kept(tmp_path)


def test_a_snapshot_whose_log_is_gone_is_refused(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    kept.snapshot()
    kept.log.close()
    (tmp_path / "00000002.segment").unlink()
    with pytest.raises(StateError, match="a segment is missing"):
        Kept(tmp_path)


def test_damage_in_the_middle_of_the_log_is_refused_not_skipped(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    kept.log._wal.begin_segment()
    kept.change("append", value="x")
    kept.log.close()
    path = tmp_path / "00000001.segment"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StateError, match="are damaged and left out; put a backup"):
        Kept(tmp_path)


def test_a_crash_at_the_very_first_start_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "00000001.segment").touch()
    kept = Kept(tmp_path)
    kept.change("append", value="x")
    before = kept.state()
    assert reopened(kept).state() == before


def test_a_segment_that_cannot_be_begun_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    with monkeypatch.context() as patch:

        def fails(_: int) -> None:
            raise OSError(5, "Input/output error")

        patch.setattr("os.fsync", fails)
        kept.snapshot()
    assert [path.name for path in tmp_path.glob("*.segment")] == ["00000001.segment"]
    kept.snapshot()
    assert snapshot.newest(tmp_path) == 2


def test_what_takes_long_to_do_again_makes_a_snapshot_due(tmp_path: Path) -> None:
    kept = Kept(tmp_path, snapshot_bytes=4096)
    kept.change("append", value="x" * 1000)
    for _ in range(5):
        kept.change("sort")
    assert kept.log._wal_bytes > 5000
    again = reopened(kept)
    assert again.log._wal_bytes >= kept.log._wal_bytes
    assert again.lists.discarded == []


def test_lower_limits_take_nothing_away_that_is_there(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    before = kept.state()
    again = reopened(kept, limits=Limits(elements=1, bytes=1, element_bytes=1))
    assert again.state() == before
    with pytest.raises(RequestRejected, match="Limite"):
        again.change("append", value="y")


def test_a_disk_without_room_for_a_snapshot_leaves_the_log_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)

    def fails(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "write", fails)
    kept.snapshot()
    assert [line for line in log if line.startswith("no snapshot made, the journal goes on: ")]
    before = kept.state()
    assert reopened(kept).state() == before


@pytest.mark.parametrize(
    "payload",
    [b'["reverse","default"]', b'["append","default"]', b'["append"]', b"[]", b"{}", b"no JSON", b'["remove","a","x"]'],
)
def test_a_change_that_cannot_be_made_again_is_refused_not_skipped(tmp_path: Path, payload: bytes) -> None:
    kept = Kept(tmp_path)
    some_changes(kept)
    kept.log.commit([segment.encode_record(payload, 7, segment.NO_PRODUCER, 0)])
    kept.log.close()
    with pytest.raises(
        StateError, match=r"00000001\.segment: change \d of those read back cannot be made again: .*backup"
    ):
        Kept(tmp_path)


@pytest.mark.parametrize("record", [["list"], ["answers", [["x"]]], ["answers", 5], [], ["undo"], ["end"]])
def test_a_snapshot_with_a_record_that_makes_no_sense_is_not_whole(tmp_path: Path, record: list[object]) -> None:
    class Odd(snapshot.StateCopy):
        def records(self) -> Iterator[list[object]]:
            yield ["list", "a", 1, 0]
            yield record

    path = snapshot.path_of(tmp_path, 1)
    snapshot.write(tmp_path, 1, Odd(Lists(Limits()), ResponseCache(1)), lambda: True)
    with pytest.raises(StateError, match="is damaged; put a backup"):
        snapshot.read(path, Lists(Limits()), ResponseCache(1))


@pytest.mark.parametrize("name", ["\u00b2", "\u0663", "9", "00000009.bak"])
def test_a_file_that_is_not_named_as_ours_is_no_snapshot(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.snapshot").touch()
    (tmp_path / "00000003.snapshot").touch()
    assert snapshot.newest(tmp_path) == 3
