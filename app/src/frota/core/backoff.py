"""Exponential backoff with jitter."""

import random


class Backoff:
    """Pauses between retries: doubled with each failure up to a maximum, and shortened at random by up to half.

    Without jitter, all clients of a server that was unavailable would reconnect at the same moment.
    """

    def __init__(self, first_s: float, max_s: float) -> None:
        self.first_s, self.max_s = first_s, max_s  # seconds
        self.failures = 0  # since the last success

    def pause(self) -> float:
        """Count a failure; return the seconds to wait before the next attempt."""
        pause = self.first_s * 2 ** min(self.failures, 20)
        self.failures += 1
        return jittered(min(self.max_s, pause))

    def reset(self) -> None:
        """Restart with the first pause, after a success."""
        self.failures = 0


def jittered(pause_s: float) -> float:
    """Return between half and all of a pause, in seconds."""
    return random.uniform(0.5, 1) * pause_s
