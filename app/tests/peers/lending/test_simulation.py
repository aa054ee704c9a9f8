"""The simulator: workers are conserved under all faults, and a broken lending is found."""

import pytest

from frota.peers.lending.actions import LoanKey
from frota.peers.lending.engine import Lending
from frota.peers.lending.itinerary import Itinerary
from frota.peers.lending.membership import ON_LOAN, Member
from peers.lending.simulation.chaos import Chaos
from peers.lending.simulation.invariants import InvariantViolation
from peers.lending.simulation.scenarios import burst, competition
from peers.lending.simulation.world import Faults
from support import FULL

STEPS = 300_000 if FULL else 20_000


@pytest.mark.parametrize("seed", range(10 if FULL else 1))
def test_workers_are_conserved(seed: int) -> None:
    """20 servers and 1,000 workers keep all invariants under all faults, and everybody is home in the end."""
    figures = Chaos(seed).run(STEPS)
    assert figures.borrowed > 0
    assert figures.checks["loan"] > STEPS
    assert figures.totals["lent"] > 100


def test_without_faults_nothing_is_lost() -> None:
    """Without faults no task fails and no task is sent to a worker that has left."""
    figures = Chaos(1, servers=5, workers=50, faults=Faults()).run(20_000 if FULL else 6_000)
    assert (figures.dead, figures.handed_to_absent) == (0, 0)
    assert figures.longest_stranded_s == {}


def test_same_seed_same_run() -> None:
    """A run is determined by its seed."""
    runs = [Chaos(3, servers=4, workers=40).run(10_000 if FULL else 2_000) for _ in range(2)]
    for run in runs:
        run.wall_s = 0.0
    assert runs[0] == runs[1]


class WithoutEpochs(Lending):
    """Takes every message about a worker for one about its current loan."""

    def _current(self, peer: str, key: LoanKey) -> Member | None:  # noqa: ARG002  # the fault is to ignore it
        member = self.members.get(key.worker)
        return member if member is not None and member.state in ON_LOAN else None


def test_ignored_epochs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that ignores epochs ends the loan of another borrower: the simulator finds it."""
    monkeypatch.setattr("peers.lending.simulation.server.Server.lending_class", WithoutEpochs)
    faults = Faults(duplicated=0.1, late=0.2)
    with pytest.raises(InvariantViolation, match=r"seed 1, step \d+.*which s\d has as .*ABSENT"):
        Chaos(1, servers=5, workers=50, faults=faults).run(200_000)


class Stubborn(Itinerary):
    """Does not go home by itself."""

    def must_leave(self, now: float, *, idle: bool) -> None:
        """Stay."""


def test_worker_that_stays_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that waits for its borrower's word is stranded: the simulator finds it."""
    monkeypatch.setattr("peers.lending.simulation.worker.Itinerary", Stubborn)
    with pytest.raises(InvariantViolation, match=r"stranded|still at"):
        Chaos(1, servers=5, workers=50).run(200_000)


@pytest.mark.parametrize("service_s", [0.001, 0.02] if FULL else [0.001])
def test_burst_is_shared(service_s: float) -> None:
    """All 8 workers work within 2 s, all are home 5 s after the end, and it takes 0.6 of the time without lending."""
    result = burst(1, 10_000, service_s)
    assert 0 < result.all_work_s < 2
    assert result.all_home_s < 5
    assert result.total_s < 0.6 * result.alone_s


@pytest.mark.parametrize("borrowers", [2, 3] if FULL else [3])
def test_borrowers_share(borrowers: int) -> None:
    """Borrowers that want everything have equally many workers over time."""
    assert competition(1, borrowers, seconds=60 if FULL else 30) > 0.95
