"""Recovery: what was written comes back after any end of the process, and damage is never accepted."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from frota.core.errors import RequestRejected, StateError
from frota.list.changes import execute
from frota.list.lists import Limits, Lists
from frota.list.messages import Request
from frota.list.response_cache import ResponseCache
from frota.list.server import change_log, snapshot
from frota.list.server.change_log import ChangeLog
from frota.storage.wal import segment

CLIENT = "cd" * 16


class State:
    """Lists with a change log in a folder."""

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
        self.log.commit([change_log.encode_change(executed, 7)], change_log.replay_cost(executed))
        return executed.response

    def content(self) -> object:
        lists = {
            element_list.name: (list(element_list.elements), element_list.version, element_list.size, element_list.undo)
            for element_list in self.lists.by_name.values()
        }
        return lists, dict(self.cache.by_client), self.lists.elements, self.lists.size

    def snapshot(self) -> None:
        """Write a snapshot, or fail to."""

        async def write() -> None:
            if work := self.log.start_snapshot(self.lists, self.cache):
                await asyncio.wait([work])

        asyncio.run(write())


def some_changes(state: State) -> None:
    state.change("append", value="b")
    state.change("append", 1, value="a ç")
    state.change("insert", value="x", position=-1)
    state.change("append", list="other", value="1")
    state.change("remove", 2, value="b")
    state.change("sort", by="number", descending=True)
    state.change("undo")
    state.change("clear", list="other")


def reopened(state: State, **options: object) -> State:
    state.log.close()
    return State(state.folder, **options)  # type: ignore[arg-type]


def test_replay_restores_the_whole_state(tmp_path: Path) -> None:
    """Replaying the log restores elements, versions, cached responses and undo."""
    state = State(tmp_path)
    some_changes(state)
    before = state.content()
    reloaded = reopened(state)
    assert reloaded.content() == before
    assert reloaded.count == 8
    reloaded.change("undo", list="other")
    assert reloaded.lists.get("other").elements == ["1"]
    assert [change.op for change in reloaded.lists.recent][-2:] == ["clear", "undo"]


def test_snapshot_replaces_the_log_before_it(tmp_path: Path) -> None:
    """A snapshot replaces the segments before it, and the state comes back from both."""
    state = State(tmp_path)
    some_changes(state)
    state.snapshot()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000002.segment", "00000002.snapshot", "lock"]
    state.change("append", 3, value="after")
    before = state.content()
    reloaded = reopened(state)
    assert reloaded.content() == before
    assert reloaded.count == 1
    reloaded.snapshot()
    assert snapshot.newest(tmp_path) == 3
    before = reloaded.content()
    assert reopened(reloaded).content() == before


def test_snapshot_keeps_the_undo_of_a_sort(tmp_path: Path) -> None:
    """A sort can be undone after recovery from a snapshot."""
    state = State(tmp_path)
    for value in "cab":
        state.change("append", value=value)
    state.change("sort")
    state.snapshot()
    reloaded = reopened(state)
    reloaded.change("undo")
    assert reloaded.lists.get("default").elements == list("cab")


def test_changes_during_a_snapshot_are_applied_once(tmp_path: Path) -> None:
    """Changes made while a snapshot is written are recovered once."""
    state = State(tmp_path)
    for number in range(2000):
        state.change("append", value=str(number))
    state.change("clear")

    async def make() -> None:
        work = state.log.start_snapshot(state.lists, state.cache)
        assert work
        state.change("undo")
        for number in range(500):
            state.change("append", value=f"later {number}")
        await work

    asyncio.run(make())
    assert snapshot.newest(tmp_path) == 2
    before = state.content()
    assert reopened(state).content() == before


def test_unfinished_snapshot_is_deleted(tmp_path: Path) -> None:
    """An unfinished snapshot is ignored and deleted."""
    state = State(tmp_path)
    some_changes(state)
    before = state.content()
    state.log._wal.begin_segment()
    (tmp_path / "00000002.unfinished").write_bytes(b"frota logbook 1\nhalf")
    assert reopened(state).content() == before
    assert not (tmp_path / "00000002.unfinished").exists()


def test_segments_before_a_snapshot_are_not_replayed(tmp_path: Path) -> None:
    """Segments from before the snapshot are deleted, not replayed."""
    state = State(tmp_path)
    some_changes(state)
    old = (tmp_path / "00000001.segment").read_bytes()
    state.snapshot()
    before = state.content()
    state.log.close()
    (tmp_path / "00000001.segment").write_bytes(old)
    assert State(tmp_path).content() == before
    assert not (tmp_path / "00000001.segment").exists()


@pytest.fixture
def log() -> Iterator[list[str]]:
    messages: list[str] = []
    sink = logger.add(lambda message: messages.append(message.record["message"]))
    yield messages
    logger.remove(sink)


def test_torn_write_is_cut_off_and_logged(tmp_path: Path, log: list[str]) -> None:
    """A torn write at the end of the log is cut off and logged."""
    state = State(tmp_path)
    some_changes(state)
    before = state.content()
    state.change("append", value="torn")
    path = tmp_path / "00000001.segment"
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-3])
    assert reopened(state).content() == before
    assert [line for line in log if "bytes are a torn or damaged commit" in line]


@pytest.mark.parametrize("position", range(0, 400, 13))
def test_damaged_snapshot_is_rejected(tmp_path: Path, position: int) -> None:
    """A snapshot with a flipped bit is rejected."""
    state = State(tmp_path)
    some_changes(state)
    state.snapshot()
    state.log.close()
    path = tmp_path / "00000002.snapshot"
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 4
    path.write_bytes(data)
    with pytest.raises(StateError, match=r"00000002\.snapshot is damaged; restore"):
        State(tmp_path)


def test_missing_segment_is_rejected(tmp_path: Path) -> None:
    """A log without one of its segments is rejected."""
    state = State(tmp_path)
    some_changes(state)
    state.snapshot()
    state.log._wal.begin_segment()
    state.change("append", value="x")
    state.log.close()
    (tmp_path / "00000002.segment").unlink()
    with pytest.raises(StateError, match="a segment is missing"):
        State(tmp_path)


def test_snapshot_without_its_log_is_rejected(tmp_path: Path) -> None:
    """A snapshot without the segment after it is rejected."""
    state = State(tmp_path)
    some_changes(state)
    state.snapshot()
    state.log.close()
    (tmp_path / "00000002.segment").unlink()
    with pytest.raises(StateError, match="a segment is missing"):
        State(tmp_path)


def test_damage_within_the_log_is_rejected(tmp_path: Path) -> None:
    """Damage within the log is rejected, not skipped."""
    state = State(tmp_path)
    some_changes(state)
    state.log._wal.begin_segment()
    state.change("append", value="x")
    state.log.close()
    path = tmp_path / "00000001.segment"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StateError, match="are damaged and skipped; restore"):
        State(tmp_path)


def test_crash_at_the_first_start(tmp_path: Path) -> None:
    """An empty first segment, from a crash at the first start, is accepted."""
    (tmp_path / "00000001.segment").touch()
    state = State(tmp_path)
    state.change("append", value="x")
    before = state.content()
    assert reopened(state).content() == before


def test_failed_new_segment_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that cannot be created leaves no file, and the next snapshot works."""
    state = State(tmp_path)
    some_changes(state)
    with monkeypatch.context() as patch:

        def fails(_: int) -> None:
            raise OSError(5, "Input/output error")

        patch.setattr("os.fsync", fails)
        state.snapshot()
    assert [path.name for path in tmp_path.glob("*.segment")] == ["00000001.segment"]
    state.snapshot()
    assert snapshot.newest(tmp_path) == 2


def test_replay_cost_makes_a_snapshot_due(tmp_path: Path) -> None:
    """Changes that are slow to replay count towards the next snapshot."""
    state = State(tmp_path, snapshot_bytes=4096)
    state.change("append", value="x" * 1000)
    for _ in range(5):
        state.change("sort")
    assert state.log._wal_bytes > 5000
    reloaded = reopened(state)
    assert reloaded.log._wal_bytes >= state.log._wal_bytes
    assert reloaded.lists.discarded == []


def test_lower_limits_keep_the_state(tmp_path: Path) -> None:
    """Limits below the recovered state remove nothing, and reject new elements."""
    state = State(tmp_path)
    some_changes(state)
    before = state.content()
    reloaded = reopened(state, limits=Limits(elements=1, bytes=1, element_bytes=1))
    assert reloaded.content() == before
    with pytest.raises(RequestRejected, match="Limite"):
        reloaded.change("append", value="y")


def test_failed_snapshot_keeps_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    """A snapshot that fails is logged, and the log stays complete."""
    state = State(tmp_path)
    some_changes(state)

    def fails(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "write", fails)
    state.snapshot()
    assert [line for line in log if line.startswith("snapshot failed, the change log keeps growing: ")]
    before = state.content()
    assert reopened(state).content() == before


@pytest.mark.parametrize(
    "payload",
    [b'["reverse","default"]', b'["append","default"]', b'["append"]', b"[]", b"{}", b"no JSON", b'["remove","a","x"]'],
)
def test_invalid_record_is_rejected(tmp_path: Path, payload: bytes) -> None:
    """A record that cannot be replayed is rejected, not skipped."""
    state = State(tmp_path)
    some_changes(state)
    state.log.commit([segment.encode_record(payload, 7, segment.NO_PRODUCER, 0)])
    state.log.close()
    with pytest.raises(StateError, match=r"00000001\.segment: replaying change \d failed: .*backup"):
        State(tmp_path)


@pytest.mark.parametrize("record", [["list"], ["answers", [["x"]]], ["answers", 5], [], ["undo"], ["end"]])
def test_invalid_snapshot_record_is_rejected(tmp_path: Path, record: list[object]) -> None:
    """A snapshot with an invalid record is rejected."""

    class Invalid(snapshot.StateCopy):
        def records(self) -> Iterator[list[object]]:
            yield ["list", "a", 1, 0]
            yield record

    path = snapshot.path_of(tmp_path, 1)
    snapshot.write(tmp_path, 1, Invalid(Lists(Limits()), ResponseCache(1)), lambda: True)
    with pytest.raises(StateError, match="is damaged; restore"):
        snapshot.read(path, Lists(Limits()), ResponseCache(1))


@pytest.mark.parametrize("name", ["\u00b2", "\u0663", "9", "00000009.bak"])
def test_other_files_are_no_snapshots(tmp_path: Path, name: str) -> None:
    """Files with other names are not taken for snapshots."""
    (tmp_path / f"{name}.snapshot").touch()
    (tmp_path / "00000003.snapshot").touch()
    assert snapshot.newest(tmp_path) == 3
