"""Rate limits of the log: how many records a second of each kind that untrusted input can cause."""

import time

from frota.logs.log import record

DEFAULT_RATE = 20  # records a second
_REPORT_SECONDS = 10


class RateLimiter:
    """At most `rate` records a second of one kind; those beyond it are suppressed, counted, and reported in one record.

    `event` is what that record is called, `what` the records that were suppressed, in the plural.
    """

    def __init__(self, event: str, what: str, rate: int = DEFAULT_RATE) -> None:
        self.rate = self._left = rate
        self._suppressed = 0
        self._event, self._what = event, what

    @property
    def exhausted(self) -> bool:
        """Whether the next record would be suppressed."""
        return self._left <= 0

    def allow(self) -> bool:
        """Take one record from this second's allowance; False when it is used up."""
        if self._left > 0:
            self._left -= 1
            return True
        self._suppressed += 1
        return False

    def suppress(self, count: int) -> None:
        """Count records as suppressed that were not even made."""
        self._suppressed += count

    def refill(self) -> None:
        """Begin a new second (call it once a second)."""
        self._left = self.rate

    def report(self) -> None:
        """Report how many were suppressed since the last report, if any."""
        if self._suppressed:
            text = f"{self._suppressed} {self._what} not logged one by one"
            record("INFO", self._event, text, SUPPRESSED=self._suppressed)
            self._suppressed = 0


class RateLimitedLog:
    """What the event logs of all services share; the rate of the first limiter is a setting."""

    def __init__(self, requests: RateLimiter, *others: RateLimiter) -> None:
        self._configured, self._limiters = requests, (requests, *others)
        self._refill_due = self._report_due = 0.0

    def configure(self, per_second: int) -> None:
        """Take another rate from the settings."""
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
        """Report what was suppressed."""
        for limiter in self._limiters:
            limiter.report()
