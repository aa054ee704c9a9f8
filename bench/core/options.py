"""What a person may choose for a run, and every system's benchmark is given."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`frota` is the command to measure, `folder` is on the disk to measure, `seconds` is for one measurement.

    `held` takes what lasts for the whole run and must then be ended.
    """

    frota: Path
    folder: Path
    seconds: float
    held: ExitStack = field(default_factory=ExitStack)
