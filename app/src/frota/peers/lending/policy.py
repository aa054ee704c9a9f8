"""The limits and times of loans."""

from dataclasses import dataclass

LEGACY_EPOCH = -1  # in the messages of a legacy peer or worker, which name no epoch


@dataclass(frozen=True, slots=True)
class LoanPolicy:
    """The limits and times of loans, in seconds."""

    term_s: float = 15.0  # of a loan, and of each renewal
    renew_every_s: float = 5.0  # two renewals may be lost before the loan expires
    margin_s: float = 2.0  # the owner's record outlasts the borrower's: above the time between two ticks
    legacy_term_s: float = 60.0  # of a loan to or from a legacy peer
    visit_s: float = 30.0  # of a worker that came without a loan, because its owner is unreachable
    request_timeout_s: float = 2.0  # of WORKER_REQUEST
    refusal_pause_s: float = 2.0  # a peer that offered fewer workers than asked for is not asked again before
    demand_lasts_s: float = 6.0  # how long an unsatisfied request counts: longer than the pause and the timeout
    arrival_timeout_s: float = 5.0  # a promised worker that has not arrived is given back
    leave_timeout_s: float = 5.0  # a worker that was sent home and has not left is disconnected
    drain_s: float = 10.0  # how long a worker may finish tasks after the end of its loan
    forget_after_s: float = 3600.0  # an own worker that has not been seen
    max_borrowed: int = 1000  # workers
    max_workers: int = 10_000  # own workers that a server keeps a record of

    def term_of(self, *, legacy: bool) -> float:
        """Return the term of a loan to a native or a legacy peer."""
        return self.legacy_term_s if legacy else self.term_s
