"""How much of what strangers can provoke goes into the log."""

from frota.core.log import record

_REPORT_SECONDS = 10


class Budget:
    """At most `rate` records a second of one kind; what is beyond it is counted and told in one record."""

    def __init__(self, event: str, what: str, rate: int) -> None:
        self.rate = self.left = rate
        self.omitted = 0
        self._event, self._what = event, what

    def allow(self) -> bool:
        """Take one record out of this second's budget; False when it is spent."""
        if self.left > 0:
            self.left -= 1
            return True
        self.omitted += 1
        return False

    def refill(self) -> None:
        """Begin a new second (call it once a second)."""
        self.left = self.rate

    def report(self) -> None:
        """Tell how many were left out since the last report, if any."""
        if self.omitted:
            record("INFO", self._event, f"{self.omitted} {self._what} not logged one by one", OMITTED=self.omitted)
            self.omitted = 0


class Budgets:
    """Several budgets that begin their seconds, and tell what was left out, together."""

    def __init__(self, *budgets: Budget) -> None:
        self._budgets = budgets
        self._second = self._due = 0.0  # when they are next refilled, and what was left out is next told

    def sweep(self, now: float) -> None:
        """Begin a new second when it is time to, and report what was left out (`now` in monotonic seconds)."""
        if now >= self._second:
            self._second = now + 1
            for budget in self._budgets:
                budget.refill()
        if now >= self._due:
            self._due = now + _REPORT_SECONDS
            self.report()

    def report(self) -> None:
        """Tell how much was left out."""
        for budget in self._budgets:
            budget.report()
