"""How much of what strangers can provoke goes into the log."""

from frota.core.log import record


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
