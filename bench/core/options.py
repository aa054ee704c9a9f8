"""What a person may choose for a run, and every system's benchmark is given."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`frota` is the command to measure, `folder` is on the disk to measure, `seconds` is for one measurement.

    `hosts` is how many a fleet is to have that is measured, 0 for as many as it has.
    `held` takes what lasts for the whole run and must then be ended.
    """

    frota: Path
    folder: Path
    seconds: float
    hosts: int = 0
    held: ExitStack = field(default_factory=ExitStack)
