"""A rate limit with bursts, for input: the token bucket."""


class TokenBucket:
    """`rate` tokens a second, of which those of `burst_s` seconds can be taken at once.

    `take` is only an addition; `refill` has to be called at least every `burst_s`.
    """

    __slots__ = ("_burst_s", "_refilled_at", "left")

    def __init__(self, rate: float, burst_s: float, now: float) -> None:
        self._burst_s, self._refilled_at = burst_s, now
        self.left = rate * burst_s

    @property
    def empty(self) -> bool:
        """Whether nothing is to be taken before the next refill."""
        return self.left <= 0

    def take(self, count: int) -> None:
        """Take tokens, the last ones on credit."""
        self.left -= count

    def refill(self, rate: float, now: float) -> None:
        """Add the tokens of the time since the last refill; `now` in seconds, `rate` in tokens a second."""
        self.left = min(rate * self._burst_s, self.left + rate * (now - self._refilled_at))
        self._refilled_at = now
