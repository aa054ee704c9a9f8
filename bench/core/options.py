"""What a person may choose for a run, and every system's benchmark is given."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`frota` is the command to measure, `folder` is on the disk to measure, `seconds` is for one measurement.

    `quick` asks whether the benchmark works: what it works on may be smaller. `held` takes what lasts for
    the whole run and must then be ended.
    """

    frota: Path
    folder: Path
    seconds: float
    quick: bool = False
    held: ExitStack = field(default_factory=ExitStack)
