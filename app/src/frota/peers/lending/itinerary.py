"""Which server a worker connects to next, and when it leaves: the worker's own decisions. No I/O.

A worker is at one server at a time: home, a borrower's for the term of a loan, or, while home is unreachable, the next
one of its failover list. It goes home by itself when a loan is over, whatever its borrower says or does not say.
`now` is the worker's monotonic time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Role(Enum):
    """What a server is to the worker."""

    HOME = "its owner"
    BORROWER = "has it on loan"
    FAILOVER = "takes it in while its owner is unreachable"


class Outcome(Enum):
    """How the stay at a server ends."""

    UNREACHABLE = "the connection failed or was lost"
    LEFT = "the worker left: its loan or its visit is over"


# Whom to connect to next. A failed attempt at home is repeated before the failover list: see `home_attempts`.
NEXT: Mapping[tuple[Role, Outcome], Role] = {
    (Role.HOME, Outcome.UNREACHABLE): Role.FAILOVER,
    (Role.HOME, Outcome.LEFT): Role.HOME,
    (Role.BORROWER, Outcome.UNREACHABLE): Role.HOME,
    (Role.BORROWER, Outcome.LEFT): Role.HOME,
    (Role.FAILOVER, Outcome.UNREACHABLE): Role.FAILOVER,  # the next one of the list; home after the last
    (Role.FAILOVER, Outcome.LEFT): Role.HOME,
}


@dataclass(frozen=True, slots=True)
class ItineraryPolicy:
    """The limits and times of a worker's travels, in seconds."""

    home_attempts: int = 2  # before the failover list
    silence_s: float = 25.0  # without a message from a server that sends heartbeats
    visit_s: float = 30.0  # at a failover server, before the worker tries home again
    drain_s: float = 5.0  # how long it may finish tasks after the end of its loan
    legacy_term_s: float = 60.0  # of a loan without a term
    max_failover: int = 16  # servers


class Redirect(NamedTuple):
    """A REDIRECT as it arrived. Epoch and term are 0 in a legacy dialect; `failover` is empty where it has no list."""

    server: str
    epoch: int = 0
    term_s: float = 0.0
    failover: Sequence[str] = ()


class Itinerary:
    """The travels of one worker. Connect to `server`, and say how it went.

    Servers are any text that names an address. `epoch` is that of the current loan, 0 without one.
    """

    def __init__(self, home: str, failover: Sequence[str] = (), policy: ItineraryPolicy | None = None) -> None:
        self.policy = policy or ItineraryPolicy()
        self.home, self.server, self.role = home, home, Role.HOME
        self.failover = self._cleaned(failover)
        self.epoch = 0
        self.connected = False
        self._newest_epoch = 0
        self._failures = 0  # at home, in a row
        self._place = -1  # in the failover list
        self._until = math.inf  # when the loan or the visit is over
        self._heard_at = math.inf  # infinite: the server sends no heartbeats
        self._leaving = False

    def arrived(self, now: float, *, heartbeats: bool = True) -> None:
        """Note that the server has accepted the worker; `heartbeats`: a legacy server sends none."""
        self.connected = True
        self._heard_at = now if heartbeats else math.inf
        if self.role is Role.HOME:
            self._failures = 0
        elif self.role is Role.FAILOVER:
            self._until = now + self.policy.visit_s

    def heard(self, now: float) -> None:
        """Note any message of the server."""
        if self._heard_at < math.inf:
            self._heard_at = now

    def departed(self, outcome: Outcome) -> None:
        """Note that the connection is closed or could not be made; choose the next server."""
        role = NEXT[self.role, outcome]
        if self.role is Role.HOME and outcome is Outcome.UNREACHABLE:
            self._failures += 1
            role = role if self._failures >= self.policy.home_attempts else Role.HOME
        self._go(role)

    def redirected(self, redirect: Redirect, now: float, *, trusted: bool) -> bool:
        """Obey a REDIRECT, or return False and stay.

        `trusted`: the worker has authenticated the server that sent it, or was configured with it. Home may lend the
        worker, once per epoch; any other server may only send it home.
        """
        if not trusted:
            return False
        if redirect.server == self.home:
            self._leaving = self.role is not Role.HOME
            return self._leaving
        stale = 0 < redirect.epoch <= self._newest_epoch
        if self.role is not Role.HOME or stale:
            return False
        self._begin_loan(redirect, now)
        return True

    def extended(self, epoch: int, term_s: float, now: float) -> bool:
        """Extend the current loan; return False for any other."""
        if not self.epoch or epoch != self.epoch:
            return False
        self._until = max(self._until, now + term_s)
        return True

    def must_leave(self, now: float, *, idle: bool) -> Outcome | None:
        """Return why the worker must close its connection now, None if it need not.

        Tasks may be finished first, but not for longer than `drain_s` after the end of a loan.
        """
        if now >= self._heard_at + self.policy.silence_s:
            return Outcome.UNREACHABLE
        over = now >= self._until or self._leaving
        late = self.role is Role.BORROWER and now >= self._until + self.policy.drain_s
        return Outcome.LEFT if (over and idle) or late else None

    def deadline(self, now: float) -> float:
        """Return when to ask `must_leave` again if nothing happens; infinite if never."""
        silent = self._heard_at + self.policy.silence_s
        times = [time for time in (silent, self._until, self._until + self.policy.drain_s) if time > now]
        return min(times, default=math.inf)

    def _begin_loan(self, redirect: Redirect, now: float) -> None:
        """Leave home for a borrower."""
        if redirect.failover:
            self.failover = self._cleaned(redirect.failover)
        self._newest_epoch = max(self._newest_epoch, redirect.epoch)
        self._go(Role.BORROWER, redirect.server)
        self.epoch = redirect.epoch
        self._until = now + (redirect.term_s or self.policy.legacy_term_s)

    def _go(self, role: Role, server: str = "") -> None:
        if role is Role.FAILOVER:
            self._place += 1
            role = role if self._place < len(self.failover) else Role.HOME
        if role is Role.FAILOVER:
            server = self.failover[self._place]
        else:
            self._place = -1
        if self.role is not Role.HOME:
            self._failures = 0
        self.role, self.server = role, server or self.home
        self.epoch, self._until, self._heard_at = 0, math.inf, math.inf
        self.connected = self._leaving = False

    def _cleaned(self, servers: Sequence[str]) -> list[str]:
        """Return a failover list without home and duplicates, as long as it may be."""
        return [server for server in dict.fromkeys(servers) if server != self.home][: self.policy.max_failover]
