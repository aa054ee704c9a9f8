"""Lending: the owner and the borrower of a loan, message by message."""

from dataclasses import dataclass, field

import pytest

from frota.peers.lending.actions import (
    AcknowledgeRelease,
    Action,
    AnswerRenewal,
    CompleteRelease,
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
from frota.peers.lending.membership import IDLE, TRANSITIONS, USABLE, Event, ForbiddenTransition, Reach, State
from frota.peers.lending.policy import LEGACY_EPOCH
from frota.peers.lending.saturation import Saturation, SaturationPolicy

EPOCH = 1000


@dataclass
class Rig:
    """An owner with three idle workers and a borrower with one busy one; messages are passed on by hand."""

    owner: Lending = field(default_factory=lambda: Lending("owner", EPOCH))
    borrower: Lending = field(default_factory=lambda: Lending("borrower", EPOCH))
    now: float = 0.0

    def __post_init__(self) -> None:
        self.owner.peer_up("borrower")
        self.borrower.peer_up("owner")
        for worker in ("w1", "w2", "w3"):
            self.owner.worker_arrived(worker, self.now)
        self.borrower.worker_arrived("b1", self.now)
        self.borrower.worker_busy("b1", self.now)
        self.owner.tick(0, self.now)

    def request(self, count: int = 2) -> list[Action]:
        """Let the borrower ask, and the owner answer."""
        self.borrower.saturation.service.seconds = 1.0
        actions = self.borrower.tick(count + 1, self.now)
        assert RequestWorkers("owner", count, self.now) in actions
        return self.owner.workers_requested("borrower", count, self.now)

    def lend(self, count: int = 2) -> list[LoanKey]:
        """Lend workers, which arrive at the borrower's."""
        offer = self.request(count)[0]
        assert isinstance(offer, OfferWorkers)
        self.borrower.borrowing.offer_received("owner", Offer(self.now, offer.loans, offer.term_s), self.now)
        for worker, epoch in offer.loans:
            self.owner.worker_left(worker, self.now)
            self.borrower.worker_arrived(worker, self.now, "owner", epoch)
        return list(offer.loans)

    def owners(self, worker: str) -> State:
        return _state(self.owner, worker)

    def borrowers(self, worker: str) -> State:
        return _state(self.borrower, worker)


def _state(lending: Lending, worker: str) -> State:
    member = lending.members.get(worker)
    return member.state if member else State.GONE


def calm(lending: Lending, since: float, until: float) -> list[Action]:
    """Let time pass without tasks; return all actions."""
    actions: list[Action] = []
    for tick in range(int(since * 4), int(until * 4) + 1):
        actions += lending.tick(0, tick / 4)
    return actions


def test_request_and_offer() -> None:
    """A saturated server asks for what it lacks; the owner offers idle workers and redirects them."""
    rig = Rig()
    offer, *lends = rig.request(2)
    assert offer == OfferWorkers("borrower", [LoanKey("w1", EPOCH), LoanKey("w2", EPOCH + 1)], 15.0)
    assert [action.loan.id for action in lends if isinstance(action, Lend)] == ["owner:1000", "owner:1001"]
    assert [rig.owners(worker) for worker in ("w1", "w2", "w3")] == [State.OFFERED, State.OFFERED, State.OWN_IDLE]


def test_lent_worker_works_for_the_borrower() -> None:
    """A worker on loan gets tasks of the borrower, and none of its owner."""
    rig = Rig()
    rig.lend(1)
    assert (rig.owners("w1"), rig.borrowers("w1")) == (State.LENT, State.BORROWED_IDLE)
    assert rig.borrower.may_get_tasks("w1")
    assert not rig.owner.may_get_tasks("w1")
    with pytest.raises(ForbiddenTransition):
        rig.owner.worker_busy("w1", rig.now)


def test_busy_worker_is_not_lent() -> None:
    """A worker that holds a task is never offered."""
    rig = Rig()
    for worker in ("w1", "w3"):
        rig.owner.worker_busy(worker, rig.now)
    rig.owner.tick(0, rig.now)
    offer = rig.request(3)[0]
    assert isinstance(offer, OfferWorkers)
    assert [key.worker for key in offer.loans] == ["w2"]


def test_saturated_server_lends_nothing() -> None:
    """A server that is saturated itself answers with a NACK."""
    rig = Rig()
    rig.owner.tick(10_000, rig.now)
    assert rig.request(2) == [OfferWorkers("borrower", [], 15.0)]


def test_worker_without_a_name_is_not_lent() -> None:
    """A worker that cannot be named in a message is not lent."""
    lending = Lending("owner", EPOCH)
    lending.worker_arrived("connection 7", 0.0, reach=Reach.NONE)
    lending.tick(0, 0.0)
    assert lending.workers_requested("borrower", 1, 0.0) == [OfferWorkers("borrower", [], 15.0)]


def test_borrower_does_not_lend() -> None:
    """A server lends nothing while it borrows, nor while it waits for the response to a request."""
    policy = SaturationPolicy(calm_s=0, expected_service_s=1.0)
    rig = Rig(borrower=Lending("borrower", EPOCH, Saturation(policy)))
    offer = rig.request(1)[0]
    assert isinstance(offer, OfferWorkers)
    rig.borrower.worker_arrived("b2", 0.1)
    rig.borrower.tick(0, 0.25)
    assert rig.borrower.workers_requested("third", 1, 0.25) == [OfferWorkers("third", [], 15.0)]
    rig.borrower.borrowing.offer_received("owner", Offer(0.0, offer.loans, 15.0), 0.3)
    assert rig.borrower.workers_requested("third", 1, 0.3) == [OfferWorkers("third", [], 15.0)]


def test_lender_does_not_borrow() -> None:
    """A saturated server that has lent workers recalls them; it asks nobody before they are home."""
    rig = Rig()
    key = rig.lend(1)[0]
    actions = rig.owner.tick(10_000, 1.0)
    assert actions == [RecallLoans("borrower", [key])]
    assert rig.borrower.borrowing.loans_recalled("owner", [key], 1.0) == [Return("w1", "owner")]
    rig.owner.worker_arrived("w1", 1.1)
    actions = rig.owner.tick(10_000, 1.25)
    assert [type(action) for action in actions] == [RequestWorkers]


def test_recalled_worker_finishes_its_tasks() -> None:
    """A recalled worker gets no further task, and goes home after the last."""
    rig = Rig()
    key = rig.lend(1)[0]
    rig.borrower.worker_busy("w1", 0.5)
    assert rig.borrower.borrowing.loans_recalled("owner", [key], 1.0) == []
    assert not rig.borrower.may_get_tasks("w1")
    assert rig.borrower.worker_idle("w1", 2.0) == [Return("w1", "owner")]
    assert rig.borrower.worker_left("w1", 2.1) == [GiveBack("owner", [key])]


def test_renewal() -> None:
    """The borrower renews after 5 s, and again 2.5 s later without an answer; the answer extends loan and worker."""
    rig = Rig()
    key = rig.lend(1)[0]
    load = 100
    assert rig.borrower.tick(load, 4.9) == [RequestWorkers("owner", 98, 4.9)]
    assert rig.borrower.tick(load, 5.0) == [RenewLoans("owner", [key], 5.0)]
    assert not [a for a in rig.borrower.tick(load, 7.4) if isinstance(a, RenewLoans)]
    assert RenewLoans("owner", [key], 7.5) in rig.borrower.tick(load, 7.5)
    assert rig.owner.renewal_requested("borrower", [key], 7.6) == [AnswerRenewal("borrower", [key], [], 15.0)]
    (extension,) = rig.borrower.borrowing.renewal_answered("owner", RenewalAnswer(7.5, [key], [], 15.0), 7.7)
    assert isinstance(extension, ExtendLoan)
    assert extension.loan.until == 22.5
    assert extension.term_s == pytest.approx(14.8)


def test_owner_outlasts_the_borrower() -> None:
    """Without renewal the borrower's record ends first, then the owner's."""
    rig = Rig()
    rig.lend(1)
    rig.borrower.tick(100, 14.9)
    rig.owner.tick(0, 15.1)
    assert (rig.borrowers("w1"), rig.owners("w1")) == (State.BORROWED_IDLE, State.LENT)
    assert Return("w1", "owner") in rig.borrower.tick(100, 15.1)
    rig.owner.tick(0, 17.1)
    assert (rig.borrowers("w1"), rig.owners("w1")) == (State.RETURNING, State.ABSENT)


def test_surplus_goes_home() -> None:
    """A borrower whose tasks are done gives back idle workers within three seconds."""
    rig = Rig()
    keys = rig.lend(2)
    rig.borrower.worker_idle("b1", 0.5)
    actions = calm(rig.borrower, 1.0, 4.0)
    assert [action for action in actions if isinstance(action, Return)] == [
        Return("w1", "owner"),
        Return("w2", "owner"),
    ]
    assert rig.borrower.worker_left("w1", 4.0) == [GiveBack("owner", keys[:1])]
    rig.owner.loans_returned("borrower", keys[:1], 4.1)
    assert rig.owners("w1") is State.ABSENT
    rig.owner.worker_arrived("w1", 4.2)
    assert rig.owners("w1") is State.OWN_IDLE


def test_return_of_an_older_loan() -> None:
    """A late RETURN of a former loan does not end the current one."""
    rig = Rig()
    (old,) = rig.lend(1)
    rig.owner.worker_arrived("w1", 1.0)
    assert rig.borrower.worker_left("w1", 1.0) == [GiveBack("owner", [old])]
    rig.now = 2.0
    offer = rig.owner.workers_requested("borrower", 1, 2.0)[0]
    assert isinstance(offer, OfferWorkers)
    assert offer.loans[0].epoch > old.epoch
    rig.owner.loans_returned("borrower", [old], 2.1)
    assert rig.owners(offer.loans[0].worker) is State.OFFERED


def test_renewal_of_an_ended_loan() -> None:
    """A loan that is over does not come to life again."""
    rig = Rig()
    (key,) = rig.lend(1)
    rig.owner.tick(0, 20.0)
    assert rig.owner.renewal_requested("borrower", [key], 20.1) == [AnswerRenewal("borrower", [], [key], 15.0)]


def test_renewal_after_the_owners_restart() -> None:
    """An owner that has restarted takes over its loans, unless the worker is at home."""
    rig = Rig()
    keys = rig.lend(2)
    owner = Lending("owner", EPOCH * 2)
    owner.worker_arrived("w2", 5.0)
    assert owner.renewal_requested("borrower", keys, 5.0) == [AnswerRenewal("borrower", keys[:1], keys[1:], 15.0)]
    assert _state(owner, "w1") is State.LENT


def test_newest_loan_counts_after_a_restart() -> None:
    """A late RENEW of a former loan, after the owner's restart, gives way to that of the current one."""
    owner = Lending("owner", EPOCH)
    old, current, made_up = LoanKey("w", EPOCH - 2), LoanKey("w", EPOCH - 1), LoanKey("w", EPOCH)
    assert owner.renewal_requested("former", [old], 0.0) == [AnswerRenewal("former", [old], [], 15.0)]
    assert owner.renewal_requested("current", [current], 1.0) == [AnswerRenewal("current", [current], [], 15.0)]
    assert owner.renewal_requested("former", [old], 2.0) == [AnswerRenewal("former", [], [old], 15.0)]
    assert owner.renewal_requested("former", [made_up], 2.0) == [AnswerRenewal("former", [], [made_up], 15.0)]


def test_stranger_ends_no_loan() -> None:
    """Only the borrower of a loan can renew it or give it back."""
    rig = Rig()
    keys = rig.lend(1)
    rig.owner.loans_returned("third", keys, 1.0)
    assert rig.owner.renewal_requested("third", keys, 1.0) == [AnswerRenewal("third", [], keys, 15.0)]
    assert rig.owners("w1") is State.LENT


def test_late_response_is_given_back() -> None:
    """Workers of a response after the timeout are given back, and sent home if they come."""
    rig = Rig()
    offer = rig.request(1)[0]
    assert isinstance(offer, OfferWorkers)
    rig.borrower.tick(0, 2.0)
    late = Offer(0.0, offer.loans, offer.term_s)
    assert rig.borrower.borrowing.offer_received("owner", late, 2.1) == [GiveBack("owner", offer.loans)]
    rig.borrower.tick(100, 2.2)
    key = offer.loans[0]
    assert rig.borrower.worker_arrived(key.worker, 2.3, "owner", key.epoch) == [Return(key.worker, "owner")]


def test_repeated_response_changes_nothing() -> None:
    """A duplicate of a response does not give back the workers that are here."""
    rig = Rig()
    keys = rig.lend(2)
    assert rig.borrower.borrowing.offer_received("owner", Offer(0.0, keys, 15.0), 0.1) == []
    assert rig.borrowers("w1") is State.BORROWED_IDLE


def test_worker_faster_than_the_response() -> None:
    """A worker that arrives before the response that promises it may work at once."""
    rig = Rig()
    offer = rig.request(1)[0]
    assert isinstance(offer, OfferWorkers)
    key = offer.loans[0]
    assert rig.borrower.worker_arrived(key.worker, 0.1, "owner", key.epoch) == []
    assert rig.borrower.may_get_tasks(key.worker)
    assert rig.borrower.borrowing.offer_received("owner", Offer(0.0, offer.loans, 15.0), 0.2) == []
    assert rig.borrowers(key.worker) is State.BORROWED_IDLE


def test_promised_worker_that_does_not_come() -> None:
    """A promised worker that has not arrived after 5 s is given back; the owner disconnects it if it has not left."""
    rig = Rig()
    offer = rig.request(1)[0]
    assert isinstance(offer, OfferWorkers)
    rig.borrower.borrowing.offer_received("owner", Offer(0.0, offer.loans, 15.0), 0.1)
    assert GiveBack("owner", offer.loans) in rig.borrower.tick(100, 5.2)
    assert rig.owner.loans_returned("borrower", offer.loans, 5.3) == [Disconnect("w1")]
    assert rig.owners("w1") is State.ABSENT


def test_more_workers_than_asked_for() -> None:
    """Of an offer that is too large, the rest is given back."""
    rig = Rig()
    rig.request(1)
    keys = [LoanKey("x", 5), LoanKey("y", 6)]
    assert rig.borrower.borrowing.offer_received("owner", Offer(0.0, keys, 15.0), 0.1) == [GiveBack("owner", keys[1:])]


def test_unknown_loan_is_sent_home() -> None:
    """A worker on a loan that the server does not know is sent home, and disconnected if it stays."""
    rig = Rig()
    assert rig.borrower.worker_arrived("x", 0.0, "owner", 77) == [Return("x", "owner")]
    assert not rig.borrower.may_get_tasks("x")
    assert Disconnect("x") in rig.borrower.tick(0, 5.1)
    assert rig.borrower.worker_left("x", 5.1) == [GiveBack("owner", [LoanKey("x", 77)])]


def test_visitor() -> None:
    """A worker whose owner is unreachable may work here; it is no loan, and goes home when the owner responds."""
    lending = Lending("shelter", EPOCH)
    assert lending.worker_arrived("x", 0.0, "owner", 0) == []
    assert lending.may_get_tasks("x")
    assert not lending.borrowing.active
    assert lending.tick(0, 1.0) == []
    lending.peer_up("owner")
    assert lending.tick(0, 1.25) == [Return("x", "owner")]
    assert lending.worker_left("x", 1.3) == []


def test_fair_share() -> None:
    """Two borrowers that want all get half each, whoever comes first; then nothing moves."""
    owner = Lending("owner", EPOCH)
    for number in range(8):
        owner.worker_arrived(f"w{number}", 0.0)
    owner.tick(0, 0.0)
    first = owner.workers_requested("a", 100, 0.0)[0]
    assert isinstance(first, OfferWorkers)
    assert len(first.loans) == 8
    for key in first.loans:
        owner.worker_left(key.worker, 0.0)
    assert owner.workers_requested("b", 100, 1.0) == [OfferWorkers("b", [], 15.0)]
    (recall,) = owner.tick(0, 1.25)
    assert isinstance(recall, RecallLoans)
    assert (recall.borrower, len(recall.loans)) == ("a", 4)
    assert owner.tick(0, 1.5) == []
    for key in recall.loans:
        owner.loans_returned("a", [key], 1.6)
        owner.worker_arrived(key.worker, 1.6)
    owner.tick(0, 1.75)
    assert owner.workers_requested("a", 96, 1.8) == [OfferWorkers("a", [], 15.0)]
    second = owner.workers_requested("b", 100, 3.0)[0]
    assert isinstance(second, OfferWorkers)
    assert len(second.loans) == 4
    assert owner.tick(0, 3.25) == []


@pytest.mark.parametrize("count", [0, -5])
def test_request_for_nothing(count: int) -> None:
    """A request for no worker gets none."""
    rig = Rig()
    assert rig.owner.workers_requested("borrower", count, 0.0) == [OfferWorkers("borrower", [], 15.0)]


def test_small_demand_leaves_no_worker_idle() -> None:
    """A borrower that has what it wants does not keep others from the rest."""
    rig = Rig()
    offers = [rig.owner.workers_requested(peer, count, 0.0)[0] for peer, count in (("a", 1), ("b", 100))]
    assert [len(offer.loans) for offer in offers if isinstance(offer, OfferWorkers)] == [1, 2]


def test_legacy_borrower() -> None:
    """A legacy borrower gets a fixed term; its loan ends by itself, or when it is down."""
    rig = Rig()
    rig.owner.peer_up("old", legacy=True)
    offer, *lends = rig.owner.workers_requested("old", 2, 0.0)
    assert isinstance(offer, OfferWorkers)
    assert (offer.term_s, len(lends)) == (60.0, 2)
    rig.owner.worker_left("w1", 0.1)
    rig.owner.worker_left("w2", 0.1)
    rig.owner.worker_arrived("w2", 30.0)
    assert (rig.owners("w1"), rig.owners("w2")) == (State.LENT, State.OWN_IDLE)
    rig.owner.peer_down("old", 30.0)
    assert rig.owners("w1") is State.ABSENT


def test_release_of_dialect_c() -> None:
    """COMMAND_RELEASE is acknowledged, and completed when all its workers are home."""
    rig = Rig()
    rig.owner.peer_up("old", legacy=True)
    rig.owner.workers_requested("old", 2, 0.0)
    for worker in ("w1", "w2"):
        rig.owner.worker_left(worker, 0.1)
    assert rig.owner.release_commanded("old", ["w1", "w2", "w9"], 1.0) == [AcknowledgeRelease("old", ["w1", "w2"])]
    assert rig.owner.worker_arrived("w2", 1.1) == []
    assert rig.owner.worker_arrived("w1", 1.2) == [CompleteRelease("old", ["w1", "w2"])]


def test_legacy_owner() -> None:
    """Workers of a legacy owner come without epoch and name no owner; they go back after the default term."""
    rig = Rig()
    rig.borrower.peer_down("owner", 0.0)
    rig.borrower.peer_up("owner", legacy=True)
    rig.borrower.saturation.service.seconds = 1.0
    rig.borrower.tick(2, 0.0)
    keys = [LoanKey("w1", LEGACY_EPOCH)]
    assert rig.borrower.borrowing.offer_received("owner", Offer(0.0, keys), 0.1) == []
    rig.borrower.worker_arrived("w1", 0.2)
    assert rig.borrowers("w1") is State.BORROWED_IDLE
    assert not [action for action in rig.borrower.tick(2, 59.9) if isinstance(action, RenewLoans | Return)]
    assert Return("w1", "owner") in rig.borrower.tick(2, 60.0)
    assert rig.borrower.worker_left("w1", 60.1) == [GiveBack("owner", keys)]


def test_legacy_worker_faster_than_the_response() -> None:
    """A worker that names no owner is taken for an own one until the response says whose it is."""
    rig = Rig()
    rig.borrower.saturation.service.seconds = 1.0
    rig.borrower.tick(2, 0.0)
    rig.borrower.worker_arrived("w1", 0.1)
    rig.borrower.worker_busy("w1", 0.1)
    assert rig.borrowers("w1") is State.OWN_BUSY
    rig.borrower.borrowing.offer_received("owner", Offer(0.0, [LoanKey("w1", LEGACY_EPOCH)]), 0.2)
    assert rig.borrowers("w1") is State.BORROWED_BUSY


def test_own_worker_cannot_be_promised() -> None:
    """A peer cannot take over a worker of this server by offering it."""
    rig = Rig()
    rig.request(1)
    rig.borrower.worker_arrived("b2", 0.0, "borrower")
    rig.borrower.borrowing.offer_received("owner", Offer(0.0, [LoanKey("b2", 5)], 15.0), 0.1)
    assert rig.borrowers("b2") is State.OWN_IDLE


def test_peers_that_give_nothing_are_not_asked_again_at_once() -> None:
    """A peer that offered less than it was asked for is asked again after 2 s."""
    rig = Rig()
    rig.request(3)
    rig.borrower.borrowing.offer_received("owner", Offer(0.0, [], 15.0), 0.1)
    assert rig.borrower.tick(4, 2.0) == []
    assert rig.borrower.tick(4, 2.25) == [RequestWorkers("owner", 3, 2.25)]


def test_request_is_split_among_peers() -> None:
    """What is missing is asked of all peers in equal parts."""
    lending = Lending("s", EPOCH)
    for peer in ("a", "b", "c"):
        lending.peer_up(peer)
    lending.worker_arrived("w", 0.0)
    lending.saturation.service.seconds = 1.0
    assert lending.tick(6, 0.0) == [RequestWorkers(peer, count, 0.0) for peer, count in (("a", 2), ("b", 2), ("c", 1))]


def test_absent_worker_is_forgotten() -> None:
    """An own worker that has not been seen for an hour is forgotten."""
    lending = Lending("s", EPOCH)
    lending.worker_arrived("w", 0.0)
    lending.worker_left("w", 1.0)
    lending.tick(0, 3600.0)
    assert len(lending.members) == 1
    lending.tick(0, 3602.0)
    assert len(lending.members) == 0


def test_table_is_complete() -> None:
    """Every state has its row; tasks go to usable workers only, and only arrival makes a worker usable."""
    assert set(TRANSITIONS) == set(State)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)
    assert {state for state, row in TRANSITIONS.items() if Event.TASK in row} == IDLE
    entries = {
        event
        for state, row in TRANSITIONS.items()
        for event, following in row.items()
        if following in USABLE and state not in USABLE
    }
    assert entries == {Event.ARRIVED}
