"""The progress of a run: one line on standard error."""

import sys
import time
from collections.abc import Sequence
from itertools import pairwise

ERASE_LINE = "\r\x1b[2K"
WIDTH = 79


class Progress:
    """Knows the names of all steps in advance, to show the next step and an estimate of the total time."""

    def __init__(self, steps: Sequence[str]) -> None:
        self._next = dict(pairwise(steps))
        self._total = len(steps)
        self._finished = 0
        self._start = time.monotonic()
        self._rewrites = sys.stderr.isatty()

    def begin(self, step: str) -> None:
        """Show that `step` begins, the step after it, the elapsed time and the estimate of the total time."""
        elapsed = time.monotonic() - self._start
        estimate = f"/{elapsed / self._finished * self._total:.0f}" if self._finished else ""
        following = self._next.get(step, "the result")
        # Of the next step, only the side is shown: within a pair, nothing else differs.
        self._show(f"[{elapsed:.0f}{estimate} s] {step}, then {following.rpartition(': ')[2]}")
        self._finished += 1

    def end(self) -> None:
        """Clear the line."""
        if self._rewrites:
            print(ERASE_LINE, end="", file=sys.stderr, flush=True)

    def _show(self, line: str) -> None:
        if self._rewrites:
            print(ERASE_LINE + line[:WIDTH], end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
