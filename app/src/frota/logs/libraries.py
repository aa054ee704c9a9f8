"""The libraries' own loggers, whose records take the same way as ours."""

import logging

from frota.logs.log import record
from frota.logs.rate_limit import RateLimitedLog, RateLimiter


class _Handler(logging.Handler):
    """Logs what a library logs, rate limited, since clients' input may cause it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._limiter = RateLimiter("library_records_suppressed", "records of libraries")
        self._limits = RateLimitedLog(self._limiter)

    def emit(self, entry: logging.LogRecord) -> None:
        """Log a record of a library with the library's logger in LOGGER."""
        try:
            self._limits.sweep()
            if self._limiter.allow():
                error = entry.exc_info[1] if entry.exc_info else None
                level = {logging.WARNING: "WARNING", logging.CRITICAL: "CRITICAL"}.get(entry.levelno, "ERROR")
                record(level, "library_record", f"{entry.name}: {entry.getMessage()}", error=error, LOGGER=entry.name)
        except Exception:  # noqa: BLE001 -- logging's convention: a failing handler must not raise in the library
            self.handleError(entry)


def capture() -> None:
    """Log what libraries log at WARNING and above, and Python's warnings; to be called once in a process."""
    root = logging.getLogger()
    if not any(isinstance(handler, _Handler) for handler in root.handlers):
        root.addHandler(_Handler())
        logging.captureWarnings(True)
