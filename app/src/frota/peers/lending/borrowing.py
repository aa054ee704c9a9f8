"""The borrower's side of lending: asking peers for workers, keeping loans renewed, and giving workers back. No I/O."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from frota.peers.lending.actions import (
    Actions,
    Disconnect,
    ExtendLoan,
    GiveBack,
    LoanKey,
    Offer,
    RenewalAnswer,
    RenewLoans,
    RequestWorkers,
    Return,
)
from frota.peers.lending.membership import BORROWED, BUSY, Event, Loan, Member, Members, State
from frota.peers.lending.policy import LEGACY_EPOCH, LoanPolicy
from frota.peers.lending.saturation import Saturation

_HERE_OR_COMING = BORROWED | {State.PROMISED}


class Request(NamedTuple):
    """A WORKER_REQUEST without a response yet."""

    wanted: int
    sent_at: float


class Borrowing:
    """The borrowed workers of one server."""

    def __init__(self, members: Members, saturation: Saturation, policy: LoanPolicy) -> None:
        self._members, self._saturation, self._policy = members, saturation, policy
        self._peers: dict[str, bool] = {}  # that respond; True for those that renew loans
        self._requests: dict[str, Request] = {}  # by peer
        self._paused: dict[str, float] = {}  # peers that are not asked before this time
        self._renewed_at: dict[str, float] = {}  # by owner: when the last RENEW was sent
        self._newest_offered: dict[str, int] = {}  # by owner: the greatest epoch of its offers

    @property
    def active(self) -> bool:
        """Whether the server borrows, or is about to: it must not lend then."""
        return bool(self._requests) or any(member.epoch for member in self._members.among(_HERE_OR_COMING))

    def peer_up(self, peer: str, *, renewable: bool) -> None:
        """Ask this peer from now on. Its workers that came while it was down go home with the next tick."""
        if peer not in self._peers:
            for member in self._members.among(BORROWED):
                if member.owner == peer and member.loan and not member.epoch:
                    member.loan = member.loan._replace(until=-math.inf)
        self._peers[peer] = renewable

    def peer_down(self, peer: str) -> None:
        """Do not ask this peer. Its workers stay until their loans expire: they cannot go home now."""
        for record in (self._peers, self._requests, self._paused, self._renewed_at):
            record.pop(peer, None)

    # Workers

    def worker_arrived(self, worker: str, owner: str, epoch: int, now: float) -> Actions:
        """Admit a promised worker or a visitor; send home one whose loan this server does not know."""
        member = self._members.get(worker)
        expected = member is not None and member.owner == owner and epoch in (member.epoch, LEGACY_EPOCH)
        if member is None or not expected:
            member, expected = self._new_arrival(worker, owner, epoch, now)
        self._members.apply(member, Event.ARRIVED, now)
        if member.state is State.RETURNING:
            return [Return(worker, owner)]
        return [] if expected else self._recall([member], now)

    def _new_arrival(self, worker: str, owner: str, epoch: int, now: float) -> tuple[Member, bool]:
        """Return a new record of a worker, and whether this server knows why it comes.

        A worker may be faster than the response that promises it: the request without a response vouches for it. But
        not if the loan was in a response already: this server has given it back.
        """
        offered = 0 < epoch <= self._newest_offered.get(owner, 0)
        request = None if offered else self._requests.get(owner)
        member = self._members.replace(worker, owner, now)
        until = request.sent_at + self._term_of(owner) if request else now
        if not epoch:
            until = now + self._policy.visit_s
        member.begin(self._loan(LoanKey(worker, epoch), owner, until))
        return member, request is not None or not epoch

    def worker_left(self, member: Member, now: float) -> Actions:
        """Tell the owner that a loan is over, for whatever reason: it need not wait until it expires."""
        self._members.apply(member, Event.LEFT, now)
        return _give_back([member]) if member.state is State.GONE else []

    # Messages from owners

    def offer_received(self, peer: str, offer: Offer, now: float) -> Actions:
        """Expect the workers of a WORKER_RESPONSE.

        Workers of a late or repeated response are given back, unless they are here with this loan.
        """
        epochs = [key.epoch for key in offer.loans]
        self._newest_offered[peer] = max(self._newest_offered.get(peer, 0), *epochs, 0)
        request = self._requests.get(peer)
        if request is None or request.sent_at != offer.sent_at:
            return self._refuse(peer, offer.loans)
        del self._requests[peer]
        if len(offer.loans) < request.wanted:
            self._paused[peer] = now + self._policy.refusal_pause_s
        until = offer.sent_at + (offer.term_s or self._term_of(peer))
        actions: Actions = []
        for key in offer.loans[: request.wanted]:
            actions += self._promise(self._loan(key, peer, until), offer.sent_at, now)
        return actions + self._refuse(peer, offer.loans[request.wanted :])

    def _promise(self, loan: Loan, asked_at: float, now: float) -> Actions:
        """Expect a worker; close a half-open connection that it has from a former loan."""
        former = self._members.get(loan.worker)
        if former is None or (former.owner == loan.owner and former.epoch != loan.epoch):
            member = self._members.replace(loan.worker, loan.owner, now)
            member.begin(loan)
            self._members.apply(member, Event.PROMISE, now)
            return [Disconnect(loan.worker)] if former and former.state is not State.PROMISED else []
        if former.owner == loan.owner:
            former.loan = loan  # it was faster than the response
        elif former.owner_assumed and former.arrived_at >= asked_at:
            self._correct_owner(former, loan, now)
        return []

    def _correct_owner(self, assumed: Member, loan: Loan, now: float) -> None:
        """Turn a legacy worker that was faster than the response, and seemed to be an own one, into a borrowed one."""
        member = self._members.replace(loan.worker, loan.owner, now)
        member.begin(loan)
        self._members.apply(member, Event.ARRIVED, now)
        if assumed.state in BUSY:
            self._members.apply(member, Event.TASK, now)

    def _refuse(self, peer: str, keys: Sequence[LoanKey]) -> Actions:
        unknown = [key for key in keys if self._current(peer, key) is None]
        return [GiveBack(peer, unknown)] if unknown else []

    def renewal_answered(self, owner: str, answer: RenewalAnswer, now: float) -> Actions:
        """Extend the renewed loans, counted from the sending of the RENEW, and give back the refused ones."""
        until = answer.sent_at + answer.term_s
        actions: Actions = []
        for key in answer.renewed:
            member = self._current(owner, key)
            if member and member.loan and member.state in _HERE_OR_COMING and member.loan.until < until:
                member.loan = member.loan._replace(until=until)
                actions.append(ExtendLoan(member.loan, until - now))
        return actions + self.loans_recalled(owner, answer.refused, now)

    def loans_recalled(self, owner: str, keys: Iterable[LoanKey], now: float) -> Actions:
        """Give back the workers that the owner recalls."""
        recalled = [self._current(owner, key) for key in keys]
        return self._recall([member for member in recalled if member], now)

    # Time

    def tick(self, now: float, *, may_ask: bool) -> Actions:
        """End what has expired, give back what is not needed, renew the rest, ask for more."""
        self._requests = {
            peer: request
            for peer, request in self._requests.items()
            if now - request.sent_at < self._policy.request_timeout_s
        }
        actions = self._end_expired(now) + self._return_surplus(now) + self._disconnect_stuck(now) + self._renew(now)
        return actions + self._ask(now) if may_ask else actions

    def _end_expired(self, now: float) -> Actions:
        expired = [
            member
            for member in self._members.among(_HERE_OR_COMING)
            if (member.loan and member.loan.until <= now)
            or (member.state is State.PROMISED and now - member.since > self._policy.arrival_timeout_s)
        ]
        return self._recall(expired, now)

    def _disconnect_stuck(self, now: float) -> Actions:
        """Disconnect workers that were told to go home and have not."""
        returning = self._members.among({State.RETURNING})
        stuck = [member for member in returning if now - member.since > self._policy.leave_timeout_s]
        draining = self._members.among({State.DRAINING})
        stuck += [member for member in draining if member.loan and now - member.loan.until > self._policy.drain_s]
        return [Disconnect(member.id) for member in stuck]

    def _return_surplus(self, now: float) -> Actions:
        """Give back idle workers that the load does not need. Visitors stay: they cannot go home."""
        idle = [member for member in self._members.among({State.BORROWED_IDLE}) if member.epoch]
        return self._recall(idle[: self._saturation.surplus()], now)

    def _renew(self, now: float) -> Actions:
        """Renew loans that have lasted `renew_every_s`, in one message per owner, again after half that time."""
        policy, due = self._policy, dict[str, list[LoanKey]]()
        for member in self._members.among(_HERE_OR_COMING):
            loan = member.loan
            if loan and loan.renewable and loan.until - now <= policy.term_s - policy.renew_every_s:
                due.setdefault(loan.owner, []).append(LoanKey(loan.worker, loan.epoch))
        asked_before = now - policy.renew_every_s / 2
        owners = [owner for owner in due if self._renewed_at.get(owner, -math.inf) <= asked_before]
        self._renewed_at.update(dict.fromkeys(owners, now))
        return [RenewLoans(owner, due[owner], now) for owner in owners]

    def _ask(self, now: float) -> Actions:
        """Ask all peers that may have workers, each for an equal part of what is missing."""
        coming = len(self._members.among({State.PROMISED})) + sum(r.wanted for r in self._requests.values())
        room = self._policy.max_borrowed - coming - len(self._members.among(BORROWED))
        missing = min(self._saturation.shortage() - coming, room)
        peers = [peer for peer in self._peers if peer not in self._requests and self._paused.get(peer, now) <= now]
        actions: Actions = []
        for place, peer in enumerate(peers):
            count = -(-missing // (len(peers) - place))
            if count <= 0:
                break
            missing -= count
            self._requests[peer] = Request(count, now)
            self._peers[peer] = self._peers.pop(peer)  # to the end of the order
            actions.append(RequestWorkers(peer, count, now))
        return actions

    # Loans

    def _loan(self, key: LoanKey, owner: str, until: float) -> Loan:
        renewable = key.epoch > 0 and self._peers.get(owner, True)
        return Loan(key.worker, owner, self._members.server, key.epoch, until, renewable)

    def _term_of(self, owner: str) -> float:
        return self._policy.term_of(legacy=not self._peers.get(owner, True))

    def _current(self, owner: str, key: LoanKey) -> Member | None:
        """Return the worker if it is here, or promised, with this loan."""
        member = self._members.get(key.worker)
        return member if member is not None and (member.owner, member.epoch) == (owner, key.epoch) else None

    def _recall(self, members: Iterable[Member], now: float) -> Actions:
        """Give workers back: idle ones at once, busy ones after their tasks, promised ones unseen."""
        actions: Actions = []
        for member in members:
            if member.state is State.PROMISED:
                self._members.apply(member, Event.LOAN_ENDED, now)
                actions += _give_back([member])
            elif member.state in BORROWED:
                self._members.apply(member, Event.RECALL, now)
                actions += [Return(member.id, member.owner)] if member.state is State.RETURNING else []
        return actions


def _give_back(members: Iterable[Member]) -> Actions:
    """Tell owners that loans are over; a visitor has none."""
    return [GiveBack(member.owner, [LoanKey(member.id, member.epoch)]) for member in members if member.epoch]
