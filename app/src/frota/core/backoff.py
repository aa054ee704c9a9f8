"""Exponential backoff with jitter between the retries of what failed."""

import random


class Backoff:
    """Pauses between tries: doubled with each failure up to a limit, and shortened at random by up to a half.

    Without the jitter, all clients of a server that was unavailable would come back in the same moment.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self.first_s, self.longest_s = first_s, longest_s  # seconds
        self.failures = 0  # since the last success

    def pause(self) -> float:
        """Count a failure; return how long to wait before the next try, in seconds."""
        pause = self.first_s * 2 ** min(self.failures, 20)
        self.failures += 1
        return jittered(min(self.longest_s, pause))

    def reset(self) -> None:
        """Start with the first pause again, after a success."""
        self.failures = 0


def jittered(pause_s: float) -> float:
    """Return between a half and the whole of a pause, in seconds."""
    return random.uniform(0.5, 1) * pause_s
