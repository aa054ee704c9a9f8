"""Rounds: what is answered is on disk, what cannot be written is rolled back, and slow work blocks no client."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from frota.list import queries
from frota.list.lists import THRESHOLDS, Change, Limits, List, Thresholds
from frota.list.messages import Request
from frota.list.server import engine
from frota.list.server.change_log import NoChangeLog
from frota.list.server.engine import Engine
from frota.storage.wal.log import DiskFull

CLIENT = "ab" * 16


class World:
    """Stands in for sockets, disk and threads: records responses, fails or runs slow work when told to."""

    def __init__(self, thresholds: Thresholds = THRESHOLDS) -> None:
        self.answers: dict[Any, bytes] = {}
        self.published: list[tuple[str, int]] = []
        self.commits: list[list[bytes]] = []
        self.full = self.broken = False
        self.large = True
        self.failures: list[Exception] = []
        self.later: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self.engine = Engine(Limits(), 100, Disk(self), self, thresholds)
        self.engine.has_subscribers = True

    def send(self, reply_to: Any, answer: bytes) -> None:
        assert reply_to not in self.answers, "answered twice"
        self.answers[reply_to] = answer

    def admits_large(self, _token: object) -> bool:
        return self.large

    def publish(self, change: Change) -> None:
        self.published.append((change.op, change.version))

    def disk_full(self, error: DiskFull) -> None:
        pass

    def internal_error(self, error: Exception) -> None:
        self.failures.append(error)

    def run_in_thread(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self.later.append((work, done))

    def run_thread(self) -> None:
        work, done = self.later.pop(0)
        done(work())
        self.run_rounds()

    def run_rounds(self) -> None:
        while self.engine.resume_waiting(lambda: True):
            self.engine.finish_round()
        self.engine.finish_round()

    def ask(self, *messages: str) -> list[str]:
        """Handle messages in one round; return the responses after it, "" for none."""
        tokens = [object() for _ in messages]
        for message, reply_to in zip(messages, tokens, strict=True):
            self.engine.handle([message.encode()], reply_to)
        self.engine.finish_round()
        self.run_rounds()
        return [self.answers.get(reply_to, b"").decode() for reply_to in tokens]

    def elements(self, name: str = "default") -> list[str]:
        return list(self.engine.lists.get(name).elements)


class Disk(NoChangeLog):
    durable = True

    def __init__(self, world: World) -> None:
        self._world = world

    def commit(self, records: list[bytes], _replay_bytes: int = 0) -> None:
        if self._world.full:
            raise DiskFull("No space left on device")
        if self._world.broken:
            raise OSError(5, "Input/output error")
        self._world.commits.append(records)


@pytest.fixture
def world() -> World:
    return World()


def native(op: str, number: int = 0, **fields: Any) -> str:
    id_ = {"id": f"{CLIENT}:{number}"} if number else {}
    return json.dumps({"op": op, **id_, **fields})


def test_round_has_one_commit(world: World) -> None:
    """All changes of a round share one commit."""
    world.ask("append a", "append b", "mostrar", "append c")
    assert [len(records) for records in world.commits] == [3]
    assert world.published == [("append", 1), ("append", 2), ("append", 3)]


def test_round_without_changes_writes_nothing(world: World) -> None:
    """A round without changes writes nothing."""
    world.ask("mostrar", "append", "pesquisar x", "remover x")
    assert world.commits == []


def test_full_disk_rolls_the_round_back(world: World) -> None:
    """With a full disk, all changes of the round are undone and rejected, and reads show that."""
    world.ask("append a", native("append", 1, value="b"))
    world.full = True
    responses = world.ask(
        "append c", "ordenar_desc", "mostrar", native("append", 2, value="d"), "pesquisar c", "limpar"
    )
    assert responses[0] == "Erro: o servidor não tem espaço em disco; nada foi alterado."
    assert responses[2] == "['a', 'b']"
    assert json.loads(responses[3])["error"] == "no_room"
    assert responses[4] == "Não encontrado"
    assert world.elements() == ["a", "b"]
    assert world.published == [("append", 1), ("append", 2)]
    world.full = False
    assert json.loads(world.ask(native("append", 2, value="d"))[0])["version"] == 3
    assert world.elements() == ["a", "b", "d"]


def test_full_disk_leaves_no_new_list(world: World) -> None:
    """A list whose first change could not be written does not exist."""
    world.full = True
    world.ask(native("append", list="new", value="x"))
    assert world.engine.lists.by_name == {}


def test_repeated_id_gets_the_cached_response(world: World) -> None:
    """A repeated id gets the cached response and changes nothing."""
    first, second = world.ask(native("append", 1, value="a"), native("append", 1, value="a"))
    third = world.ask(native("append", 1, value="a"))[0]
    assert first == second == third
    assert world.elements() == ["a"]


def test_repeated_rejected_change_stays_rejected(world: World) -> None:
    """A rejected change that is repeated is rejected again, whatever happened meanwhile."""
    first = world.ask(native("remove", 1, value="a"))[0]
    world.ask("append a")
    assert world.ask(native("remove", 1, value="a"))[0] == first
    assert json.loads(first)["error"] == "not_found"
    assert world.elements() == ["a"]


def test_superseded_id_is_rejected(world: World) -> None:
    """A number below the client's last one is rejected."""
    world.ask(native("append", 5, value="a"))
    assert json.loads(world.ask(native("append", 4, value="a"))[0])["error"] == "superseded"
    assert world.elements() == ["a"]


def test_least_recently_used_client_is_evicted(world: World) -> None:
    """The least recently used client is evicted from the response cache."""
    for number in range(101):
        world.ask(json.dumps({"op": "append", "value": "x", "id": f"{number:032x}:1"}))
    assert len(world.engine.cache.by_client) == 100
    assert f"{0:032x}" not in world.engine.cache.by_client


def test_full_disk_rejects_duplicates_of_a_round(world: World) -> None:
    """With a full disk, both requests with one id are rejected."""
    world.full = True
    responses = world.ask(native("append", 1, value="a"), native("append", 1, value="a"))
    assert [json.loads(answer)["error"] for answer in responses] == ["no_room", "no_room"]


def test_full_disk_keeps_earlier_responses(world: World) -> None:
    """With a full disk, a request that an earlier round answered gets that response."""
    before = world.ask(native("append", 1, value="a"))
    world.full = True
    assert world.ask("append b", native("append", 1, value="a"))[1:] == before


def test_full_disk_gives_no_response_based_on_lost_changes(world: World) -> None:
    """A rejection that is based on a lost change is not sent."""
    world.ask("append x")
    world.full = True
    responses = world.ask("remover x", "remover x")
    assert responses == ["Erro: o servidor não tem espaço em disco; nada foi alterado."] * 2


def test_full_disk_evicts_no_client(world: World) -> None:
    """A change that could not be written evicts no client from the cache."""
    for number in range(1, 101):
        world.ask(json.dumps({"op": "append", "value": "x", "id": f"{number:032x}:1"}))
    world.full = True
    world.ask(native("append", 1, value="a"))
    assert f"{1:032x}" in world.engine.cache.by_client
    assert len(world.engine.cache.by_client) == 100


def test_failed_fsync_ends_all_responses(world: World) -> None:
    """After a failed fsync no response is sent."""
    world.broken = True
    with pytest.raises(OSError, match="Input/output error"):
        world.ask(native("append", 1, value="a"))
    assert world.answers == {}
    assert world.engine.failed


SLOW = Thresholds(slow_elements=2, large_response_bytes=2)


@pytest.fixture
def slow() -> World:
    """Give a world in which a list of three elements is long."""
    return World(SLOW)


def test_changes_wait_for_the_sort_of_their_list(slow: World) -> None:
    """While a list is sorted, its changes wait; other requests do not."""
    slow.ask("append c", "append a", "append b")
    responses = slow.ask("ordenar_cresc", "append d", "pesquisar c", native("append", list="other", value="x"))
    assert responses[:3] == ["", "", "Encontrado"]
    assert json.loads(responses[3])["ok"]
    slow.run_thread()
    assert slow.elements() == ["a", "b", "c", "d"]
    assert min(answer.decode() for answer in slow.answers.values()).startswith("Elemento")
    assert [op for op, _ in slow.published] == ["append", "append", "append", "append", "sort", "append"]


def test_repeated_sort_runs_once(slow: World) -> None:
    """A sort that is repeated while it runs is done once."""
    slow.ask("append c", "append a", "append b")
    slow.ask(native("sort", 1), native("sort", 1))
    slow.run_thread()
    assert slow.later == []
    assert slow.published.count(("sort", 4)) == 1
    responses = [answer for answer in slow.answers.values() if answer.startswith(b"{")]
    assert len(responses) == 2
    assert responses[0] == responses[1]


def test_sorts_of_one_list_are_sequential(slow: World) -> None:
    """Sorts of one list are done one after the other."""
    slow.ask("append c", "append a", "append b")
    slow.ask("ordenar_cresc", "ordenar_desc", "append d", "ordenar_cresc")
    while slow.later:
        slow.run_thread()
    assert slow.elements() == ["a", "b", "c", "d"]
    assert len(slow.answers) == 7


def test_full_disk_shows_a_long_list_unchanged(slow: World) -> None:
    """With a full disk, a long list is shown without the lost change."""
    slow.ask("append c", "append a", "append b")
    slow.full = True
    assert slow.ask("limpar", "mostrar")[1] == ""
    slow.run_thread()
    assert b"['c', 'a', 'b']" in slow.answers.values()


def test_waiting_changes_resume_in_order(slow: World) -> None:
    """Changes that waited for a sort resume in order, within the time of a round."""
    slow.ask("append c", "append a", "append b")
    slow.ask("ordenar_cresc", *[f"append {number}" for number in range(5)])
    work, done = slow.later.pop(0)
    done(work())
    steps = 0
    while slow.engine.resume_waiting(iter([True, False]).__next__):
        if steps < 3:
            slow.engine.handle([b"append last"], f"last {steps}")
        slow.engine.finish_round()
        steps += 1
    slow.run_rounds()
    assert steps >= 5
    assert slow.elements()[:8] == ["a", "b", "c", "0", "1", "2", "3", "4"]
    assert set(slow.elements()[8:]) == {"last"}


def test_full_disk_rolls_a_sort_back(slow: World) -> None:
    """A sort whose commit fails is rolled back, and can be repeated."""
    slow.ask("append c", "append a", "append b")
    slow.ask("ordenar_cresc")
    slow.full = True
    slow.run_thread()
    assert slow.elements() == ["c", "a", "b"]
    slow.full = False
    slow.ask("ordenar_cresc")
    slow.run_thread()
    assert slow.elements() == ["a", "b", "c"]


def test_restored_list_is_not_freed(slow: World) -> None:
    """Elements that an undo restores are not freed."""
    slow.ask("append c", "append a", "append b", "limpar", native("undo"))
    assert slow.later == []
    slow.ask("limpar")
    slow.full = True
    slow.ask("append x")
    slow.full = False
    slow.ask(native("undo"))
    assert slow.later == []
    assert slow.elements() == ["c", "a", "b"]


def test_long_discarded_list_is_freed_in_the_thread(slow: World) -> None:
    """A long list that no undo restores is freed in the thread."""
    slow.ask("append c", "append a", "append b", "limpar")
    freed = slow.engine.lists.get("default").undo
    slow.ask("append x")
    assert freed
    assert freed.elements == ["c", "a", "b"]
    slow.run_thread()
    assert freed.elements == []
    assert slow.elements() == ["x"]


def test_long_list_is_shown_as_of_its_round(slow: World) -> None:
    """A long list is shown as it was at the end of the request's round."""
    slow.ask("append c", "append a", "append b")
    assert slow.ask("mostrar", "limpar") == ["", "Lista limpa."]
    slow.run_thread()
    assert b"[]" in slow.answers.values() or b"['c', 'a', 'b']" in slow.answers.values()


def test_too_many_large_responses_are_rejected_as_busy(
    slow: World,
) -> None:
    """Large responses beyond the limits are rejected as busy."""
    slow.ask("append c", "append a", "append b")
    slow.large = False
    assert slow.ask("mostrar") == ["Servidor ocupado: muitas respostas longas ao mesmo tempo."]
    slow.large = True
    slow = World(SLOW._replace(max_large_bytes=10))
    slow.ask("append c", "append a", "append b")
    responses = slow.ask(*["mostrar"] * 20)
    assert sum(answer.startswith("Servidor ocupado") for answer in responses) == 17  # three bytes each
    for _ in range(3):
        slow.run_thread()
    assert slow.ask("mostrar") == [""]


def test_show_in_chunks_is_repr_and_json() -> None:
    """A show in chunks is Python's repr in the legacy protocol, and JSON in the native one."""
    values = ["a", "b'c", 'd"e', "ç\n", "\\", "", " ", "8"]
    list_ = List("default", values, len("".join(values).encode()))

    def show(**fields: Any) -> bytes:
        return b"".join(queries.show_chunks(Request("show", **fields), list_, chunk_elements=3))

    assert show().decode() == repr(values)
    assert json.loads(show(native=True))["elements"] == values
    part = json.loads(show(native=True, start=-5, stop=-1))
    assert (part["start"], part["elements"]) == (3, values[-5:-1])
    assert json.loads(show(native=True, start=7, stop=2))["elements"] == []


def test_many_changes_need_several_responses() -> None:
    """Many changes are returned in several responses."""
    world = World(Thresholds(large_response_bytes=5))
    for value in "abcdefgh":
        world.ask(f"append {value * 2}")
    first = json.loads(world.ask(native("changes", since=1))[0])
    assert ([item["version"] for item in first["changes"]], first["more"]) == ([2, 3, 4], True)
    second = json.loads(world.ask(native("changes", since=6))[0])
    assert ([item["version"] for item in second["changes"]], second["more"]) == ([7, 8], False)


def test_native_search_returns_all_positions(world: World) -> None:
    """A native search returns the count and all positions."""
    world.ask("append a", "append b", "append a")
    result = json.loads(world.ask(native("search", value="a"))[0])
    assert (result["found"], result["positions"]) == (2, [0, 2])
    assert json.loads(world.ask(native("search", value="x"))[0])["error"] == "not_found"


@pytest.mark.parametrize("where", ["messages.parse", "queries.respond"])
def test_internal_error_affects_one_request(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal error in one request does not affect the others of its round."""
    world = World()
    module, name = where.split(".")
    real = getattr(getattr(engine, module), name)

    def fails_for_one(arg: Any, *args: Any) -> Any:
        if arg == [b"pesquisar poison"] or getattr(arg, "value", "") == "poison":
            raise RuntimeError("defect")
        return real(arg, *args)

    monkeypatch.setattr(getattr(engine, module), name, fails_for_one)
    assert world.ask("append 1", "pesquisar poison", "append 2") == [
        "Elemento '1' adicionado.",
        "Erro interno do servidor; nada foi alterado.",
        "Elemento '2' adicionado.",
    ]
    assert world.elements() == ["1", "2"]
    assert [str(error) for error in world.failures] == ["defect"]
