"""The simulated server: it carries out what the pure modules decide, as the real one does with sockets."""

import math
from collections import defaultdict

from frota.peers.lending.actions import (
    Action,
    AnswerRenewal,
    Disconnect,
    ExtendLoan,
    GiveBack,
    Lend,
    LoanKey,
    Offer,
    OfferWorkers,
    RecallLoans,
    RenewalAnswer,
    RenewLoans,
    RequestWorkers,
    Return,
)
from frota.peers.lending.engine import Lending
from frota.peers.lending.itinerary import Redirect
from frota.peers.lending.liveness import Liveness, LivenessAction, MarkDown, MarkUp, SendHeartbeat
from frota.peers.lending.membership import BORROWED, IDLE, ON_LOAN, State
from frota.peers.lending.saturation import Saturation
from frota.peers.tasks import Task, Tasks, Verdict
from peers.lending.simulation.world import Connection, World

TICK_S = 0.25
SILENCE_S = 25.0


class Server:
    """A server: its memory is lost in a crash, `accepted` and `results` are its database."""

    lending_class = Lending  # a test breaks it

    def __init__(self, world: World, name: str, tick_s: float = TICK_S) -> None:
        self.world, self.id, self.up, self.tick_s = world, name, False, tick_s
        self.peers: dict[str, Server] = {}
        self.accepted: dict[str, float] = {}  # service times of tasks
        self.results: dict[str, str] = {}  # the workers that executed them
        self.dead: set[str] = set()
        self.executions = defaultdict[str, int](int)  # results that were written, by task
        self.rate = 1 + world.random.uniform(-1e-4, 1e-4)  # of its clock, whose zero is its own too
        self.offset = world.random.uniform(0, 1e6)
        self.epochs_from = 0
        self.connections: dict[str, Connection] = {}
        self.lacking_since = math.inf  # saturated, without a borrowed worker, while a peer has some to spare
        self.saturated_since = math.inf
        self.times_to_borrow: list[float] = []
        self.handed_to_absent = 0
        self._life = 0
        self._forget_everything()

    @property
    def clock(self) -> float:
        """The server's own monotonic time."""
        return self.offset + self.world.now * self.rate

    @property
    def unfinished(self) -> list[str]:
        """The accepted tasks that have no result and are not dead."""
        return [task_id for task_id in self.accepted if task_id not in self.results and task_id not in self.dead]

    def _forget_everything(self) -> None:
        self.epochs_from = int(self.world.now * 1e6) + 1
        self.lending = self.lending_class(self.id, self.epochs_from, Saturation())
        self.tasks, self.liveness = Tasks(), Liveness()
        self.connections = {}
        self.lacking_since = self.saturated_since = math.inf

    def start(self) -> None:
        """Start, or restart, with what the database has."""
        self._forget_everything()
        self.up = True
        self._life += 1
        for task_id in self.unfinished:
            self.tasks.restore(task_id, self.accepted[task_id])
        for peer in self.peers:
            self.liveness.add(peer, self.clock)
        self.world.after(self.world.random.uniform(0, self.tick_s), self.tick, self._life)

    def crash(self) -> None:
        """Die without a word."""
        self.up = False
        for connection in self.connections.values():
            connection.abort(self)

    # Tasks

    def submit(self, count: int, service_s: float) -> None:
        """Accept tasks of one service time."""
        for _ in range(count if self.up else 0):
            task_id = f"{self.id}/{len(self.accepted)}"
            self.accepted[task_id] = service_s
            self.tasks.submit(task_id, service_s)
        if self.up:
            self.dispatch_all()

    def dispatch_all(self) -> None:
        """Hand tasks to all idle workers."""
        for member in self.lending.members.among(IDLE) if self.tasks.waiting else ():
            self.dispatch(member.id)

    def dispatch(self, worker: str) -> None:
        """Hand one task to a worker, if it may get one."""
        if self.tasks.waiting and self.lending.may_get_tasks(worker) and not self.tasks.held_by(worker):
            connection = self.connections[worker]
            for task in self.tasks.hand_out(worker, 1, self.clock):
                self.lending.worker_busy(worker, self.clock)
                self.handed_to_absent += not connection.live
                connection.send(self, connection.worker.task_received, connection, task.id, task.payload)

    def report_received(self, connection: Connection, task_id: str) -> None:
        """Process a worker's report."""
        worker = connection.worker.id
        connection.heard_at = self.world.now
        task = self.tasks.get(task_id)
        verdict = self.tasks.report(task_id, worker, "", self.clock)
        if task and verdict in {Verdict.ACCEPTED, Verdict.ACCEPTED_LATE}:
            self.results[task_id] = worker
            self.executions[task_id] += 1
            self.lending.saturation.service.record(self.clock - task.handed_at)
        self._free(worker)

    def _free(self, worker: str) -> None:
        if not self.tasks.held_by(worker):
            self.perform(self.lending.worker_idle(worker, self.clock))
            self.dispatch(worker)

    def _note_dead(self, tasks: list[Task]) -> None:
        self.dead.update(task.id for task in tasks if task.attempts >= self.tasks.policy.max_attempts)

    # Workers

    def accept(self, connection: Connection, owner: str, epoch: int) -> None:
        """Admit a worker."""
        worker = connection.worker.id
        former = self.connections.get(worker)
        if former:
            former.abort(self)
        self._note_dead(self.tasks.release(worker, "reconnected"))
        self.connections[worker] = connection
        self.perform(self.lending.worker_arrived(worker, self.clock, owner, epoch))
        if owner != self.id and epoch and self.lacking_since < math.inf:
            self.times_to_borrow.append(self.world.now - self.lacking_since)
            self.lacking_since = math.inf
        self.dispatch(worker)

    def ping_received(self, connection: Connection) -> None:
        """Answer a worker's ping."""
        connection.heard_at = self.world.now
        connection.send(self, connection.worker.message_received, connection)

    def connection_closed(self, connection: Connection) -> None:
        """Note that a worker has left, unless it is here on a newer connection."""
        worker = connection.worker.id
        if self.connections.get(worker) is connection:
            del self.connections[worker]
            self._note_dead(self.tasks.release(worker, "left"))
            self.perform(self.lending.worker_left(worker, self.clock))
            self.dispatch_all()

    # Time

    def tick(self, life: int) -> None:
        """Do what is due."""
        if life != self._life or not self.up:
            return
        self.world.after(self.tick_s, self.tick, life)
        self._close_silent_connections()
        expired = self.tasks.expire(self.clock)
        self._note_dead(expired)
        self._watch_peers(self.liveness.tick(self.clock))
        self.perform(self.lending.tick(self.tasks.waiting, self.clock))
        self._measure()
        self.dispatch_all()

    def _close_silent_connections(self) -> None:
        for connection in list(self.connections.values()):
            if self.world.now - connection.heard_at > SILENCE_S:
                connection.close(self)
                self.connection_closed(connection)

    def _measure(self) -> None:
        """Note since when the server is saturated, and since when it lacks workers that a peer could lend."""
        if not self.lending.saturation.saturated:
            self.lacking_since = self.saturated_since = math.inf
            return
        self.saturated_since = min(self.saturated_since, self.world.now)
        lacking = self.lending.saturation.shortage() and not self.lending.members.among(BORROWED | ON_LOAN)
        self.lacking_since = min(self.lacking_since, self.world.now) if lacking and self._can_borrow() else math.inf

    def _can_borrow(self) -> bool:
        peers = [peer for peer in self.peers.values() if self.world.reachable(self, peer)]
        coming = bool(self.lending.members.among({State.PROMISED}))
        return coming or any(p.lending.saturation.spare(p.clock) and not p.lending.borrowing.active for p in peers)

    # Peers

    def _watch_peers(self, actions: list[LivenessAction]) -> None:
        for action in actions:
            peer = self.peers[action.peer]
            match action:
                case SendHeartbeat():
                    self.world.send(self, peer, peer.heartbeat_received, self, False)
                case MarkUp():
                    self.lending.peer_up(peer.id)
                case MarkDown():
                    self.perform(self.lending.peer_down(peer.id, self.clock))

    def heartbeat_received(self, peer: "Server", response: bool) -> None:
        """Answer a heartbeat, unless it is an answer."""
        self._watch_peers(self.liveness.heard(peer.id, self.clock))
        if not response:
            self.world.send(self, peer, peer.heartbeat_received, self, True)

    def request_received(self, peer: "Server", count: int, sent_at: float) -> None:
        """Answer a WORKER_REQUEST."""
        for action in self.lending.workers_requested(peer.id, count, self.clock):
            if isinstance(action, OfferWorkers):
                offer = Offer(sent_at, action.loans, action.term_s)
                self.world.send(self, peer, peer.offer_received, self, offer)
            else:
                self.perform([action])

    def offer_received(self, peer: "Server", offer: Offer) -> None:
        """Process a WORKER_RESPONSE."""
        self.perform(self.lending.borrowing.offer_received(peer.id, offer, self.clock))

    def renewal_received(self, peer: "Server", loans: list[LoanKey], sent_at: float) -> None:
        """Answer a RENEW."""
        for action in self.lending.renewal_requested(peer.id, loans, self.clock):
            assert isinstance(action, AnswerRenewal)
            answer = RenewalAnswer(sent_at, action.renewed, action.refused, action.term_s)
            self.world.send(self, peer, peer.renewal_answered, self, answer)

    def renewal_answered(self, peer: "Server", answer: RenewalAnswer) -> None:
        """Process the answer to a RENEW."""
        self.perform(self.lending.borrowing.renewal_answered(peer.id, answer, self.clock))

    def return_received(self, peer: "Server", loans: list[LoanKey]) -> None:
        """Process a RETURN."""
        self.perform(self.lending.loans_returned(peer.id, loans, self.clock))

    def recall_received(self, peer: "Server", loans: list[LoanKey]) -> None:
        """Process a RECALL."""
        self.perform(self.lending.borrowing.loans_recalled(peer.id, loans, self.clock))

    # Actions

    def perform(self, actions: list[Action]) -> None:
        """Carry out what the lending decided."""
        for action in actions:
            self._perform(action)

    def _perform(self, action: Action) -> None:
        match action:
            case RequestWorkers(name, count, sent_at):
                self.world.send(self, self.peers[name], self.peers[name].request_received, self, count, sent_at)
            case RenewLoans(name, loans, sent_at):
                self.world.send(self, self.peers[name], self.peers[name].renewal_received, self, loans, sent_at)
            case GiveBack(name, loans):
                self.world.send(self, self.peers[name], self.peers[name].return_received, self, loans)
            case RecallLoans(name, loans):
                self.world.send(self, self.peers[name], self.peers[name].recall_received, self, loans)
            case Lend(loan, term_s):
                self._tell(loan.worker, Redirect(loan.borrower, loan.epoch, term_s))
            case Return(worker, owner):
                self._tell(worker, Redirect(owner))
            case ExtendLoan(loan, term_s):
                self._extend(loan.worker, loan.epoch, term_s)
            case Disconnect(worker) if worker in self.connections:
                connection = self.connections[worker]
                connection.close(self)
                self.connection_closed(connection)

    def _tell(self, worker: str, redirect: Redirect) -> None:
        connection = self.connections.get(worker)
        if connection:
            connection.send(self, connection.worker.redirect_received, connection, redirect)

    def _extend(self, worker: str, epoch: int, term_s: float) -> None:
        connection = self.connections.get(worker)
        if connection:
            connection.send(self, connection.worker.extension_received, connection, epoch, term_s)
