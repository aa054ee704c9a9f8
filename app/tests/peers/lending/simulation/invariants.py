"""What must hold at any time, checked on the truth of the simulation, which no server knows."""

import math
from collections import Counter

from frota.peers.lending.itinerary import Role
from frota.peers.lending.membership import BORROWED, IDLE, ON_LOAN, USABLE, Member, State
from frota.peers.lending.policy import LoanPolicy
from frota.peers.tasks import State as TaskState
from peers.lending.simulation.server import SILENCE_S, Server
from peers.lending.simulation.worker import CONNECT_TIMEOUT_S, Worker

HERE = USABLE | {State.OFFERED, State.DRAINING, State.RETURNING}
LAG_S = SILENCE_S + 1.0  # how long a server may take a worker for connected that is not
LOAN_END_S = 5.1  # how long a worker may finish tasks after its loan
CHECK_EVERY = 15  # steps that touch a server


class InvariantViolation(AssertionError):
    """Says which invariant does not hold, and for whom."""


class Invariants:
    """Checks a whole world, or what one step has touched."""

    def __init__(self, servers: dict[str, Server], workers: dict[str, Worker]) -> None:
        self.servers, self.workers = servers, workers
        self.checks: Counter[str] = Counter()
        self.longest_stranded_s: dict[str, float] = {}
        self.longest_overtime_s = 0.0
        self._touches = 0
        self._stranded_since: dict[str, tuple[float, Role]] = {}

    def check_touched(self, node: object) -> None:
        """Check a server or worker after a step."""
        if isinstance(node, Server) and node.up:
            self._touches += 1
            if self._touches % CHECK_EVERY == 0:
                self.check_server(node)
        elif isinstance(node, Worker) and node.connection is not None:
            self.check_worker(node)

    def check_all(self) -> None:
        """Check everything."""
        for server in self.servers.values():
            if server.up:
                self.check_server(server)
                self.check_tasks(server)
        for worker in self.workers.values():
            self.check_worker(worker)
            self.check_stranded(worker)
        self.check_conservation()

    # One server

    def check_server(self, server: Server) -> None:
        """A server does not lend and borrow at once, and its record of who is here is that of its connections."""
        self.checks["server"] += 1
        members = list(server.lending.members)
        borrows = any(member.state in BORROWED and member.epoch for member in members)
        if borrows and any(member.state in ON_LOAN for member in members):
            self._fail(f"{server.id} lends and borrows at the same time")
        for member in members:
            if (member.state in HERE) != (member.id in server.connections):
                self._fail(f"{server.id}: {member}, but its connection is {server.connections.get(member.id)}")
            if member.state in HERE:
                self._check_presence(server, member)

    def _check_presence(self, server: Server, member: Member) -> None:
        """A worker that is taken for connected is, or was a moment ago. If it is borrowed, its owner has lent it."""
        connection = server.connections[member.id]
        worker = self.workers[member.id]
        if connection is worker.connection:
            if member.state in BORROWED and member.epoch > 0:
                self._check_loan(server, member)
        elif server.world.now - (connection.ended_at or math.inf) > LAG_S:
            self._fail(f"{server.id} still takes {member} for connected")

    def _check_loan(self, borrower: Server, member: Member) -> None:
        """The owner has this loan on record, and for longer than the borrower. It may have restarted since."""
        self.checks["loan"] += 1
        owner = self.servers[member.owner]
        record = owner.lending.members.get(member.id)
        loan = record.loan if record and record.state in ON_LOAN else None
        restarted = owner.epochs_from > member.epoch and (loan is None or loan.epoch < member.epoch)
        if not owner.up or restarted:  # it learns of the loan when the borrower renews it
            return
        assert member.loan
        if loan is None or (loan.borrower, loan.epoch) != (borrower.id, member.epoch):
            self._fail(f"{borrower.id} uses {member}, which {owner.id} has as {record}")
        elif loan.until - owner.clock < member.loan.until - borrower.clock:
            self._fail(f"{owner.id}'s loan of {member} to {borrower.id} ends before the borrower's")

    def check_tasks(self, server: Server) -> None:
        """No accepted task is lost, none is executed twice, and only workers that may hold tasks do."""
        self.checks["tasks"] += 1
        if max(server.executions.values(), default=0) > 1:
            self._fail(f"{server.id} has two results of a task")
        if any(server.tasks.get(task_id) is None for task_id in server.unfinished):
            self._fail(f"{server.id} has lost a task")
        for worker, tasks in server.tasks._leased.items():
            member = server.lending.members.get(worker)
            if member is None or member.state in IDLE or any(t.state is not TaskState.LEASED for t in tasks.values()):
                self._fail(f"{server.id}: tasks are leased to {worker}: {member}")

    # One worker

    def check_worker(self, worker: Worker) -> None:
        """A worker is in one place; it is not at a borrower's for long after its loan."""
        self.checks["worker"] += 1
        places = [
            server.id
            for server in self.servers.values()
            if server.up and (connection := server.connections.get(worker.id)) and connection.live
        ]
        if len(places) > 1:
            self._fail(f"{worker.id} is connected to {places}")
        if worker.connection and worker.connection.live:
            self._stranded_since.pop(worker.id, None)
        if worker.connection and worker.itinerary.role is Role.BORROWER:
            overtime = worker.world.now - worker.itinerary._until
            self.longest_overtime_s = max(self.longest_overtime_s, overtime)
            if overtime > LOAN_END_S:
                self._fail(f"{worker.id} is still at {places} {overtime:.1f} s after the end of its loan")

    def check_stranded(self, worker: Worker) -> None:
        """A worker is not without a server for longer than a loan or a silence, and the time to find another."""
        self.checks["stranded"] += 1
        world, connection = worker.world, worker.connection
        choices = [self.servers[name] for name in (worker.home.id, *worker.failover)]
        served = connection is not None and connection.live
        if served or not worker.up or not any(world.reachable(worker, server) for server in choices):
            self._stranded_since.pop(worker.id, None)
            return
        since, role = self._stranded_since.setdefault(worker.id, (world.now, worker.itinerary.role))
        stranded = world.now - since
        self.longest_stranded_s[role.name] = max(stranded, self.longest_stranded_s.get(role.name, 0.0))
        policy = worker.itinerary.policy
        longest = LoanPolicy().term_s if role is Role.BORROWER else policy.silence_s
        if stranded > longest + self.failover_s(worker):
            self._fail(f"{worker.id} is stranded for {stranded:.1f} s: {vars(worker.itinerary)}")

    @staticmethod
    def failover_s(worker: Worker) -> float:
        """Return the longest time of two passes over home and the failover list: servers may come back in between."""
        attempts = worker.itinerary.policy.home_attempts + len(worker.failover)
        return 2 * attempts * (CONNECT_TIMEOUT_S + 0.5)

    # All workers

    def totals(self) -> Counter[str]:
        """Return how many workers all servers together have as own, lent, absent and borrowed."""
        totals: Counter[str] = Counter()
        for server in self.servers.values():
            for state, number in server.lending.members.count().items() if server.up else ():
                totals[KIND[state]] += number
        return totals

    def check_conservation(self) -> None:
        """Each worker is on its owner's record once, and what is borrowed is lent, restarted owners aside."""
        self.checks["conservation"] += 1
        for server in self.servers.values():
            foreign = [m.id for m in server.lending.members if self.workers[m.id].home.id != m.owner]
            if foreign:
                self._fail(f"{server.id} takes {foreign} for workers of another owner")
        totals = self.totals()
        if totals["own"] + totals["lent"] + totals["absent"] > len(self.workers):
            self._fail(f"more workers than there are: {totals}")

    def check_quiet(self) -> None:
        """After all faults and tasks: every worker is at home, and every server knows it."""
        self.check_all()
        totals = self.totals()
        if totals["own"] != len(self.workers) or totals.total() != len(self.workers):
            self._fail(f"not all workers are home: {dict(totals)}")
        for server in self.servers.values():
            if server.unfinished:
                self._fail(f"{server.id} has {len(server.unfinished)} tasks without result")

    @staticmethod
    def _fail(text: str) -> None:
        raise InvariantViolation(text)


KIND = {
    State.OWN_IDLE: "own",
    State.OWN_BUSY: "own",
    State.OFFERED: "lent",
    State.LENT: "lent",
    State.ABSENT: "absent",
    State.PROMISED: "promised",
    State.BORROWED_IDLE: "borrowed",
    State.BORROWED_BUSY: "borrowed",
    State.DRAINING: "returning",
    State.RETURNING: "returning",
    State.GONE: "gone",
}
