"""A legacy server: one REP socket, one list in memory, and its defect: a malformed message stops it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import zmq

from support import TIMEOUT_S


class LegacyList:
    """The legacy server's list and responses; raises what that server raises."""

    def __init__(self) -> None:
        self.elements: list[str] = []

    def respond(self, command: str) -> str:  # noqa: PLR0911 -- one per command
        words = command.split()
        if words[0] == "mostrar":
            return str(self.elements)
        if words[0] == "append":
            self.elements.append(words[1])
            return f"Elemento '{words[1]}' adicionado."
        if words[0] == "insert":
            return self._insert(int(words[1]), words[2])
        if words[0] == "remover":
            return self._remove(words[1])
        if words[0] == "pesquisar":
            return "Encontrado" if words[1] in self.elements else "Não encontrado"
        if words[0] in ("ordenar_cresc", "ordenar_desc"):
            self.elements.sort(reverse=words[0] == "ordenar_desc")
            return f"Lista ordenada {'de' if words[0] == 'ordenar_desc' else ''}crescentemente."
        if words[0] == "limpar":
            self.elements.clear()
            return "Lista limpa."
        return "Comando inválido."

    def _insert(self, position: int, element: str) -> str:
        if not 0 <= position <= len(self.elements):
            return f"Posição inválida: {position}"
        self.elements.insert(position, element)
        return f"Elemento '{element}' inserido na posição {position}."

    def _remove(self, element: str) -> str:
        if element not in self.elements:
            return f"Elemento '{element}' não encontrado."
        self.elements.remove(element)
        return f"Elemento '{element}' removido."


@contextmanager
def legacy_server() -> Iterator[tuple[int, list[str]]]:
    """Run a legacy server for the time of a block; give its port and the commands that it receives."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    replies = context.socket(zmq.REP)
    replies.linger = 0
    port = replies.bind_to_random_port("tcp://127.0.0.1")
    received: list[str] = []
    thread = threading.Thread(target=_serve, args=(replies, received), daemon=True)
    thread.start()
    try:
        yield port, received
    finally:
        context.term()  # ends the loop
        thread.join(TIMEOUT_S)


def _serve(replies: "zmq.Socket[bytes]", received: list[str]) -> None:
    legacy = LegacyList()
    try:
        while True:
            received.append(replies.recv().decode())
            try:
                response = legacy.respond(received[-1])
            except (IndexError, ValueError):
                replies.poll()  # without a reply, the socket can receive nothing more
            replies.send_string(response)
    except zmq.ContextTerminated:
        replies.close()
