"""What publishers of images tell of what they measured: the account that load.c prints."""

import resource
from collections.abc import Sequence
from typing import Any

_PARTS = {"p50_ms": 0.5, "p99_ms": 0.99}


def account(latencies: Sequence[float], seconds: float, acknowledged: int, errors: int, busy: float) -> dict[str, Any]:
    """Return the account: `latencies` (s) of what was confirmed within `seconds`, `acknowledged` in all.

    `busy` is the CPU time (s) of those seconds.
    """
    ordered = sorted(latencies)
    quantile = {name: ordered[int((len(ordered) - 1) * part)] * 1e3 if ordered else 0 for name, part in _PARTS.items()}
    counts = {"count": len(ordered), "errors": errors, "unanswered": 0, "acknowledged": acknowledged}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rate = {"seconds": seconds, "rate": len(ordered) / seconds, "load_busy": busy / seconds}
    return {**counts, **rate, **quantile, "peak": peak}
