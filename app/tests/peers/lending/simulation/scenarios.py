"""Two scenarios without faults: one burst of tasks, and borrowers that compete."""

import random
from dataclasses import dataclass

from frota.peers.lending.liveness import MarkUp
from frota.peers.lending.membership import BORROWED, BUSY
from peers.lending.simulation.server import Server
from peers.lending.simulation.worker import Worker
from peers.lending.simulation.world import World


def build(world: World, servers: int, workers: int, failover: int = 3) -> tuple[dict[str, Server], dict[str, Worker]]:
    """Return servers that know each other and share the workers evenly; none is started."""
    by_id = {f"s{number}": Server(world, f"s{number}") for number in range(servers)}
    for server in by_id.values():
        server.peers = {name: peer for name, peer in by_id.items() if peer is not server}
    names = list(by_id)
    members = {}
    for number in range(workers):
        home = number % servers
        others = [names[(home + step) % servers] for step in range(1, min(failover, servers - 1) + 1)]
        members[f"w{number}"] = Worker(world, f"w{number}", by_id[names[home]], by_id, others)
    return by_id, members


def start(servers: dict[str, Server], workers: dict[str, Worker]) -> None:
    """Start all servers and workers; the servers know that the others are up."""
    for server in servers.values():
        server.start()
    for server in servers.values():
        for peer in server.peers:
            assert server.liveness.heard(peer, server.clock) == [MarkUp(peer)]
            server.lending.peer_up(peer)
    for worker in workers.values():
        worker.start()


@dataclass(frozen=True)
class Burst:
    """What a burst of tasks on one of two servers took, in seconds."""

    alone_s: float  # without lending
    total_s: float
    all_work_s: float  # from saturation until all workers have tasks
    all_home_s: float  # from the end of the burst


def burst(seed: int, tasks: int, service_s: float, workers: int = 4) -> Burst:
    """Submit tasks to one of two servers that have `workers` workers each, with and without lending."""
    alone_s, _, _ = _burst(seed, tasks, service_s, workers, lending=False)
    return Burst(alone_s, *_burst(seed, tasks, service_s, workers, lending=True))


def _burst(seed: int, tasks: int, service_s: float, workers: int, *, lending: bool) -> tuple[float, float, float]:
    world = World(seed)
    servers, members = build(world, 2, 2 * workers)
    if not lending:
        for server in servers.values():
            server.peers = {}
    start(servers, members)
    world.run(10)
    server = servers["s0"]
    server.submit(tasks, service_s)
    begin, all_work_s = world.now, 0.0
    while len(server.results) < tasks:
        world.step()
        if not all_work_s and len(server.lending.members.among(BUSY)) == 2 * workers:
            all_work_s = world.now - server.saturated_since
    end = world.now
    while any(worker.connection is None or worker.connection.server is not worker.home for worker in members.values()):
        world.step()
    return end - begin, all_work_s, world.now - end


def jain(shares: list[float]) -> float:
    """Return Jain's index of fairness: 1 for equal shares, 1 / number of shares if one gets all."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def competition(seed: int, borrowers: int = 2, workers: int = 8, seconds: float = 60.0) -> float:
    """Saturate all servers but one, one after another; return Jain's index of what they have borrowed over time."""
    world = World(seed)
    servers, members = build(world, borrowers + 1, (borrowers + 1) * workers)
    start(servers, members)
    world.run(10)
    saturated = list(servers.values())[1:]
    for server in saturated:
        server.submit(100_000 // borrowers, 0.05)
        world.run(random.Random(seed).uniform(0.5, 2.0))
    borrowed = dict.fromkeys(servers, 0.0)
    for _ in range(int(seconds)):
        world.run(1.0)
        for server in saturated:
            borrowed[server.id] += len(server.lending.members.among(BORROWED))
    return jain([borrowed[server.id] for server in saturated])
