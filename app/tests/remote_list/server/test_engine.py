"""Rounds: what is answered is kept, what cannot be kept has never been, and what takes long keeps nobody waiting."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from frota.remote_list import lists, queries
from frota.remote_list.lists import Change, Limits
from frota.remote_list.server import engine
from frota.remote_list.server.change_log import NoChangeLog
from frota.remote_list.server.engine import Engine
from frota.storage.wal.log import DiskFull

CLIENT = "ab" * 16


class World:
    """Stands in for sockets, disk and threads: keeps answers, fails when told to, does what takes long when told to."""

    def __init__(self) -> None:
        self.answers: dict[Any, bytes] = {}
        self.published: list[tuple[str, int]] = []
        self.commits: list[list[bytes]] = []
        self.full = self.broken = False
        self.large = True
        self.failures: list[Exception] = []
        self.later: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        self.engine = Engine(Limits(), 100, Disk(self), self)
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

    def do_later(self) -> None:
        work, done = self.later.pop(0)
        done(work())
        self.go_on()

    def go_on(self) -> None:
        while self.engine.resume_waiting(lambda: True):
            self.engine.finish_round()
        self.engine.finish_round()

    def ask(self, *messages: str) -> list[str]:
        """Send messages in one round; return the answers that there are after it, "" for none."""
        tokens = [object() for _ in messages]
        for message, reply_to in zip(messages, tokens, strict=True):
            self.engine.handle([message.encode()], reply_to)
        self.engine.finish_round()
        self.go_on()
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


def test_all_changes_of_a_round_share_one_commit(world: World) -> None:
    world.ask("append a", "append b", "mostrar", "append c")
    assert [len(records) for records in world.commits] == [3]
    assert world.published == [("append", 1), ("append", 2), ("append", 3)]


def test_a_round_without_changes_writes_nothing(world: World) -> None:
    world.ask("mostrar", "append", "pesquisar x", "remover x")
    assert world.commits == []


def test_a_round_that_finds_no_room_has_never_been(world: World) -> None:
    world.ask("append a", native("append", 1, value="b"))
    world.full = True
    answers = world.ask("append c", "ordenar_desc", "mostrar", native("append", 2, value="d"), "pesquisar c", "limpar")
    assert answers[0] == "Erro: o servidor não tem espaço em disco; nada foi alterado."
    assert answers[2] == "['a', 'b']"
    assert json.loads(answers[3])["error"] == "no_room"
    assert answers[4] == "Não encontrado"
    assert world.elements() == ["a", "b"]
    assert world.published == [("append", 1), ("append", 2)]
    world.full = False
    assert json.loads(world.ask(native("append", 2, value="d"))[0])["version"] == 3
    assert world.elements() == ["a", "b", "d"]


def test_a_list_that_was_only_begun_in_a_round_without_room_is_not_there(world: World) -> None:
    world.full = True
    world.ask(native("append", list="new", value="x"))
    assert world.engine.lists.by_name == {}


def test_the_same_id_gets_the_same_answer_and_changes_nothing(world: World) -> None:
    first, second = world.ask(native("append", 1, value="a"), native("append", 1, value="a"))
    third = world.ask(native("append", 1, value="a"))[0]
    assert first == second == third
    assert world.elements() == ["a"]


def test_a_refused_change_is_refused_again_whatever_has_happened_meanwhile(world: World) -> None:
    first = world.ask(native("remove", 1, value="a"))[0]
    world.ask("append a")
    assert world.ask(native("remove", 1, value="a"))[0] == first
    assert json.loads(first)["error"] == "not_found"
    assert world.elements() == ["a"]


def test_an_id_that_its_client_has_left_behind_is_refused(world: World) -> None:
    world.ask(native("append", 5, value="a"))
    assert json.loads(world.ask(native("append", 4, value="a"))[0])["error"] == "superseded"
    assert world.elements() == ["a"]


def test_who_has_been_silent_longest_is_forgotten(world: World) -> None:
    for number in range(101):
        world.ask(json.dumps({"op": "append", "value": "x", "id": f"{number:032x}:1"}))
    assert len(world.engine.cache.by_client) == 100
    assert f"{0:032x}" not in world.engine.cache.by_client


def test_the_same_id_twice_in_a_round_without_room_is_refused_twice(world: World) -> None:
    world.full = True
    answers = world.ask(native("append", 1, value="a"), native("append", 1, value="a"))
    assert [json.loads(answer)["error"] for answer in answers] == ["no_room", "no_room"]


def test_what_was_answered_before_a_round_without_room_stays_answered(world: World) -> None:
    before = world.ask(native("append", 1, value="a"))
    world.full = True
    assert world.ask("append b", native("append", 1, value="a"))[1:] == before


def test_a_refusal_that_relied_on_what_was_not_kept_is_not_given(world: World) -> None:
    world.ask("append x")
    world.full = True
    answers = world.ask("remover x", "remover x")
    assert answers == ["Erro: o servidor não tem espaço em disco; nada foi alterado."] * 2


def test_who_was_to_be_forgotten_for_what_was_not_kept_is_not(world: World) -> None:
    for number in range(1, 101):
        world.ask(json.dumps({"op": "append", "value": "x", "id": f"{number:032x}:1"}))
    world.full = True
    world.ask(native("append", 1, value="a"))
    assert f"{1:032x}" in world.engine.cache.by_client
    assert len(world.engine.cache.by_client) == 100


def test_after_a_failed_sync_nothing_is_answered_any_more(world: World) -> None:
    world.broken = True
    with pytest.raises(OSError, match="Input/output error"):
        world.ask(native("append", 1, value="a"))
    assert world.answers == {}
    assert world.engine.failed


@pytest.fixture
def everything_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engine, lists, queries):
        monkeypatch.setattr(module, "LONG", 2)
    monkeypatch.setattr(queries, "_LARGE_BYTES", 2)


@pytest.mark.usefixtures("everything_is_long")
def test_while_a_list_is_sorted_its_changes_wait_and_everything_else_goes_on(world: World) -> None:
    world.ask("append c", "append a", "append b")
    answers = world.ask("ordenar_cresc", "append d", "pesquisar c", native("append", list="other", value="x"))
    assert answers[:3] == ["", "", "Encontrado"]
    assert json.loads(answers[3])["ok"]
    world.do_later()
    assert world.elements() == ["a", "b", "c", "d"]
    assert min(answer.decode() for answer in world.answers.values()).startswith("Elemento")
    assert [op for op, _ in world.published] == ["append", "append", "append", "append", "sort", "append"]


@pytest.mark.usefixtures("everything_is_long")
def test_a_sort_that_is_asked_for_again_while_it_runs_is_done_once(world: World) -> None:
    world.ask("append c", "append a", "append b")
    world.ask(native("sort", 1), native("sort", 1))
    world.do_later()
    assert world.later == []
    assert world.published.count(("sort", 4)) == 1
    answers = [answer for answer in world.answers.values() if answer.startswith(b"{")]
    assert len(answers) == 2
    assert answers[0] == answers[1]


@pytest.mark.usefixtures("everything_is_long")
def test_sorts_of_one_list_follow_each_other(world: World) -> None:
    world.ask("append c", "append a", "append b")
    world.ask("ordenar_cresc", "ordenar_desc", "append d", "ordenar_cresc")
    while world.later:
        world.do_later()
    assert world.elements() == ["a", "b", "c", "d"]
    assert len(world.answers) == 7


@pytest.mark.usefixtures("everything_is_long")
def test_a_long_list_that_is_shown_in_a_round_without_room_is_shown_as_it_is(world: World) -> None:
    world.ask("append c", "append a", "append b")
    world.full = True
    assert world.ask("limpar", "mostrar")[1] == ""
    world.do_later()
    assert b"['c', 'a', 'b']" in world.answers.values()


@pytest.mark.usefixtures("everything_is_long")
def test_what_waits_for_a_sort_goes_on_a_little_at_a_time_and_in_order(world: World) -> None:
    world.ask("append c", "append a", "append b")
    world.ask("ordenar_cresc", *[f"append {number}" for number in range(5)])
    work, done = world.later.pop(0)
    done(work())
    steps = 0
    while world.engine.resume_waiting(iter([True, False]).__next__):
        if steps < 3:
            world.engine.handle([b"append last"], f"last {steps}")
        world.engine.finish_round()
        steps += 1
    world.go_on()
    assert steps >= 5
    assert world.elements()[:8] == ["a", "b", "c", "0", "1", "2", "3", "4"]
    assert set(world.elements()[8:]) == {"last"}


@pytest.mark.usefixtures("everything_is_long")
def test_a_sort_that_finds_no_room_at_its_end_has_never_been(world: World) -> None:
    world.ask("append c", "append a", "append b")
    world.ask("ordenar_cresc")
    world.full = True
    world.do_later()
    assert world.elements() == ["c", "a", "b"]
    world.full = False
    world.ask("ordenar_cresc")
    world.do_later()
    assert world.elements() == ["a", "b", "c"]


@pytest.mark.usefixtures("everything_is_long")
def test_what_an_undo_brings_back_is_never_freed(world: World) -> None:
    world.ask("append c", "append a", "append b", "limpar", native("undo"))
    assert world.later == []
    world.ask("limpar")
    world.full = True
    world.ask("append x")
    world.full = False
    world.ask(native("undo"))
    assert world.later == []
    assert world.elements() == ["c", "a", "b"]


@pytest.mark.usefixtures("everything_is_long")
def test_a_long_list_that_no_undo_brings_back_is_freed_elsewhere(world: World) -> None:
    world.ask("append c", "append a", "append b", "limpar")
    freed = world.engine.lists.get("default").undo
    world.ask("append x")
    assert freed
    assert freed.elements == ["c", "a", "b"]
    world.do_later()
    assert freed.elements == []
    assert world.elements() == ["x"]


@pytest.mark.usefixtures("everything_is_long")
def test_a_long_list_is_shown_as_it_was_when_it_was_asked_for(world: World) -> None:
    world.ask("append c", "append a", "append b")
    assert world.ask("mostrar", "limpar") == ["", "Lista limpa."]
    world.do_later()
    assert b"[]" in world.answers.values() or b"['c', 'a', 'b']" in world.answers.values()


@pytest.mark.usefixtures("everything_is_long")
def test_who_asks_for_more_long_lists_than_can_be_sent_is_told_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ask("append c", "append a", "append b")
    world.large = False
    assert world.ask("mostrar") == ["Servidor ocupado: muitas respostas longas ao mesmo tempo."]
    world.large = True
    monkeypatch.setattr(engine, "_MAX_LARGE_BYTES", 10)
    answers = world.ask(*["mostrar"] * 20)
    assert sum(answer.startswith("Servidor ocupado") for answer in answers) == 17  # three bytes each
    for _ in range(3):
        world.do_later()
    assert world.ask("mostrar") == [""]


def test_a_show_in_pieces_is_python_s_repr_and_json(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setattr(queries, "_CHUNK_ELEMENTS", 3)
    values = ["a", "b'c", 'd"e', "ç\n", "\\", "", " ", "8"]
    for value in values:
        world.ask(native("append", value=value))
    assert world.ask("mostrar") == [repr(values)]
    assert json.loads(world.ask(native("show"))[0])["elements"] == values
    part = json.loads(world.ask(native("show", start=-5, stop=-1))[0])
    assert (part["start"], part["elements"]) == (3, values[-5:-1])
    assert json.loads(world.ask(native("show", start=7, stop=2))[0])["elements"] == []


def test_many_changes_are_told_in_several_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_LARGE_BYTES", 5)
    for value in "abcdefgh":
        world.ask(f"append {value * 2}")
    first = json.loads(world.ask(native("changes", since=1))[0])
    assert ([one["version"] for one in first["changes"]], first["more"]) == ([2, 3, 4], True)
    rest = json.loads(world.ask(native("changes", since=6))[0])
    assert ([one["version"] for one in rest["changes"]], rest["more"]) == ([7, 8], False)


def test_a_native_search_tells_every_position(world: World) -> None:
    world.ask("append a", "append b", "append a")
    found = json.loads(world.ask(native("search", value="a"))[0])
    assert (found["found"], found["positions"]) == (2, [0, 2])
    assert json.loads(world.ask(native("search", value="x"))[0])["error"] == "not_found"


@pytest.mark.parametrize("where", ["messages.parse", "queries.respond"])
def test_a_request_that_fails_for_a_reason_of_ours_costs_nobody_else_an_answer(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    module, name = where.split(".")
    real = getattr(getattr(engine, module), name)

    def fails_for_one(given: Any, *rest: Any) -> Any:
        if given == [b"pesquisar poison"] or getattr(given, "value", "") == "poison":
            raise RuntimeError("ours")
        return real(given, *rest)

    monkeypatch.setattr(getattr(engine, module), name, fails_for_one)
    assert world.ask("append 1", "pesquisar poison", "append 2") == [
        "Elemento '1' adicionado.",
        "Erro interno do servidor; nada foi alterado.",
        "Elemento '2' adicionado.",
    ]
    assert world.elements() == ["1", "2"]
    assert [str(error) for error in world.failures] == ["ours"]
