"""Scenarios, measurements in pairs, and claims about their ratios."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from bench.core.errors import InvalidRunError

Figures = Mapping[str, float]
"""The result of one measurement of one side: names and values."""

Pair = Mapping[str, Figures]
"""One measurement of each side, one after the other: names of sides and figures."""


@dataclass(frozen=True)
class Column:
    """A column of the table: the name of a figure, its heading and its format."""

    figure: str
    heading: str
    format_spec: str


@dataclass(frozen=True)
class Spread:
    """The median of several values, and the lowest and highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Claim:
    """A claim about a figure of `side`, or about its ratio to the same figure of `against`.

    `at_least` or `at_most` is its target; without a target it is only shown.
    """

    text: str
    figure: str
    side: str
    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    format_spec: str = ".2f"

    def spread(self, pairs: Sequence[Pair]) -> Spread:
        """Return the spread of the ratio within each pair, so that a disturbance affects both sides."""
        return Spread.of([self._value(pair) for pair in pairs])

    def holds(self, pairs: Sequence[Pair]) -> bool | None:
        """Return whether the median reaches the target, None without a target."""
        value = self.spread(pairs).median
        if self.at_least is not None:
            return value >= self.at_least
        return None if self.at_most is None else value <= self.at_most

    def _value(self, pair: Pair) -> float:
        own = pair[self.side][self.figure]
        return own if self.against is None else own / pair[self.against][self.figure]


@dataclass(frozen=True)
class Scenario:
    """Sides, each with the function that starts and measures it, and what the table shows of them."""

    title: str
    sides: Mapping[str, Callable[[], Figures]]
    columns: Sequence[Column]
    claims: Sequence[Claim]

    def only_first_side(self) -> "Scenario":
        """Return the scenario with only its first side, and the claims about that side alone."""
        side, measure = next(iter(self.sides.items()))
        claims = [claim for claim in self.claims if claim.side == side and claim.against is None]
        return replace(self, sides={side: measure}, claims=claims)


def measure_pairs(scenario: Scenario, pairs: int, begin: Callable[[str], None]) -> list[Pair]:
    """Measure the sides in turn (A B A B …); call `begin` with the name of each step before it.

    Raises InvalidRunError if a side does, with the name of the step.
    """
    measured: list[Pair] = []
    for number in range(1, pairs + 1):
        pair: dict[str, Figures] = {}
        for side, measure in scenario.sides.items():
            step = step_name(scenario, number, pairs, side)
            begin(step)
            try:
                pair[side] = measure()
            except InvalidRunError as error:
                raise InvalidRunError(f"{step}: {error}") from error
        measured.append(pair)
    return measured


def list_steps(scenario: Scenario, pairs: int) -> list[str]:
    """Return the names of the steps of `measure_pairs`, in order."""
    return [step_name(scenario, number, pairs, side) for number in range(1, pairs + 1) for side in scenario.sides]


def step_name(scenario: Scenario, number: int, pairs: int, side: str) -> str:
    """Return the name of a step for progress and errors."""
    return f"{scenario.title}, pair {number}/{pairs}: {side}"
