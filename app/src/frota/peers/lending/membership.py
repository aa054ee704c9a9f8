"""Where each worker is, as one server sees it: a table of states. No I/O.

A server knows two kinds of workers: its own, which it may lend, and those of its peers, which it may borrow. Its view
can lag behind: a connection may be half-open. But it hands tasks to workers in USABLE states only, and each of these is
entered by the arrival of the worker on a connection to this server, never by a message about it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple


class State(Enum):
    """The states of a worker."""

    OWN_IDLE = "own, connected, holds no task"
    OWN_BUSY = "own, connected, holds tasks"
    OFFERED = "own, told to go to its borrower, has not left yet"
    LENT = "own, has left for its borrower"
    ABSENT = "own, neither connected nor lent: on its way home, restarting, or dead"
    PROMISED = "lent by a peer, has not arrived yet"
    BORROWED_IDLE = "a peer's, connected, holds no task"
    BORROWED_BUSY = "a peer's, connected, holds tasks"
    DRAINING = "a peer's, holds tasks, gets no further ones, and returns after them"
    RETURNING = "a peer's, told to go home, has not left yet"
    GONE = "a peer's, not here: it is not kept"

    __hash__ = (
        object.__hash__
    )  # four times as fast as that of Enum, which hashes the name: it is on the way of each task


class Event(Enum):
    """What takes a worker from one state to the next."""

    ARRIVED = "it has connected and said who it is; tasks of a former connection are not its any more"
    LEFT = "its connection is closed"
    TASK = "it got a task"
    FREE = "it has reported its last task"
    OFFER = "this server lends it"
    ADOPT = "its borrower renews a loan from before this server's restart"
    PROMISE = "a peer lends it"
    RECALL = "this server gives it back"
    LOAN_ENDED = "its loan was given back or has expired"

    __hash__ = object.__hash__


TRANSITIONS: Mapping[State, Mapping[Event, State]] = {
    State.OWN_IDLE: {
        Event.ARRIVED: State.OWN_IDLE,
        Event.LEFT: State.ABSENT,
        Event.TASK: State.OWN_BUSY,
        Event.OFFER: State.OFFERED,
    },
    State.OWN_BUSY: {Event.ARRIVED: State.OWN_IDLE, Event.LEFT: State.ABSENT, Event.FREE: State.OWN_IDLE},
    State.OFFERED: {Event.ARRIVED: State.OWN_IDLE, Event.LEFT: State.LENT, Event.LOAN_ENDED: State.ABSENT},
    State.LENT: {Event.ARRIVED: State.OWN_IDLE, Event.LOAN_ENDED: State.ABSENT, Event.ADOPT: State.LENT},
    State.ABSENT: {Event.ARRIVED: State.OWN_IDLE, Event.LEFT: State.ABSENT, Event.ADOPT: State.LENT},
    State.PROMISED: {
        Event.ARRIVED: State.BORROWED_IDLE,
        Event.LEFT: State.PROMISED,  # the half-open connection of a former loan
        Event.LOAN_ENDED: State.GONE,
    },
    State.BORROWED_IDLE: {
        Event.ARRIVED: State.BORROWED_IDLE,
        Event.LEFT: State.GONE,
        Event.TASK: State.BORROWED_BUSY,
        Event.RECALL: State.RETURNING,
    },
    State.BORROWED_BUSY: {
        Event.ARRIVED: State.BORROWED_IDLE,
        Event.LEFT: State.GONE,
        Event.FREE: State.BORROWED_IDLE,
        Event.RECALL: State.DRAINING,
    },
    State.DRAINING: {Event.ARRIVED: State.RETURNING, Event.LEFT: State.GONE, Event.FREE: State.RETURNING},
    State.RETURNING: {Event.ARRIVED: State.RETURNING, Event.LEFT: State.GONE},
    State.GONE: {Event.ARRIVED: State.BORROWED_IDLE, Event.PROMISE: State.PROMISED},
}

IDLE = frozenset({State.OWN_IDLE, State.BORROWED_IDLE})
BUSY = frozenset({State.OWN_BUSY, State.BORROWED_BUSY})
USABLE = IDLE | BUSY
ON_LOAN = frozenset({State.OFFERED, State.LENT})
BORROWED = frozenset({State.BORROWED_IDLE, State.BORROWED_BUSY})


class ForbiddenTransition(RuntimeError):
    """The caller reports an event that cannot happen in the worker's state: says which."""


class Loan(NamedTuple):
    """A worker for a time. `until` is on the clock of the server that holds this record.

    `epoch` grows with each loan of an owner, also over its restarts: of two loans of a worker, the one with the greater
    epoch counts. 0 stands for no loan: the worker came by itself because its owner was unreachable.
    """

    worker: str
    owner: str
    borrower: str
    epoch: int
    until: float
    renewable: bool = True  # False if one of the two servers speaks a legacy dialect

    @property
    def id(self) -> str:
        """Its name in logs and messages."""
        return f"{self.owner}:{self.epoch}"


class Reach(Enum):
    """Which servers a worker can be lent to."""

    NONE = "none: it has no name, or leaves"
    ALL = "all"
    NATIVE = "those with certificates"
    LEGACY = "legacy ones, in clear text"

    __hash__ = object.__hash__


class Member:
    """One worker."""

    __slots__ = (
        "arrived_at",
        "epoch",
        "id",
        "loan",
        "owner",
        "owner_assumed",
        "reach",
        "recalled",
        "since",
        "state",
    )

    def __init__(self, worker: str, owner: str, state: State, now: float) -> None:
        self.id, self.owner, self.state, self.since = worker, owner, state, now
        self.loan: Loan | None = None
        self.epoch = 0  # of its newest loan, which may be over
        self.arrived_at = -math.inf  # when it connected last
        self.owner_assumed = False  # a legacy worker does not name its owner
        self.reach = Reach.ALL
        self.recalled = False  # its owner has refused to renew the loan

    def begin(self, loan: Loan) -> None:
        """Put it under a loan."""
        self.loan, self.epoch, self.recalled = loan, loan.epoch, False

    def may_go(self, *, legacy: bool) -> bool:
        """Tell whether it can be lent to a legacy server, or to another one."""
        return self.reach is Reach.ALL or self.reach is (Reach.LEGACY if legacy else Reach.NATIVE)

    def __repr__(self) -> str:
        return f"<{self.id} of {self.owner}: {self.state.name} {self.loan}>"


class Members:
    """All workers that a server knows."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._members: dict[str, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        """Return them all; the caller may change them meanwhile."""
        return iter(list(self._members.values()))

    def __len__(self) -> int:
        return len(self._members)

    def get(self, worker: str) -> Member | None:
        """Return a worker, None for an unknown one."""
        return self._members.get(worker)

    def admit(self, worker: str, owner: str, now: float) -> Member:
        """Return a worker of this owner; if it is unknown, with a new record."""
        member = self._members.get(worker)
        return member if member is not None and member.owner == owner else self.replace(worker, owner, now)

    def replace(self, worker: str, owner: str, now: float) -> Member:
        """Return a new record of a worker, which is not here yet, in place of the former one."""
        state = State.ABSENT if owner == self.server else State.GONE
        self._members[worker] = Member(worker, owner, state, now)
        return self._members[worker]

    def apply(self, member: Member, event: Event, now: float) -> None:
        """Enter the next state. Raises ForbiddenTransition."""
        try:
            member.state = TRANSITIONS[member.state][event]
        except KeyError:
            raise ForbiddenTransition(f"{member}: {event.name}") from None
        member.since = now
        if event is Event.ARRIVED:
            member.arrived_at = now
        if member.state is State.GONE:
            del self._members[member.id]

    def forget(self, member: Member) -> None:
        """Drop an absent worker."""
        del self._members[member.id]

    def among(self, states: Iterable[State]) -> list[Member]:
        """Return the workers in these states."""
        return [member for member in self._members.values() if member.state in states]

    def count(self) -> dict[State, int]:
        """Return how many workers are in each state."""
        counts = dict.fromkeys(State, 0)
        for member in self._members.values():
            counts[member.state] += 1
        return counts
