"""Sessions of users who have logged in, kept in memory: a restart ends them. No I/O."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from frota.net.token_bucket import TokenBucket
from frota.observer.dashboard.users import VIEWER, User

IDLE_S, MAX_AGE_S = 8 * 3600.0, 24 * 3600.0
MAX_SESSIONS, MAX_SESSIONS_OF_A_USER = 1000, 20
_MAX_KEYS = 4096  # of a rate limit, of which the one used longest ago is forgotten


@dataclass
class Session:
    """A login; `csrf` is the token that every action of it has to carry."""

    user: str
    role: str
    csrf: str
    created: float  # monotonic seconds, as is `used`
    used: float
    ended: bool = False


ANONYMOUS = Session("", VIEWER, "", 0.0, 0.0)
"""What everybody has where no login is configured: they may look."""


class Sessions:
    """The sessions by the digest of their token: a copy of the memory is of no use to who reads it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_digest: dict[bytes, Session] = {}  # ordered by the time of the login

    def __len__(self) -> int:
        return len(self._by_digest)

    def create(self, user: User) -> tuple[str, Session]:
        """Return the token of a new session, and the session; the oldest ones make room for it."""
        self._expire()
        own = [digest for digest, session in self._by_digest.items() if session.user == user.name]
        excess = own[: max(0, len(own) - MAX_SESSIONS_OF_A_USER + 1)]
        if len(self._by_digest) - len(excess) >= MAX_SESSIONS:
            excess.append(next(iter(self._by_digest)))
        for digest in excess:
            self._end(digest)
        token, now = secrets.token_urlsafe(32), self._clock()
        session = Session(user.name, user.role, secrets.token_urlsafe(32), now, now)
        self._by_digest[_digest(token)] = session
        return token, session

    def find(self, token: str) -> Session | None:
        """Return the session of a token, None for none or an expired one."""
        session = self._by_digest.get(_digest(token)) if token else None
        if session is None or not self.is_valid(session):
            return None
        session.used = self._clock()
        return session

    def is_valid(self, session: Session) -> bool:
        """Tell whether a session has neither ended nor expired."""
        if session is ANONYMOUS:
            return True
        now = self._clock()
        return not session.ended and now - session.used < IDLE_S and now - session.created < MAX_AGE_S

    def end(self, token: str) -> None:
        """End a session."""
        self._end(_digest(token))

    def keep(self, users: Mapping[str, User], former: Mapping[str, User]) -> None:
        """End the sessions of users who are gone, or whose role or password has changed."""
        for digest, session in list(self._by_digest.items()):
            if users.get(session.user) is None or users[session.user] != former.get(session.user):
                self._end(digest)

    def _expire(self) -> None:
        for digest, session in list(self._by_digest.items()):
            if not self.is_valid(session):
                self._end(digest)

    def _end(self, digest: bytes) -> None:
        if session := self._by_digest.pop(digest, None):
            session.ended = True


def has_token(session: Session, token: str) -> bool:
    """Tell whether an action carries the CSRF token of its session."""
    return bool(session.csrf) and hmac.compare_digest(session.csrf.encode(), token.encode("utf-8", "replace"))


class RateLimit:
    """A token bucket for each key: `per_minute` on average, `burst` at once."""

    def __init__(self, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst_s, self._clock = per_minute / 60, burst * 60 / per_minute, clock
        self._buckets: dict[str, TokenBucket] = {}  # ordered by their last use

    def allow(self, key: str) -> bool:
        """Take a token; False if there is none."""
        now = self._clock()
        bucket = self._buckets.pop(key, None) or TokenBucket(self._rate, self._burst_s, now)
        bucket.refill(self._rate, now)
        self._buckets[key] = bucket
        if len(self._buckets) > _MAX_KEYS:
            del self._buckets[next(iter(self._buckets))]
        if bucket.left < 1:
            return False
        bucket.take(1)
        return True


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
