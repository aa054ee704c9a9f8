"""Sessions and rate limits, with a clock of the tests."""

import pytest

from frota.observer.dashboard.sessions import (
    ANONYMOUS,
    IDLE_S,
    MAX_AGE_S,
    MAX_SESSIONS,
    MAX_SESSIONS_OF_A_USER,
    RateLimit,
    Sessions,
    has_token,
)
from frota.observer.dashboard.users import User


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


def _user(name: str = "olga", hash_: str = "x") -> User:
    return User(name, "operator", hash_)


def test_token_finds_its_session(clock: _Clock) -> None:
    """A token finds its session; another one finds none."""
    sessions = Sessions(clock)
    token, session = sessions.create(_user())
    assert sessions.find(token) is session
    assert sessions.find(token + "x") is None
    assert sessions.find("") is None


def test_session_ends_by_time(clock: _Clock) -> None:
    """A session ends when it is unused for IDLE_S, and after MAX_AGE_S however much it is used."""
    sessions = Sessions(clock)
    token, _ = sessions.create(_user())
    clock.now += IDLE_S
    assert sessions.find(token) is None
    token, _ = sessions.create(_user())
    for _ in range(int(MAX_AGE_S // (IDLE_S / 2)) - 1):
        clock.now += IDLE_S / 2
        assert sessions.find(token)
    clock.now += IDLE_S / 2
    assert sessions.find(token) is None


def test_sessions_are_bounded(clock: _Clock) -> None:
    """The oldest session of a user, and of all, makes room for a new one."""
    sessions = Sessions(clock)
    tokens = [sessions.create(_user())[0] for _ in range(MAX_SESSIONS_OF_A_USER + 1)]
    assert [sessions.find(token) is None for token in tokens[:2]] == [True, False]
    assert len(sessions) == MAX_SESSIONS_OF_A_USER
    for number in range(MAX_SESSIONS + 5):
        sessions.create(_user(f"user{number}"))
    assert len(sessions) == MAX_SESSIONS


def test_changed_users_are_logged_out(clock: _Clock) -> None:
    """A user whose role or password changes, or who is removed, is logged out; others are not."""
    sessions = Sessions(clock)
    former = {name: _user(name) for name in ("same", "changed", "gone")}
    tokens = {name: sessions.create(user)[0] for name, user in former.items()}
    sessions.keep({"same": _user("same"), "changed": _user("changed", "y")}, former)
    assert {name for name, token in tokens.items() if sessions.find(token)} == {"same"}


def test_ended_session_is_invalid(clock: _Clock) -> None:
    """The stream of a session that has ended learns of it."""
    sessions = Sessions(clock)
    token, session = sessions.create(_user())
    assert sessions.is_valid(session)
    sessions.end(token)
    assert not sessions.is_valid(session)
    assert sessions.is_valid(ANONYMOUS)


def test_anonymous_viewers_have_no_valid_csrf_token() -> None:
    """Without a login no token is right, not even an empty one."""
    assert not has_token(ANONYMOUS, "")


def test_rate_limit_by_key(clock: _Clock) -> None:
    """A key has its burst, then its rate; another key has its own."""
    limit = RateLimit(60, 3, clock)
    assert [limit.allow("a") for _ in range(4)] == [True, True, True, False]
    assert limit.allow("b")
    clock.now += 1
    assert [limit.allow("a") for _ in range(2)] == [True, False]
