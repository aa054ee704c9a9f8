"""What the lending decides, each action a message to send or a connection to close, and what it hears from owners."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from frota.peers.lending.membership import Loan


class LoanKey(NamedTuple):
    """Names one loan of a worker in a message."""

    worker: str
    epoch: int


@dataclass(frozen=True, slots=True)
class RequestWorkers:
    """To a peer: WORKER_REQUEST. `sent_at` is this server's clock; the response must come with the same value."""

    peer: str
    count: int
    sent_at: float


@dataclass(frozen=True, slots=True)
class OfferWorkers:
    """To a peer: WORKER_RESPONSE, a NACK without workers. Send it before the redirects."""

    peer: str
    loans: Sequence[LoanKey]
    term_s: float


@dataclass(frozen=True, slots=True)
class Lend:
    """To an own worker: REDIRECT to the borrower. The loan ends `term_s` after the worker receives it."""

    loan: Loan
    term_s: float


@dataclass(frozen=True, slots=True)
class RenewLoans:
    """To an owner: renew these loans. `sent_at` as in RequestWorkers."""

    owner: str
    loans: Sequence[LoanKey]
    sent_at: float


@dataclass(frozen=True, slots=True)
class AnswerRenewal:
    """To a borrower: the renewed loans last for `term_s`; it must return the refused ones."""

    borrower: str
    renewed: Sequence[LoanKey]
    refused: Sequence[LoanKey]
    term_s: float


@dataclass(frozen=True, slots=True)
class RecallLoans:
    """To a borrower: return these workers. Where it gets lost, the refusal to renew says it again."""

    borrower: str
    loans: Sequence[LoanKey]


@dataclass(frozen=True, slots=True)
class ExtendLoan:
    """To a borrowed worker: its loan now ends `term_s` after it receives this. Legacy workers do not get it."""

    loan: Loan
    term_s: float


@dataclass(frozen=True, slots=True)
class Return:
    """To a worker that is no worker of this server: go home (a REDIRECT to its owner; dialect C: RETURN)."""

    worker: str
    owner: str


@dataclass(frozen=True, slots=True)
class GiveBack:
    """To an owner: these loans are over here (dialect C: COMMAND_RELEASE; A and B have no such message)."""

    owner: str
    loans: Sequence[LoanKey]


@dataclass(frozen=True, slots=True)
class AcknowledgeRelease:
    """To a borrower that speaks dialect C: RELEASE_ACK."""

    peer: str
    workers: Sequence[str]


@dataclass(frozen=True, slots=True)
class CompleteRelease:
    """To a borrower that speaks dialect C: RELEASE_COMPLETED, all workers are home."""

    peer: str
    workers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection of a worker that has not left in time; then report that it left, as always."""

    worker: str


class Offer(NamedTuple):
    """From an owner: its WORKER_RESPONSE to the request that was sent at `sent_at`. Legacy: `term_s` is 0."""

    sent_at: float
    loans: Sequence[LoanKey]
    term_s: float = 0.0


class RenewalAnswer(NamedTuple):
    """From an owner: its answer to the RENEW that was sent at `sent_at`."""

    sent_at: float
    renewed: Sequence[LoanKey]
    refused: Sequence[LoanKey]
    term_s: float


Action: TypeAlias = (
    RequestWorkers
    | OfferWorkers
    | Lend
    | RenewLoans
    | AnswerRenewal
    | RecallLoans
    | ExtendLoan
    | Return
    | GiveBack
    | AcknowledgeRelease
    | CompleteRelease
    | Disconnect
)
Actions: TypeAlias = list[Action]
