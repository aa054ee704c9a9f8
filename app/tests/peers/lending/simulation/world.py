"""Virtual time, the network between servers, and the connections between workers and servers."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from frota.peers.lending.itinerary import Redirect


@dataclass(frozen=True)
class Faults:
    """What goes wrong: shares of the messages, and the mean seconds between two events of a kind (0: never)."""

    lost: float = 0.0
    duplicated: float = 0.0
    late: float = 0.0  # delayed by up to 40 s, so that they overtake and are overtaken
    partition_every_s: float = 0.0
    server_crash_every_s: float = 0.0
    worker_crash_every_s: float = 0.0


NO_FAULTS = Faults()
ALL_FAULTS = Faults(0.02, 0.02, 0.02, partition_every_s=30, server_crash_every_s=10, worker_crash_every_s=1)


class Node(Protocol):
    """A server or a worker."""

    id: str
    up: bool


class World:
    """The event queue, and who can reach whom."""

    def __init__(self, seed: int, faults: Faults = NO_FAULTS) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.now = 0.0
        self.steps = 0
        self.touched: object = None  # whose method the last step has called
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()
        self._cut_off: set[str] = set()  # the nodes on one side of the partition

    # Time

    def after(self, delay: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call a method later."""
        heapq.heappush(self._queue, (self.now + delay, next(self._numbers), action, arguments))

    def step(self) -> None:
        """Go on to the next event."""
        self.now, _, action, arguments = heapq.heappop(self._queue)
        self.steps += 1
        self.touched = getattr(action, "__self__", None)
        action(*arguments)

    def run(self, seconds: float) -> None:
        """Go on for some time."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.step()
        self.now = end

    # Network

    def latency(self) -> float:
        """Return the time of a message on its way."""
        return self.random.uniform(0.0002, 0.002)

    def partition(self, cut_off: set[str]) -> None:
        """Cut some nodes off from all others; an empty set heals the network."""
        self._cut_off = cut_off

    def reachable(self, one: Node, other: Node) -> bool:
        """Return whether a message between two nodes would arrive now."""
        return one.up and other.up and (one.id in self._cut_off) == (other.id in self._cut_off)

    def send(self, sender: Node, receiver: Node, receive: Callable[..., None], *arguments: Any) -> None:
        """Send a message from server to server: it may be lost, duplicated and late."""
        chance, faults = self.random.random, self.faults
        for _ in range(1 + (chance() < faults.duplicated)):
            if chance() >= faults.lost:
                delay = self.random.uniform(0, 40) if chance() < faults.late else self.latency()
                self.after(delay, self._deliver, sender, receiver, receive, arguments)

    def _deliver(self, sender: Node, receiver: Node, receive: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.touched = receiver
        if self.reachable(sender, receiver):
            receive(*arguments)


class End(Protocol):
    """One end of a connection."""

    id: str
    up: bool

    def connection_closed(self, connection: "Connection") -> None:
        """Handle that the other end has closed, or has reset, the connection."""


class WorkerEnd(End, Protocol):
    """What a worker receives."""

    def task_received(self, connection: "Connection", task_id: str, service_s: float) -> None:
        """Execute a task."""

    def message_received(self, connection: "Connection") -> None:
        """Note that the server is there."""

    def redirect_received(self, connection: "Connection", redirect: Redirect) -> None:
        """Go to another server, or home."""

    def extension_received(self, connection: "Connection", epoch: int, term_s: float) -> None:
        """Stay longer."""


class ServerEnd(End, Protocol):
    """What a server receives from workers."""

    def accept(self, connection: "Connection", owner: str, epoch: int) -> None:
        """Admit a worker."""

    def ping_received(self, connection: "Connection") -> None:
        """Answer a worker's ping."""

    def report_received(self, connection: "Connection", task_id: str) -> None:
        """Process a worker's report."""


class Connection:
    """A connection between a worker and a server: reliable and in order, until something breaks it silently.

    A message that cannot be delivered breaks it: the ends do not notice before one of them misses messages. A closed
    end, or a node that has restarted, resets it.
    """

    def __init__(self, world: World, worker: WorkerEnd, server: ServerEnd) -> None:
        self.world, self.worker, self.server = world, worker, server
        self.open: dict[End, bool] = {worker: True, server: True}
        self.broken = False
        self.ended_at = 0.0  # when one end closed it, or a message was lost
        self.heard_at = world.now  # by the server
        self._busy_until = 0.0

    @property
    def live(self) -> bool:
        """Whether messages get through now."""
        reachable = self.world.reachable(self.worker, self.server)
        return not self.broken and reachable and all(self.open.values())

    def send(self, sender: End, receive: Callable[..., None], *arguments: Any) -> None:
        """Send a message to the other end, which gets it by a call of `receive`."""
        other: End = self.server if sender is self.worker else self.worker
        self._busy_until = max(self._busy_until + 1e-6, self.world.now + self.world.latency())
        self.world.after(self._busy_until - self.world.now, self._deliver, sender, other, receive, arguments)

    def close(self, end: End) -> None:
        """Close one end; the other one learns of it if the network allows."""
        if self.open[end]:
            self.open[end] = False
            self.ended_at = self.ended_at or self.world.now
            other: End = self.server if end is self.worker else self.worker
            self.send(end, other.connection_closed, self)

    def abort(self, end: End) -> None:
        """End the life of one end without a word."""
        self.open[end] = False
        self.ended_at = self.ended_at or self.world.now

    def _deliver(self, sender: End, other: End, receive: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.world.touched = other
        if self.broken or not self.world.reachable(sender, other):
            self.broken = True
            self.ended_at = self.ended_at or self.world.now
        elif self.open[other]:
            receive(*arguments)
            if receive == other.connection_closed:
                self.open[other] = False
        elif self.open[sender]:
            self.open[sender] = False
            sender.connection_closed(self)
