"""The options of a run, which every system's benchmark gets."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Options of a run.

    `frota` is the command to measure, `folder` a folder for state on the disk to measure, `seconds` the length of one
    measurement, `hosts` the number of hosts that the fleet is to have (0: leave it as it is). `resources` is closed at
    the end of the run, for example to stop a server that serves the whole run.
    """

    frota: Path
    folder: Path
    seconds: float
    hosts: int = 0
    resources: ExitStack = field(default_factory=ExitStack)
