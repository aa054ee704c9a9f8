"""The server compared with plain Python lists under random operations, kills and restarts included."""

import json
import tempfile
from pathlib import Path
from typing import Any

import zmq
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from support import FULL
from support.zmq_server import CONTEXT, ListServer, RawClient

names = st.sampled_from(["default", "other"])
values = st.sampled_from(["a", "b", "a b", "10", "9", "ç", "", "'"]) | st.text(max_size=4).filter(
    lambda text: text.isprintable()
)
words = st.sampled_from(["a", "b", "10", "9", "ç"])


class Model:
    """The expected list: its elements, its version, and the elements before the last change."""

    def __init__(self) -> None:
        self.elements: list[str] = []
        self.version = 0
        self.before: list[str] | None = None

    def to(self, elements: list[str], undoable: bool = True) -> None:
        self.before = self.elements if undoable else None
        self.elements, self.version = elements, self.version + 1


class ListMachine(RuleBasedStateMachine):
    """Compares every response with the model's, and every list after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.server = ListServer(Path(self.folder.name), "--snapshot-bytes", 4096, "--log-requests-per-second", 0)
        self.models = {"default": Model(), "other": Model()}
        self.repeated: tuple[bytes, bytes] | None = None
        self.connect()

    @initialize()
    def begin(self) -> None:
        self.numbering = RawClient(self.requester.socket)

    def connect(self) -> None:
        socket = CONTEXT.socket(zmq.REQ)
        socket.linger, socket.rcvtimeo = 0, 20_000
        socket.connect(f"tcp://127.0.0.1:{self.server.port}")
        self.requester = RawClient(socket)

    def teardown(self) -> None:
        self.requester.socket.close()
        self.server.stop()
        self.folder.cleanup()

    def native(self, op: str, name: str, **fields: Any) -> dict[str, Any]:
        request = json.dumps({"op": op, "list": name, "id": self.numbering.next_id(), **fields}).encode()
        answer = self.requester.request(request)
        self.repeated = (request, answer)
        response: dict[str, Any] = json.loads(answer)
        model = self.models[name]
        if not response["ok"]:
            assert response["version"] == model.version
        return response

    def changed(self, answer: dict[str, Any], name: str) -> None:
        model = self.models[name]
        assert (answer["ok"], answer["length"], answer["version"]) == (True, len(model.elements), model.version)

    @rule(name=names, value=values)
    def append(self, name: str, value: str) -> None:
        model = self.models[name]
        model.to([*model.elements, value])
        self.changed(self.native("append", name, value=value), name)

    @rule(name=names, value=values, position=st.integers(-6, 6))
    def insert(self, name: str, value: str, position: int) -> None:
        model = self.models[name]
        answer = self.native("insert", name, value=value, position=position)
        if -len(model.elements) <= position <= len(model.elements):
            elements = list(model.elements)
            elements.insert(position, value)
            model.to(elements)
            self.changed(answer, name)
        else:
            assert answer["error"] == "position"

    @rule(name=names, value=values)
    def remove(self, name: str, value: str) -> None:
        model = self.models[name]
        answer = self.native("remove", name, value=value)
        if value in model.elements:
            elements = list(model.elements)
            elements.remove(value)
            model.to(elements)
            self.changed(answer, name)
        else:
            assert answer["error"] == "not_found"

    @rule(name=names, descending=st.booleans())
    def sort(self, name: str, descending: bool) -> None:
        model = self.models[name]
        model.to(sorted(model.elements, reverse=descending))
        self.changed(self.native("sort", name, descending=descending), name)

    @rule(name=names)
    def clear(self, name: str) -> None:
        self.models[name].to([])
        self.changed(self.native("clear", name), name)

    @rule(name=names)
    def undo(self, name: str) -> None:
        model = self.models[name]
        answer = self.native("undo", name)
        if model.before is None:
            assert answer["error"] == "nothing_to_undo"
        else:
            model.to(model.before, undoable=False)
            self.changed(answer, name)

    @rule(word=words, position=st.integers(-3, 9))
    def legacy(self, word: str, position: int) -> None:
        model = self.models["default"]
        model.to([*model.elements, word])
        assert self.requester.request(f"append {word}".encode()).decode() == f"Elemento '{word}' adicionado."
        answer = self.requester.request(f"insert {position} {word}".encode()).decode()
        if 0 <= position <= len(model.elements):
            model.to([*model.elements[:position], word, *model.elements[position:]])
            assert answer == f"Elemento '{word}' inserido na posição {position}."
        else:
            assert answer == f"Posição inválida: {position}"
        expected = "Encontrado" if word in model.elements else "Não encontrado"
        assert self.requester.request(f"pesquisar {word}".encode()).decode() == expected

    @rule(garbage=st.lists(st.binary(max_size=20), min_size=1, max_size=3))
    def malformed(self, garbage: list[bytes]) -> None:
        prefixes = [b"append", b"insert", b"remover", b"limpar", b"ordenar"]
        if not any(part.split()[:1] and part.split()[0].startswith(tuple(prefixes)) for part in garbage):
            assert self.requester.request(*garbage)

    @precondition(lambda self: self.repeated)
    @rule()
    def repeat(self) -> None:
        assert self.repeated
        assert self.requester.request(self.repeated[0]) == self.repeated[1]

    @rule(start=st.integers(-4, 4) | st.none(), stop=st.integers(-4, 4) | st.none())
    def show(self, start: int | None, stop: int | None) -> None:
        answer = self.requester.native("show", start=start, stop=stop)
        assert answer["elements"] == self.models["default"].elements[start:stop]

    @rule(value=values)
    def search(self, value: str) -> None:
        elements = self.models["default"].elements
        expected = [position for position, element in enumerate(elements) if element == value]
        answer = self.requester.native("search", value=value)
        assert answer.get("positions", []) == expected
        assert answer["ok"] == bool(expected)

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        if kill:
            self.server.kill()
        else:
            assert self.server.stop() == 0
        self.server.start()
        client, number = self.numbering.client, self.numbering.number
        self.requester.socket.close()
        self.connect()
        self.numbering.client, self.numbering.number = client, number

    @invariant()
    def agrees(self) -> None:
        for name, model in self.models.items():
            answer = self.requester.native("show", list=name)
            assert (answer["elements"], answer["version"]) == (model.elements, model.version)
        assert self.requester.request(b"mostrar").decode() == repr(self.models["default"].elements)


ListMachine.TestCase.settings = settings(max_examples=8 if FULL else 2, stateful_step_count=30, deadline=None)
TestList = ListMachine.TestCase
