"""The control lines of one connection: who sends, which number comes next, what is kept."""

from typing import TYPE_CHECKING
from uuid import UUID

from frota.sensors.framing import Bad
from frota.sensors.messages import GREATEST, Command
from frota.sensors.readings import Query
from frota.sensors.server import subscriptions
from frota.storage.wal.log import NoRoom
from frota.storage.wal.segment import NOBODY

if TYPE_CHECKING:
    from frota.sensors.server.connection import Connection
    from frota.sensors.server.server import SensorServer


class Control:
    """What a connection has learnt from control lines; `writer` is NOBODY unless its readings are numbered."""

    __slots__ = ("_next", "_server", "writer")

    def __init__(self, server: "SensorServer") -> None:
        self._server = server
        self.writer = NOBODY
        self._next = 0

    def obey(self, connection: "Connection", command: Command) -> None:
        """Do what a control line says, or refuse it."""
        try:
            if command.name == "hello":
                self._hello(connection, command.argument)
            elif command.name == "skip":
                self._skip(connection, command.argument)
            else:
                query = Query.from_json(command.argument)
                show = subscriptions.show(self._server, connection, query, command.name == "tail")
                connection.viewer = self._server.show(show)
        except ValueError as error:
            connection.refuse(Bad(str(error), fatal=True, text=command.argument))

    def count(self, lines: int) -> int:
        """Give the next lines their numbers; return the last one, 0 if they have none."""
        if self.writer is NOBODY:
            return 0
        self._next += lines
        return self._next - 1

    def _hello(self, connection: "Connection", argument: str) -> None:
        try:
            writer = UUID(argument).bytes
        except ValueError:
            writer = NOBODY
        if writer == NOBODY or self.writer is not NOBODY:
            raise ValueError("hello espera um UUID, uma vez por conexão")
        self._server.claim(writer, connection)
        self.writer = writer
        connection.hold()
        # Behind everything a former connection of this client has sent: only then its last number is known.
        self._server.log.barrier(self._numbered, connection)

    def _numbered(self, connection: "Connection", _: NoRoom | None) -> None:
        if not connection.closed:
            last = self._server.log.last(self.writer)
            self._next = last + 1
            connection.write(f"frota numbered {last}\n".encode())
            connection.release()

    def _skip(self, connection: "Connection", argument: str) -> None:
        right = argument.isascii() and argument.isdigit() and len(argument) <= len(str(GREATEST))
        if not right or self.writer is NOBODY or int(argument) < self._next:
            raise ValueError(f"skip espera um número acima do último, até {GREATEST}, depois de hello")
        missing = int(argument) - self._next
        if missing and self._next > 1:  # a client that is new here may begin anywhere
            self._server.event_log.skipped(connection, missing)
        self._next = int(argument)
