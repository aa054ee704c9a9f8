"""Results as a table of at most 80 columns, and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.core.compare import Claim, Pair, Scenario, Spread

WIDTH = 80


@dataclass(frozen=True)
class Result:
    """A scenario and its measurements."""

    scenario: Scenario
    pairs: Sequence[Pair]


def heading(machine: Mapping[str, str | int], fdatasyncs: Spread, method: str) -> str:
    """Return the conditions of the run: the machine, its disk during the run, and the method."""
    rate = f"{fdatasyncs.median:,.0f} fdatasyncs/s ({fdatasyncs.low:,.0f}-{fdatasyncs.high:,.0f})"
    return "\n".join(
        [
            f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}",
            f"Python {machine['python']}, state on {machine['file_system']}, {rate}",
            method,
        ]
    )


def table(result: Result) -> str:
    """Return the medians of each side, then each claim: median (lowest-highest), target, verdict."""
    scenario, pairs = result.scenario, result.pairs
    lines = ["─" * WIDTH, f"{scenario.title:<25}" + "".join(f"{c.heading:>11}" for c in scenario.columns)]
    for side in scenario.sides:
        cells = (Spread.of([pair[side][c.figure] for pair in pairs]).median for c in scenario.columns)
        texts = (f"{cell:>11{c.format_spec}}" for cell, c in zip(cells, scenario.columns, strict=True))
        lines.append(f"  {side:<23}" + "".join(texts))
    return "\n".join([*lines, "", *(claim_line(claim, pairs) for claim in scenario.claims)])


def claim_line(claim: Claim, pairs: Sequence[Pair]) -> str:
    """Return a claim as one line of the table."""
    spread = claim.spread(pairs)
    median, low, high = (f"{value:,{claim.format_spec}}" for value in (spread.median, spread.low, spread.high))
    verdict = {True: "reached", False: "MISSED", None: ""}[claim.holds(pairs)]
    low_high = f"({low}-{high})"
    return f"  {claim.text:<33}{median:>9} {low_high:<19} {target(claim):>7} {verdict}".rstrip()


def target(claim: Claim) -> str:
    """Return the target of a claim, or an empty string if it has none."""
    if claim.at_least is not None:
        return f"≥{claim.at_least:,g}"
    return "" if claim.at_most is None else f"≤{claim.at_most:,g}"


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return all figures of all pairs, and the claims."""
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
