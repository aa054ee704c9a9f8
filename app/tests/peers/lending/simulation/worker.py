"""The simulated worker: it goes where its itinerary says, and executes one task at a time."""

from frota.peers.lending.itinerary import Itinerary, Outcome, Redirect
from peers.lending.simulation.server import Server
from peers.lending.simulation.world import Connection, World

PING_EVERY_S = 10.0
CONNECT_TIMEOUT_S = 2.0


class Worker:
    """A worker: it executes one task at a time."""

    def __init__(self, world: World, name: str, home: Server, servers: dict[str, Server], failover: list[str]) -> None:
        self.world, self.id, self.home, self._servers = world, name, home, servers
        self.failover = failover
        self.up = False
        self.itinerary = Itinerary(home.id, failover)
        self.connection: Connection | None = None
        self._tasks = 0
        self._life = 0
        self._ping_at = 0.0

    def start(self) -> None:
        """Start, or restart, at home."""
        self.up = True
        self._life += 1
        self._tasks = 0
        self.connection = None
        self.itinerary = Itinerary(self.home.id, self.failover)
        self._connect_later(self.world.random.uniform(0, 0.1))

    def crash(self) -> None:
        """Die without a word."""
        self.up = False
        self._life += 1
        if self.connection:
            self.connection.abort(self)
            connection, self.connection = self.connection, None
            self.world.after(0.01, self._reset, connection)

    @staticmethod
    def _reset(connection: Connection) -> None:
        """Let the kernel close the connection of a dead process."""
        if connection.open[connection.server] and connection.server.up and not connection.broken:
            connection.server.connection_closed(connection)

    def _connect_later(self, delay: float) -> None:
        self.world.after(delay, self._connect, self._life)

    def _connect(self, life: int) -> None:
        if life != self._life or self.connection:
            return
        server = self._servers[self.itinerary.server]
        if self.world.reachable(self, server):
            self.connection = Connection(self.world, self, server)
            self.itinerary.arrived(self.world.now)
            self.connection.send(self, server.accept, self.connection, self.home.id, self.itinerary.epoch)
            self._ping_at = self.world.now + PING_EVERY_S
            self._watch(self.connection)
        else:
            timeout = CONNECT_TIMEOUT_S if server.up else 0.01
            self.itinerary.departed(Outcome.UNREACHABLE)
            self._connect_later(timeout + self.world.random.uniform(0.25, 0.5))

    def _watch(self, connection: Connection) -> None:
        """Leave when it is time; ping the server every ten seconds."""
        if connection is self.connection and not self._leave_if_due():
            now = self.world.now
            if now >= self._ping_at:
                self._ping_at = now + PING_EVERY_S
                connection.send(self, connection.server.ping_received, connection)
            next_ = min(self._ping_at, self.itinerary.deadline(now))
            self.world.after(next_ - now, self._watch, connection)

    def _leave_if_due(self) -> bool:
        outcome = self.itinerary.must_leave(self.world.now, idle=not self._tasks)
        if outcome:
            self._leave(outcome)
        return outcome is not None

    def _leave(self, outcome: Outcome) -> None:
        assert self.connection
        self.connection.close(self)
        self.itinerary.departed(outcome)
        self._gone()

    def _gone(self) -> None:
        self.connection = None
        self._tasks = 0
        self._connect_later(0.001)

    def connection_closed(self, connection: Connection) -> None:
        """Go on to the next server."""
        if connection is self.connection:
            self.itinerary.departed(Outcome.UNREACHABLE)
            self._gone()

    def message_received(self, connection: Connection) -> None:
        """Note that the server is there."""
        if connection is self.connection:
            self.itinerary.heard(self.world.now)

    def task_received(self, connection: Connection, task_id: str, service_s: float) -> None:
        """Execute a task."""
        self.message_received(connection)
        self._tasks += 1
        self.world.after(service_s, self._finish, connection, task_id)

    def _finish(self, connection: Connection, task_id: str) -> None:
        if connection is not self.connection:
            return
        self._tasks -= 1
        connection.send(self, connection.server.report_received, connection, task_id)
        self._leave_if_due()

    def redirect_received(self, connection: Connection, redirect: Redirect) -> None:
        """Go to another server, or home."""
        if connection is not self.connection:
            return
        self.message_received(connection)
        if redirect.server == self.home.id:
            self.itinerary.redirected(redirect, self.world.now, trusted=True)
            self._leave_if_due()
        elif self.itinerary.redirected(redirect, self.world.now, trusted=True):
            connection.close(self)
            self._gone()

    def extension_received(self, connection: Connection, epoch: int, term_s: float) -> None:
        """Stay longer."""
        if connection is self.connection:
            self.itinerary.heard(self.world.now)
            self.itinerary.extended(epoch, term_s, self.world.now)
