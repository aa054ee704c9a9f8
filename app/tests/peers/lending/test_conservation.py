"""Conservation of workers as a property: three servers and six workers, every message delivered by hand."""

from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peers.lending.simulation.invariants import Invariants
from peers.lending.simulation.scenarios import build, start
from peers.lending.simulation.world import Node, World
from support import FULL

SERVERS = st.sampled_from(["s0", "s1", "s2"])
WORKERS = st.integers(0, 5).map("w{}".format)


class HandWorld(World):
    """A world whose messages between servers wait until a rule delivers, repeats or loses them."""

    def __init__(self) -> None:
        super().__init__(seed=1)
        self.in_flight: list[tuple[Node, Node, Callable[..., None], tuple[Any, ...]]] = []

    def send(self, sender: Node, receiver: Node, receive: Callable[..., None], *arguments: Any) -> None:
        """Keep a message; heartbeats arrive at once."""
        if receive.__name__ == "heartbeat_received":
            super().send(sender, receiver, receive, *arguments)
        else:
            self.in_flight.append((sender, receiver, receive, arguments))

    def deliver(self, place: int, *, keep: bool) -> None:
        """Deliver one message; keep it to deliver it again."""
        place %= len(self.in_flight)
        message = self.in_flight[place] if keep else self.in_flight.pop(place)
        self._deliver(*message)


class LendingMachine(RuleBasedStateMachine):
    """Whatever is late, lost or repeated, and whoever crashes: the invariants of the simulator hold."""

    def __init__(self) -> None:
        super().__init__()
        self.world = HandWorld()
        self.servers, self.workers = build(self.world, 3, 6)
        start(self.servers, self.workers)
        self.world.run(6)
        self.truth = Invariants(self.servers, self.workers)

    @rule(server=SERVERS, service_s=st.sampled_from([0.5, 5.0]))
    def burst(self, server: str, service_s: float) -> None:
        self.servers[server].submit(20, service_s)
        self.world.run(0.5)

    @rule(place=st.integers(0, 50))
    def deliver(self, place: int) -> None:
        if self.world.in_flight:
            self.world.deliver(place, keep=False)

    @rule(place=st.integers(0, 50))
    def deliver_twice(self, place: int) -> None:
        if self.world.in_flight:
            self.world.deliver(place, keep=True)

    @rule()
    def deliver_all_in_order(self) -> None:
        for _ in range(len(self.world.in_flight)):
            self.world.deliver(0, keep=False)

    @rule(place=st.integers(0, 50))
    def lose(self, place: int) -> None:
        if self.world.in_flight:
            self.world.in_flight.pop(place % len(self.world.in_flight))

    @rule(seconds=st.sampled_from([0.01, 0.3, 3.0, 6.0, 20.0]))
    def wait(self, seconds: float) -> None:
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.run(min(1.0, end - self.world.now))
            self.truth.check_all()

    @rule(server=SERVERS)
    def crash_or_start(self, server: str) -> None:
        node = self.servers[server]
        if node.up:
            node.crash()
        else:
            node.start()

    @rule(worker=WORKERS)
    def restart_worker(self, worker: str) -> None:
        self.workers[worker].crash()
        self.world.run(0.5)
        self.workers[worker].start()

    @rule(cut_off=st.sets(SERVERS | WORKERS, max_size=5))
    def partition(self, cut_off: set[str]) -> None:
        self.world.partition(cut_off)

    @invariant()
    def workers_are_conserved(self) -> None:
        self.truth.check_all()

    def teardown(self) -> None:
        """Heal everything: all workers come home, and every task has its result."""
        self.world.partition(set())
        for server in self.servers.values():
            if not server.up:
                server.start()
        quiet_s = 0
        while quiet_s < 75:
            self.world.run(1)
            quiet_s = (
                0
                if any(server.tasks.waiting or server.tasks.leased for server in self.servers.values())
                else quiet_s + 1
            )
            for _ in range(len(self.world.in_flight)):
                self.world.deliver(0, keep=False)
        self.truth.check_quiet()


TestLending = LendingMachine.TestCase
TestLending.settings = settings(max_examples=100 if FULL else 12, stateful_step_count=40 if FULL else 30)
