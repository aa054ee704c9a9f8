"""Which server a worker goes to."""

import math

from frota.peers.lending.itinerary import NEXT, Itinerary, ItineraryPolicy, Outcome, Redirect, Role

LOAN = Redirect("borrower", epoch=7, term_s=15.0)


def at_home(failover: tuple[str, ...] = ("f1", "f2")) -> Itinerary:
    worker = Itinerary("home", failover)
    worker.arrived(0.0)
    return worker


def lent() -> Itinerary:
    worker = at_home()
    assert worker.redirected(LOAN, 0.0, trusted=True)
    worker.arrived(0.1)
    return worker


def test_redirect_of_home() -> None:
    """A worker goes where its owner sends it, with the epoch of the loan."""
    worker = at_home()
    assert worker.redirected(LOAN, 0.0, trusted=True)
    assert (worker.server, worker.role, worker.epoch, worker.connected) == ("borrower", Role.BORROWER, 7, False)


def test_redirect_of_a_stranger() -> None:
    """A redirect of a server that is not authenticated is ignored."""
    worker = at_home()
    assert not worker.redirected(LOAN, 0.0, trusted=False)
    assert (worker.server, worker.connected) == ("home", True)


def test_old_epoch() -> None:
    """A redirect is obeyed once: a repeated or an older one is ignored."""
    worker = lent()
    worker.departed(Outcome.LEFT)
    worker.arrived(1.0)
    for epoch in (7, 6):
        assert not worker.redirected(LOAN._replace(epoch=epoch), 1.0, trusted=True)
    assert worker.redirected(LOAN._replace(epoch=8), 1.0, trusted=True)


def test_borrower_cannot_lend() -> None:
    """A borrower can send a worker home, and nowhere else."""
    worker = lent()
    assert not worker.redirected(Redirect("third", epoch=9, term_s=15), 1.0, trusted=True)
    assert worker.redirected(Redirect("home"), 1.0, trusted=True)
    assert worker.must_leave(1.0, idle=False) is None
    assert worker.must_leave(1.0, idle=True) is Outcome.LEFT
    worker.departed(Outcome.LEFT)
    assert (worker.server, worker.role) == ("home", Role.HOME)


def test_loan_ends_without_a_word() -> None:
    """A worker that hears nothing goes home at the end of its loan; tasks may delay it by `drain_s`."""
    worker = lent()
    assert worker.must_leave(14.9, idle=True) is None
    assert worker.must_leave(15.0, idle=True) is Outcome.LEFT
    assert worker.must_leave(19.9, idle=False) is None
    assert worker.must_leave(20.0, idle=False) is Outcome.LEFT


def test_extended_loan() -> None:
    """An extension counts for the current loan only, and never shortens it."""
    worker = lent()
    assert not worker.extended(6, 100.0, 5.0)
    assert worker.extended(7, 15.0, 5.0)
    assert worker.extended(7, 1.0, 5.0)
    assert worker.must_leave(19.9, idle=True) is None
    assert worker.must_leave(20.0, idle=True) is Outcome.LEFT


def test_legacy_redirect() -> None:
    """A redirect without epoch and term is a loan of the default term, however many there are."""
    worker = Itinerary("home", policy=ItineraryPolicy(legacy_term_s=60))
    for _ in range(2):
        worker.arrived(0.0, heartbeats=False)
        assert worker.redirected(Redirect("borrower"), 0.0, trusted=True)
        worker.arrived(0.0, heartbeats=False)
        assert worker.must_leave(59.9, idle=True) is None
        assert worker.must_leave(60.0, idle=True) is Outcome.LEFT
        worker.departed(Outcome.LEFT)


def test_borrower_unreachable() -> None:
    """A worker whose borrower cannot be reached goes home."""
    worker = at_home()
    worker.redirected(LOAN, 0.0, trusted=True)
    worker.departed(Outcome.UNREACHABLE)
    assert (worker.server, worker.epoch) == ("home", 0)


def test_failover_list() -> None:
    """When home is unreachable twice, the failover list is tried in order, then home again."""
    worker = at_home()
    servers = []
    for _ in range(8):
        worker.departed(Outcome.UNREACHABLE)
        servers.append(worker.server)
    assert servers == ["home", "f1", "f2", "home", "home", "f1", "f2", "home"]


def test_visit_ends() -> None:
    """A worker at a failover server tries home again after `visit_s`, and starts over with the list if that fails."""
    worker = at_home()
    worker.departed(Outcome.UNREACHABLE)
    worker.departed(Outcome.UNREACHABLE)
    assert (worker.server, worker.role) == ("f1", Role.FAILOVER)
    worker.arrived(10.0)
    worker.heard(39.0)
    assert worker.must_leave(39.9, idle=True) is None
    assert worker.must_leave(40.0, idle=True) is Outcome.LEFT
    worker.departed(Outcome.LEFT)
    assert worker.server == "home"
    worker.departed(Outcome.UNREACHABLE)
    worker.departed(Outcome.UNREACHABLE)
    assert worker.server == "f1"


def test_silent_server() -> None:
    """A server that sends heartbeats and falls silent is left after `silence_s`; a legacy one sends none."""
    worker = at_home()
    worker.heard(10.0)
    assert worker.must_leave(34.9, idle=False) is None
    assert worker.must_leave(35.0, idle=False) is Outcome.UNREACHABLE
    legacy = Itinerary("home")
    legacy.arrived(0.0, heartbeats=False)
    legacy.heard(10.0)
    assert legacy.must_leave(1e6, idle=True) is None


def test_deadline() -> None:
    """The deadline is the next time at which a worker may have to leave; none without heartbeats and loan."""
    worker = lent()
    assert [worker.deadline(now) for now in (0.1, 15.0, 20.0)] == [15.0, 20.0, 25.1]
    legacy = Itinerary("home")
    legacy.arrived(0.0, heartbeats=False)
    assert legacy.deadline(0.0) == math.inf


def test_failover_list_of_home() -> None:
    """The list of a redirect replaces the configured one, without home and duplicates, bounded."""
    worker = at_home()
    servers = ["home", "x", "x", *map(str, range(100))]
    worker.redirected(LOAN._replace(failover=servers), 0.0, trusted=True)
    assert worker.failover == ["x", *map(str, range(15))]


def test_table_is_complete() -> None:
    """Every stay and every end of it leads somewhere."""
    assert set(NEXT) == {(role, outcome) for role in Role for outcome in Outcome}
