"""Instances of a unit that are all well, folded into one row. No I/O."""

import re
from collections.abc import Iterable
from itertools import groupby

from frota.observer.status.query import Unit


def fold(units: Iterable[Unit]) -> list[Unit]:
    """Return units, those with an error or not well alone, other instances of one template as one unit.

    It has their sums of restarts and memory, and the time since when all of them run.
    """
    alone: list[Unit] = []
    for (_, foldable), group in groupby(units, key=lambda unit: (unit.name.partition("@")[0], _foldable(unit))):
        members = list(group)
        alone += [_folded(members)] if foldable and len(members) > 1 else members
    return alone


def _foldable(unit: Unit) -> bool:
    return "@" in unit.name and unit.well and unit.error is None


def _folded(units: list[Unit]) -> Unit:
    template = units[0].name.partition("@")[0]
    instances = sorted((unit.name.partition("@")[2] for unit in units), key=_natural)
    memory = [unit.memory for unit in units if unit.memory is not None]
    since = [unit.since for unit in units if unit.since is not None]
    return units[0]._replace(
        name=f"{template}@{','.join(instances)}",
        since=max(since, default=None),
        restarts=sum(unit.restarts for unit in units),
        memory=sum(memory) if memory else None,
    )


def _natural(text: str) -> tuple[int, str]:
    return (int(text) if re.fullmatch("[0-9]{1,9}", text) else -1, text)
