"""Pairs, their ratios, and whether a claim holds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from bench.core.errors import InvalidRunError

Figures = Mapping[str, float]
"""What one measurement of one side gave, by name."""

Pair = Mapping[str, Figures]
"""One measurement of each side, taken one after the other, by the side's name."""


@dataclass(frozen=True)
class Column:
    """A figure as the table shows it; `shape` is a format specification."""

    figure: str
    heading: str
    shape: str


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
    """A sentence about `side`: its own figure, or its ratio to that of `against`.

    Without `at_least` and `at_most` it is told for information and cannot be missed.
    """

    text: str
    figure: str
    side: str
    against: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    shape: str = ".2f"

    def spread(self, pairs: Sequence[Pair]) -> Spread:
        """Ratios are taken within each pair, so that a slow minute hits both sides."""
        return Spread.of([self._value(pair) for pair in pairs])

    def holds(self, pairs: Sequence[Pair]) -> bool | None:
        """Return whether the median is within the claim's limit, None where there is no limit."""
        value = self.spread(pairs).median
        if self.at_least is not None:
            return value >= self.at_least
        return None if self.at_most is None else value <= self.at_most

    def _value(self, pair: Pair) -> float:
        own = pair[self.side][self.figure]
        return own if self.against is None else own / pair[self.against][self.figure]


@dataclass(frozen=True)
class Scenario:
    """Sides that are measured in turn, each by a function that starts it afresh."""

    title: str
    sides: Mapping[str, Callable[[], Figures]]
    columns: Sequence[Column]
    claims: Sequence[Claim]

    def first_alone(self) -> "Scenario":
        """Return the scenario with its first side, and with the claims that need no other."""
        side, measure = next(iter(self.sides.items()))
        claims = [claim for claim in self.claims if claim.side == side and claim.against is None]
        return replace(self, sides={side: measure}, claims=claims)


def measure_pairs(scenario: Scenario, pairs: int, tell: Callable[[str], None]) -> list[Pair]:
    """Measure A B A B …; `tell` hears what comes before each measurement.

    Raises InvalidRunError as the sides do, with what was measured in front.
    """
    measured: list[Pair] = []
    for number in range(1, pairs + 1):
        pair: dict[str, Figures] = {}
        for side, measure in scenario.sides.items():
            step = step_name(scenario, number, pairs, side)
            tell(step)
            try:
                pair[side] = measure()
            except InvalidRunError as error:
                raise InvalidRunError(f"{step}: {error}") from error
        measured.append(pair)
    return measured


def step_names(scenario: Scenario, pairs: int) -> list[str]:
    """Return what `measure_pairs` will tell, in its order."""
    return [step_name(scenario, number, pairs, side) for number in range(1, pairs + 1) for side in scenario.sides]


def step_name(scenario: Scenario, number: int, pairs: int, side: str) -> str:
    """Return a step as progress and errors call it."""
    return f"{scenario.title}, pair {number}/{pairs}: {side}"
