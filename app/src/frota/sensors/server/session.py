"""The session of one client: who sends, and which number comes next."""

from typing import Any, Protocol
from uuid import UUID

from frota.sensors.messages import GREATEST, Command
from frota.sensors.server.event_log import EventLog
from frota.storage.wal.group_commit import WriteAheadLog
from frota.storage.wal.log import DiskFull
from frota.storage.wal.segment import NO_PRODUCER


class Client(Protocol):
    """What a session needs of its connection."""

    closed: bool
    address: tuple[str, int]

    def write(self, data: bytes) -> None:
        """Send."""

    def hold(self) -> None:
        """Put off what comes, until the hello is answered."""

    def release(self) -> None:
        """Go on with what was put off."""


class Server(Protocol):
    """What a session needs of its server."""

    wal: WriteAheadLog
    event_log: EventLog

    def claim(self, producer: bytes, connection: Any) -> None:
        """Make this the numbered client's connection."""


class Session:
    """What a connection has learnt from hello and skip; `producer` is NO_PRODUCER unless its readings are numbered."""

    __slots__ = ("_next", "_server", "producer")

    def __init__(self, server: Server) -> None:
        self._server = server
        self.producer = NO_PRODUCER
        self._next = 0

    def obey(self, connection: Client, command: Command) -> None:
        """Do what a hello or a skip says. Raises ValueError, saying what is right."""
        if command.name == "hello":
            self._hello(connection, command.argument)
        else:
            self._skip(connection, command.argument)

    def count(self, lines: int) -> int:
        """Give the next lines their numbers; return the last one, 0 if they have none."""
        if self.producer is NO_PRODUCER:
            return 0
        self._next += lines
        return self._next - 1

    def _hello(self, connection: Client, argument: str) -> None:
        try:
            producer = UUID(argument).bytes
        except ValueError:
            producer = NO_PRODUCER
        if producer == NO_PRODUCER or self.producer is not NO_PRODUCER:
            raise ValueError("hello espera um UUID, uma vez por conexão")
        self._server.claim(producer, connection)
        self.producer = producer
        connection.hold()
        # Behind everything a former connection of this client has sent: only then its last number is known.
        self._server.wal.barrier(self._numbered, connection)

    def _numbered(self, connection: Client, _: DiskFull | None) -> None:
        if not connection.closed:
            last = self._server.wal.last_sequence(self.producer)
            self._next = last + 1
            connection.write(f"frota numbered {last}\n".encode())
            connection.release()

    def _skip(self, connection: Client, argument: str) -> None:
        right = argument.isascii() and argument.isdigit() and len(argument) <= len(str(GREATEST))
        if not right or self.producer is NO_PRODUCER or int(argument) < self._next:
            raise ValueError(f"skip espera um número acima do último, até {GREATEST}, depois de hello")
        missing = int(argument) - self._next
        if missing and self._next > 1:  # a client that is new here may begin anywhere
            self._server.event_log.skipped(connection.address, missing)
        self._next = int(argument)
