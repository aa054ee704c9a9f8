"""Fair shares of one owner's workers."""

from hypothesis import given
from hypothesis import strategies as st

from frota.peers.lending.fairness import fair_shares


def test_equal_parts() -> None:
    """Borrowers that want everything get equal parts."""
    assert fair_shares({"a": 100, "b": 90}, {}, 8) == {"a": 4, "b": 4}


def test_small_demand_leaves_the_rest() -> None:
    """Nobody gets more than it wants; the others share the rest."""
    assert fair_shares({"a": 1, "b": 90, "c": 100}, {}, 9) == {"a": 1, "b": 4, "c": 4}


def test_remainder_stays_where_it_is() -> None:
    """Who has more keeps the worker that cannot be divided, whoever wants more at the moment."""
    assert fair_shares({"a": 100, "b": 90}, {"b": 5, "a": 4}, 9) == {"a": 4, "b": 5}
    assert fair_shares({"a": 90, "b": 100}, {"b": 4, "a": 5}, 9) == {"a": 5, "b": 4}


def test_everybody_gets_one_where_there_are_enough() -> None:
    """Of five borrowers of eight workers none is left without."""
    assert sorted(fair_shares(dict.fromkeys("abcde", 99), {}, 8).values()) == [1, 1, 2, 2, 2]


def test_nobody() -> None:
    """Without borrowers there are no shares."""
    assert fair_shares({}, {}, 8) == {}


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20)), st.integers(0, 60))
def test_shares_are_fair(wanted: dict[str, int], total: int) -> None:
    """All workers are given out if they are wanted; who is short has at most one fewer than anybody else."""
    shares = fair_shares(wanted, {}, total)
    assert sum(shares.values()) == min(total, sum(wanted.values()))
    for name, share in shares.items():
        assert share <= wanted[name]
        assert share == wanted[name] or share >= max(shares.values()) - 1


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20), min_size=1), st.integers(0, 60))
def test_shares_are_stable(wanted: dict[str, int], total: int) -> None:
    """Borrowers that have their shares keep them."""
    shares = fair_shares(wanted, {}, total)
    assert fair_shares(wanted, shares, total) == shares
