"""Lines on standard output."""

import os
from collections.abc import Iterable


def write(lines: Iterable[str]) -> int:
    """Print lines as they come; return 0, or 1 when nobody reads any more."""
    try:
        for line in lines:
            print(line, flush=True)
    except BrokenPipeError:
        # Python flushes stdout once more at its end, which must find nothing to complain about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return 0
