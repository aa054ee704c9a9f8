"""One line on standard error that says where a long run is."""

import sys
import time
from collections.abc import Sequence
from itertools import pairwise

ERASE_LINE = "\r\x1b[2K"
WIDTH = 79


class Progress:
    """Knows the names of all steps beforehand, so that it can say what comes next and how long it takes."""

    def __init__(self, steps: Sequence[str]) -> None:
        self._next = dict(pairwise(steps))
        self._total = len(steps)
        self._done = 0
        self._start = time.monotonic()
        self._rewrites = sys.stderr.isatty()

    def tell(self, step: str) -> None:
        """Show that `step` begins, what follows it, and the time so far and in all."""
        elapsed = time.monotonic() - self._start
        in_all = f"/{elapsed / self._done * self._total:.0f}" if self._done else ""
        following = self._next.get(step, "the result")
        # Within one pair only the side changes: no need to say the rest twice.
        self._show(f"[{elapsed:.0f}{in_all} s] {step}, then {following.rpartition(': ')[2]}")
        self._done += 1

    def end(self) -> None:
        """Clear the line, so that the result begins on an empty one."""
        if self._rewrites:
            print(ERASE_LINE, end="", file=sys.stderr, flush=True)

    def _show(self, line: str) -> None:
        if self._rewrites:
            print(ERASE_LINE + line[:WIDTH], end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
