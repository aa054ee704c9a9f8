"""Many servers and workers under bursts of tasks and all faults, with the invariants checked after each step."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from peers.lending.simulation.invariants import Invariants, InvariantViolation
from peers.lending.simulation.scenarios import build, jain
from peers.lending.simulation.server import Server
from peers.lending.simulation.worker import Worker
from peers.lending.simulation.world import ALL_FAULTS, Faults, World

CHECK_EVERY_S = 1.0  # the whole world
BURST_EVERY_S = 3000.0  # per worker, on average
QUIET_S = 75.0  # without faults and new tasks, until everybody is home


@dataclass
class Figures:
    """What a run has shown; times in virtual seconds."""

    seed: int
    steps: int
    virtual_s: float
    wall_s: float
    checks: dict[str, int]
    bursts: int
    tasks: int
    dead: int
    borrowed: int
    time_to_borrow_s: tuple[float, float]  # median, 99th percentile
    fairness: tuple[float, int]  # mean of Jain's index, samples
    longest_stranded_s: dict[str, float]  # by what the lost server was to the worker
    longest_overtime_s: float
    handed_to_absent: int
    totals: dict[str, int]


class Chaos:
    """A run of the simulator."""

    def __init__(self, seed: int, servers: int = 20, workers: int = 1000, faults: Faults = ALL_FAULTS) -> None:
        self.seed = seed
        self.world = World(seed, faults)
        self.random = self.world.random
        self.servers, self.workers = build(self.world, servers, workers)
        self.invariants = Invariants(self.servers, self.workers)
        self.fairness: list[float] = []
        self.bursts = 0
        self.most_lent: dict[str, int] = {}
        self._quiet = False

    def run(self, steps: int) -> Figures:
        """Go on for this many steps, then for a quiet time. Raises InvariantViolation."""
        began = time.perf_counter()
        self._begin()
        world, check = self.world, self.invariants.check_touched
        try:
            while world.steps < steps:
                world.step()
                check(world.touched)
            self._end()
        except InvariantViolation as violation:
            place = f"seed {self.seed}, step {world.steps}, {world.now:.3f} s"
            raise InvariantViolation(f"{place}: {violation}") from None
        return self._figures(time.perf_counter() - began)

    def _begin(self) -> None:
        nodes: list[Server | Worker] = [*self.servers.values(), *self.workers.values()]
        for node in nodes:
            node.start()
        faults = self.world.faults
        self._repeat(BURST_EVERY_S / len(self.workers), self._burst)
        self.world.after(CHECK_EVERY_S, self._check)
        self._repeat(faults.partition_every_s, self._partition)
        self._repeat(faults.server_crash_every_s, self._crash, self.servers)
        self._repeat(faults.worker_crash_every_s, self._crash, self.workers)

    def _end(self) -> None:
        """Heal everything, and see all workers home."""
        self._quiet = True
        self.world.partition(set())
        faults, self.world.faults = self.world.faults, Faults()
        end = self.world.now + QUIET_S
        while self.world.now < end:
            self.world.step()
            self.invariants.check_touched(self.world.touched)
            server = self.world.touched
            if isinstance(server, Server) and (server.tasks.waiting or server.tasks.leased or not server.up):
                end = self.world.now + QUIET_S
        self.world.faults = faults
        self.invariants.check_quiet()

    def _repeat(self, every_s: float, action: Callable[..., None], *arguments: object) -> None:
        if every_s:
            self.world.after(self.random.expovariate(1 / every_s), self._do, every_s, action, *arguments)

    def _do(self, every_s: float, action: Callable[..., None], *arguments: object) -> None:
        if not self._quiet:
            action(*arguments)
            self._repeat(every_s, action, *arguments)

    # What happens

    def _burst(self) -> None:
        """Give one server more than its workers can do in the target wait."""
        server = self.random.choice(list(self.servers.values()))
        service_s = self.random.choice([1.0, 4.0, 10.0, 10.0])
        server.submit(int(self.random.uniform(100, 3000) / service_s), service_s)
        self.bursts += server.up

    def _partition(self) -> None:
        """Cut a random part of all servers and workers off for a while."""
        nodes = [*self.servers, *self.workers]
        self.world.partition(set(self.random.sample(nodes, int(len(nodes) * self.random.uniform(0.05, 0.5)))))
        self.world.after(self.random.uniform(2, 60), self.world.partition, set())

    def _crash(self, nodes: Mapping[str, Server | Worker]) -> None:
        node = self.random.choice(list(nodes.values()))
        if node.up:
            node.crash()
            self.world.after(self.random.expovariate(1 / 10), node.start)

    def _check(self) -> None:
        self.invariants.check_all()
        self._sample()
        self.world.after(CHECK_EVERY_S, self._check)

    # Figures

    def _sample(self) -> None:
        """Compare how many workers the servers have that have lacked some for 10 s or more."""
        for kind, number in self.invariants.totals().items():
            self.most_lent[kind] = max(number, self.most_lent.get(kind, 0))
        shares: list[float] = []
        for server in self.servers.values():
            saturation = server.lending.saturation
            if server.up and self.world.now - server.saturated_since >= 10 and saturation.shortage():
                shares.append(saturation.load.workers)
        if len(shares) > 1:
            self.fairness.append(jain(shares))

    def _figures(self, wall_s: float) -> Figures:
        servers = list(self.servers.values())
        times = sorted(time_s for server in servers for time_s in server.times_to_borrow) or [0.0]
        return Figures(
            seed=self.seed,
            steps=self.world.steps,
            virtual_s=self.world.now,
            wall_s=wall_s,
            checks=dict(self.invariants.checks),
            bursts=self.bursts,
            tasks=sum(len(server.accepted) for server in servers),
            dead=sum(len(server.dead) for server in servers),
            borrowed=len(times),
            time_to_borrow_s=(times[len(times) // 2], times[int(len(times) * 0.99)]),
            fairness=(sum(self.fairness) / max(1, len(self.fairness)), len(self.fairness)),
            longest_stranded_s=dict(self.invariants.longest_stranded_s),
            longest_overtime_s=self.invariants.longest_overtime_s,
            handed_to_absent=sum(server.handed_to_absent for server in servers),
            totals=self.most_lent,
        )
