"""Rate limits for log records that untrusted input causes."""

import time

from frota.logs.log import record

DEFAULT_RATE = 20  # records a second
_REPORT_SECONDS = 10


class RateLimiter:
    """Allows `rate` records a second; further ones are suppressed, counted, and reported in one record.

    `event` is the event of the report, `what` names the suppressed records, in the plural.
    """

    def __init__(self, event: str, what: str, rate: int = DEFAULT_RATE) -> None:
        self.rate = self._left = rate
        self._suppressed = 0
        self._event, self._what = event, what

    @property
    def exhausted(self) -> bool:
        """Whether the next record will be suppressed."""
        return self._left <= 0

    def allow(self) -> bool:
        """Tell whether a record may be logged, and count it."""
        if self._left > 0:
            self._left -= 1
            return True
        self._suppressed += 1
        return False

    def suppress(self, count: int) -> None:
        """Count records that were not built because the limit was exhausted."""
        self._suppressed += count

    def refill(self) -> None:
        """Start a new second (call it once a second)."""
        self._left = self.rate

    def report(self) -> None:
        """Log how many records were suppressed since the last report, if any."""
        if self._suppressed:
            text = f"{self._suppressed} {self._what} suppressed by the log's rate limit"
            record("INFO", self._event, text, SUPPRESSED=self._suppressed)
            self._suppressed = 0


class RateLimitedLog:
    """Base of the services' event logs; the rate of the first limiter is a setting."""

    def __init__(self, requests: RateLimiter, *others: RateLimiter) -> None:
        self._configured, self._limiters = requests, (requests, *others)
        self._refill_due = self._report_due = 0.0

    def configure(self, per_second: int) -> None:
        """Set the rate of the first limiter."""
        self._configured.rate = per_second

    def sweep(self, now: float | None = None) -> None:
        """Refill the limiters each second, report every 10 s (`now` in monotonic seconds)."""
        now = time.monotonic() if now is None else now
        if now >= self._refill_due:
            self._refill_due = now + 1
            for limiter in self._limiters:
                limiter.refill()
        if now >= self._report_due:
            self._report_due = now + _REPORT_SECONDS
            self.report()

    def report(self) -> None:
        """Log the counts of suppressed records."""
        for limiter in self._limiters:
            limiter.report()
