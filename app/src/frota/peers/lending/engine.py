"""Which workers a server lends, borrows, recalls and gives back. No I/O; `now` is the server's monotonic time.

The I/O layer calls a method for each thing that happens (a worker arrived, a peer sent RENEW, `tick` four times a
second), and carries out the actions that it returns, in their order. The rules:

- A server lends only idle workers, and only what its own load can spare. A server that borrows does not lend, and the
  other way round.
- A loan has an epoch and a term. The borrower renews it. The owner recalls it, and renews it no more, when it needs
  the worker itself or when another borrower has fewer. A loan ends when it is given back, or expires.
- A borrower counts a term from the sending of its request, the owner from its response, and the owner adds a margin:
  so the owner's record of a loan outlasts the borrower's, without a common clock.
- A message about a loan whose epoch is not the current one changes nothing: it is late or a duplicate.
- A legacy peer knows no epoch and no term (LEGACY_EPOCH in its messages): its loans have a fixed term, without renewal.

This module is the owner's side and the door for both; borrowing.py is the borrower's side, membership.py the states.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from frota.peers.lending.actions import (
    AcknowledgeRelease,
    Actions,
    AnswerRenewal,
    CompleteRelease,
    Disconnect,
    Lend,
    LoanKey,
    OfferWorkers,
    RecallLoans,
    Return,
)
from frota.peers.lending.borrowing import Borrowing
from frota.peers.lending.fairness import fair_shares
from frota.peers.lending.membership import (
    BUSY,
    ON_LOAN,
    TRANSITIONS,
    USABLE,
    Event,
    ForbiddenTransition,
    Loan,
    Member,
    Members,
    Reach,
    State,
)
from frota.peers.lending.policy import LEGACY_EPOCH, LoanPolicy
from frota.peers.lending.saturation import Load, Saturation


class Demand(NamedTuple):
    """A borrower that got fewer workers than it asked for."""

    missing: int
    at: float


class Lending:
    """The workers of one server: its own and the borrowed ones.

    `first_epoch` must be greater than every epoch that the server used before its restart: the time in microseconds is.
    """

    def __init__(
        self, server: str, first_epoch: int, saturation: Saturation | None = None, policy: LoanPolicy | None = None
    ) -> None:
        self.server = server
        self.policy = policy or LoanPolicy()
        self.saturation = saturation or Saturation()
        self.members = Members(server)
        self.borrowing = Borrowing(self.members, self.saturation, self.policy)
        self._first_epoch = self._next_epoch = first_epoch
        self._legacy: set[str] = set()  # peers
        self._demands: dict[str, Demand] = {}  # by borrower
        self._releases: dict[str, tuple[set[str], Sequence[str]]] = {}  # by borrower: not home yet, and all

    # Peers

    def peer_up(self, peer: str, *, legacy: bool = False) -> None:
        """Note that a peer responds: it may be asked."""
        self._legacy.discard(peer)
        if legacy:
            self._legacy.add(peer)
        self.borrowing.peer_up(peer, renewable=not legacy)

    def peer_down(self, peer: str, now: float) -> Actions:
        """Ask a silent peer no more, and end the loans that it cannot renew.

        The other loans, to it and from it, expire by themselves: it may be only this server that cannot reach it.
        """
        self.borrowing.peer_down(peer)
        self._demands.pop(peer, None)
        lost = [member for member in self._lent_to(peer) if member.loan and not member.loan.renewable]
        return [action for member in lost for action in self._end(member, now)]

    def is_legacy(self, peer: str) -> bool:
        """Tell whether a peer that responds is a legacy program."""
        return peer in self._legacy

    # Workers

    def worker_arrived(
        self, worker: str, now: float, owner: str = "", epoch: int = 0, reach: Reach = Reach.ALL
    ) -> Actions:
        """Admit a worker that has connected; the caller requeues the tasks that it held before.

        `owner` is empty where the worker does not name it: it is then borrowed if a peer has promised it, else own.
        `epoch` is that of its loan, LEGACY_EPOCH where it is on loan but names none, 0 where it came by itself.
        `reach` tells where it may be lent to. Report `worker_left` for a worker's newest connection only.
        """
        known = self.members.get(worker)
        if not owner and known is not None and known.owner != self.server:
            owner, epoch = known.owner, LEGACY_EPOCH
        if owner and owner != self.server:
            actions = self.borrowing.worker_arrived(worker, owner, epoch, now)
            if borrowed := self.members.get(worker):
                borrowed.reach = reach
            return actions
        member = self.members.admit(worker, self.server, now)
        member.reach, member.loan, member.owner_assumed = reach, None, not owner
        self.members.apply(member, Event.ARRIVED, now)
        return self._complete_releases(worker)

    def worker_left(self, worker: str, now: float) -> Actions:
        """Note that a worker's connection is closed; the caller requeues the tasks that it holds."""
        member = self.members.get(worker)
        if member is None:
            return []
        if member.owner != self.server:
            return self.borrowing.worker_left(member, now)
        self.members.apply(member, Event.LEFT, now)
        return []

    def may_get_tasks(self, worker: str) -> bool:
        """Return whether tasks may be handed to a worker. Prefer own idle ones: only idle borrowed ones go home."""
        member = self.members.get(worker)
        return member is not None and member.state in USABLE

    def worker_busy(self, worker: str, now: float) -> None:
        """Note that a worker gets a task. Raises ForbiddenTransition if it must not get one."""
        member = self.members.get(worker)
        if member is None:
            raise ForbiddenTransition(f"{worker} is not here, it cannot get a task")
        if member.state not in BUSY:
            self.members.apply(member, Event.TASK, now)

    def worker_idle(self, worker: str, now: float) -> Actions:
        """Note that a worker has reported its last task."""
        member = self.members.get(worker)
        if member is None or Event.FREE not in TRANSITIONS[member.state]:
            return []  # a late report
        self.members.apply(member, Event.FREE, now)
        return [Return(member.id, member.owner)] if member.state is State.RETURNING else []

    # The owner's side

    def workers_requested(self, peer: str, count: int, now: float) -> Actions:
        """Answer a peer's WORKER_REQUEST: offer idle workers, or none. Send the response before the redirects."""
        self._demands[peer] = Demand(count, now)
        spare = 0 if self.borrowing.active else self.saturation.spare(now)
        share = self._fair_shares(now).get(peer, 0) - len(self._lent_to(peer))
        legacy = peer in self._legacy
        idle = [member for member in self.members.among({State.OWN_IDLE}) if member.may_go(legacy=legacy)]
        lends = [self._lend(member, peer, now) for member in idle[: max(0, min(count, spare, share))]]
        if len(lends) < count:
            self._demands[peer] = Demand(count - len(lends), now)
        else:
            del self._demands[peer]
        keys = [LoanKey(lend.loan.worker, lend.loan.epoch) for lend in lends]
        return [OfferWorkers(peer, keys, self.policy.term_of(legacy=legacy)), *lends]

    def renewal_requested(self, peer: str, keys: Iterable[LoanKey], now: float) -> Actions:
        """Answer a borrower's RENEW: refuse loans that are over or recalled."""
        renewed: list[LoanKey] = []
        refused: list[LoanKey] = []
        for key in keys:
            member = self._current(peer, key) or self._adopt(peer, key, now)
            if member is None or member.loan is None or member.recalled:
                refused.append(key)
            else:
                member.loan = member.loan._replace(until=self._until(self.policy.term_s, now))
                renewed.append(key)
        return [AnswerRenewal(peer, renewed, refused, self.policy.term_s)]

    def loans_returned(self, peer: str, keys: Iterable[LoanKey], now: float) -> Actions:
        """End the loans that a borrower gives back."""
        found = [self._current(peer, key) for key in keys]
        return [action for member in found if member for action in self._end(member, now)]

    def release_commanded(self, peer: str, workers: Sequence[str], now: float) -> Actions:
        """End loans as dialect C does it: acknowledge now, complete when all workers are home."""
        lent = {member.id for member in self._lent_to(peer)}
        accepted = [worker for worker in workers if worker in lent]
        actions = self.loans_returned(peer, [LoanKey(worker, LEGACY_EPOCH) for worker in accepted], now)
        self._releases[peer] = (set(accepted), accepted)
        return [AcknowledgeRelease(peer, accepted), *actions, *self._complete_releases("")]

    def tick(self, waiting: int, now: float) -> Actions:
        """Observe the load; end, recall, renew and give back loans; ask for workers. `waiting`: tasks in the queue."""
        self.saturation.observe(self._load(waiting), now)
        expired = [member for member in self.members.among(ON_LOAN) if member.loan and member.loan.until <= now]
        actions = [action for member in expired for action in self._end(member, now)]
        for member in self.members.among({State.ABSENT}):
            if now - member.since > self.policy.forget_after_s:
                self.members.forget(member)
        lending = any(self.members.among(ON_LOAN))
        return actions + self._recall_needed(now) + self.borrowing.tick(now, may_ask=not lending)

    def _load(self, waiting: int) -> Load:
        usable = self.members.among(USABLE)
        return Load(waiting, sum(member.state in BUSY for member in usable), len(usable))

    def _lend(self, member: Member, peer: str, now: float) -> Lend:
        legacy = peer in self._legacy
        term_s = self.policy.term_of(legacy=legacy)
        loan = Loan(member.id, self.server, peer, self._next_epoch, self._until(term_s, now), not legacy)
        self._next_epoch += 1
        member.begin(loan)
        self.members.apply(member, Event.OFFER, now)
        return Lend(loan, term_s)

    def _end(self, member: Member, now: float) -> Actions:
        """End a loan. A worker that has not left is disconnected: nobody knows whether it still obeys its redirect."""
        disconnect = member.state is State.OFFERED
        member.loan = None
        self.members.apply(member, Event.LOAN_ENDED, now)
        return [Disconnect(member.id)] if disconnect else []

    def _until(self, term_s: float, now: float) -> float:
        return now + term_s + self.policy.margin_s

    def _lent_to(self, peer: str) -> list[Member]:
        return [member for member in self.members.among(ON_LOAN) if member.loan and member.loan.borrower == peer]

    def _current(self, peer: str, key: LoanKey) -> Member | None:
        """Return the worker if this is its current loan. A legacy peer names no epoch, so its latest loan is meant."""
        member = self.members.get(key.worker)
        if member is None or member.state not in ON_LOAN or member.loan is None or member.loan.borrower != peer:
            return None
        return member if key.epoch in {member.epoch, LEGACY_EPOCH} else None

    def _adopt(self, peer: str, key: LoanKey, now: float) -> Member | None:
        """Take over a loan from before this server's restart; not while borrowing, nor if the worker is here.

        Of several such loans of a worker the newest counts. One of this run that is over is not adopted again.
        """
        member = self.members.get(key.worker)
        newest = member.epoch if member else 0
        gone = member is None or member.state in {State.ABSENT, State.LENT}
        full = member is None and len(self.members) >= self.policy.max_workers
        if not (gone and newest < key.epoch < self._first_epoch) or full or self.borrowing.active:
            return None
        member = self.members.admit(key.worker, self.server, now)
        member.begin(Loan(key.worker, self.server, peer, key.epoch, now))
        self.members.apply(member, Event.ADOPT, now)
        return member

    def _complete_releases(self, worker: str) -> Actions:
        actions: Actions = []
        for peer, (missing, workers) in list(self._releases.items()):
            missing.discard(worker)
            if not missing:
                del self._releases[peer]
                actions.append(CompleteRelease(peer, workers))
        return actions

    # Fairness

    def _fair_shares(self, now: float) -> dict[str, int]:
        """Return how many workers each borrower may have; forget requests that were not repeated."""
        oldest = now - self.policy.demand_lasts_s
        self._demands = {peer: demand for peer, demand in self._demands.items() if demand.at >= oldest}
        held = Counter(member.loan.borrower for member in self.members.among(ON_LOAN) if member.loan)
        wanted = held + Counter({peer: demand.missing for peer, demand in self._demands.items()})
        return fair_shares(wanted, held, held.total() + self.saturation.spare(now))

    def _recall_needed(self, now: float) -> Actions:
        """Recall the workers that this server lacks, or that others have too few of. Legacy borrowers are not asked."""
        renewable = [member for member in self.members.among(ON_LOAN) if member.loan and member.loan.renewable]
        kept = [member.loan for member in renewable if member.loan and not member.recalled]
        shortage = self.saturation.shortage()
        needed, candidates = (shortage, kept) if shortage else self._needed_elsewhere(kept, now)
        recalled: dict[str, list[LoanKey]] = {}
        for loan in candidates[: max(0, needed - len(renewable) + len(kept))]:
            self.members.admit(loan.worker, self.server, now).recalled = True
            recalled.setdefault(loan.borrower, []).append(LoanKey(loan.worker, loan.epoch))
        return [RecallLoans(borrower, keys) for borrower, keys in recalled.items()]

    def _needed_elsewhere(self, kept: list[Loan], now: float) -> tuple[int, list[Loan]]:
        """Return how many workers borrowers lack to their fair shares, and the loans that others have beyond theirs."""
        shares = self._fair_shares(now)
        lacking = sum(max(0, shares[peer] - len(self._lent_to(peer))) for peer in self._demands)
        left = Counter(shares)
        beyond = []
        for loan in kept:
            left[loan.borrower] -= 1
            if left[loan.borrower] < 0:
                beyond.append(loan)
        return lacking - self.saturation.spare(now), beyond
