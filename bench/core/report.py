"""Results as a table for people, at most 80 columns wide, and as JSON for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.core.compare import Claim, Pair, Scenario, Spread

WIDTH = 80


@dataclass(frozen=True)
class Result:
    """A scenario and all that was measured of it."""

    scenario: Scenario
    pairs: Sequence[Pair]


def heading(machine: Mapping[str, str | int], fdatasyncs: Spread, how: str) -> str:
    """Return what the figures depend on: the machine, its disk while they were taken, and how they were taken."""
    rate = f"{fdatasyncs.median:,.0f} fdatasyncs/s ({fdatasyncs.low:,.0f}-{fdatasyncs.high:,.0f})"
    return "\n".join(
        [
            f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}",
            f"Python {machine['python']}, state on {machine['file_system']}, {rate}",
            how,
        ]
    )


def table(result: Result) -> str:
    """Return medians per side, then each claim: median of the pairs, (lowest-highest), target, verdict."""
    scenario, pairs = result.scenario, result.pairs
    lines = ["─" * WIDTH, f"{scenario.title:<25}" + "".join(f"{c.heading:>11}" for c in scenario.columns)]
    for side in scenario.sides:
        cells = (Spread.of([pair[side][c.figure] for pair in pairs]).median for c in scenario.columns)
        shown = (f"{cell:>11{c.shape}}" for cell, c in zip(cells, scenario.columns, strict=True))
        lines.append(f"  {side:<23}" + "".join(shown))
    return "\n".join([*lines, "", *(claim_line(claim, pairs) for claim in scenario.claims)])


def claim_line(claim: Claim, pairs: Sequence[Pair]) -> str:
    """Return a claim as one line of the table."""
    spread = claim.spread(pairs)
    between = f"({spread.low:,{claim.shape}}-{spread.high:,{claim.shape}})"
    verdict = {True: "reached", False: "MISSED", None: ""}[claim.holds(pairs)]
    return f"  {claim.text:<33}{spread.median:>9,{claim.shape}} {between:<19} {target(claim):>7} {verdict}".rstrip()


def target(claim: Claim) -> str:
    """Return the limit that a claim names, or nothing where it names none."""
    if claim.at_least is not None:
        return f"≥{claim.at_least:,g}"
    return "" if claim.at_most is None else f"≤{claim.at_most:,g}"


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return every figure of every pair, and what the table says about them."""
    return [
        {
            "scenario": result.scenario.title,
            "pairs": result.pairs,
            "claims": [
                {**asdict(claim), **asdict(claim.spread(result.pairs)), "holds": claim.holds(result.pairs)}
                for claim in result.scenario.claims
            ],
        }
        for result in results
    ]
