"""What a person may choose for a run, and every system's benchmark is given."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`frota` is the command to measure, `folder` is on the disk to measure, `seconds` is for one measurement.

    `quick` asks whether the benchmark works: what it works on may be smaller.
    """

    frota: Path
    folder: Path
    seconds: float
    quick: bool = False
