"""Logging: loguru as the front, or none where memory is scarce; both write to the sink of sinks.py."""

from typing import TYPE_CHECKING

from frota.logs import sinks
from frota.logs.sinks import printable

if TYPE_CHECKING:
    from loguru import Message

__all__ = ["LEVELS", "configure", "configure_direct", "printable", "record"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


class _Direct:
    """The path without loguru: a sink and its levels."""

    sink: sinks.Sink | None = None
    levels: tuple[str, ...] = ()


def configure(system: str, unit: str, level: str = "INFO") -> None:
    """Log records of `level` and above to the journal where stderr is the journal, else as text to stderr."""
    from loguru import logger  # here: it imports asyncio, 8 MiB that the agent saves

    sink = sinks.sink(system, unit)

    def write(message: "Message") -> None:
        entry = message.record
        error = entry["exception"].value if entry["exception"] else None
        sink(entry["level"].name, entry["message"], error, entry["extra"])

    _Direct.sink = None
    logger.remove()
    logger.add(write, level=level, format="{message}", catch=True, backtrace=False, diagnose=False)


def configure_direct(system: str, unit: str, level: str = "INFO") -> None:
    """Like `configure`, without loguru: for a single-threaded process that must stay small."""
    _Direct.sink, _Direct.levels = sinks.sink(system, unit), (*LEVELS[LEVELS.index(level) :], "CRITICAL")


def record(level: str, event: str, text: str, *, error: BaseException | None = None, **fields: object) -> None:
    """Log `text` at `level` with the event's name (docs/events.md) and fields; `error` adds a traceback."""
    if _Direct.sink is None:
        from loguru import logger

        logger.bind(FROTA_EVENT=event, **fields).opt(exception=error).log(level, "{}", text)
    elif level in _Direct.levels:
        _Direct.sink(level, text, error, {"FROTA_EVENT": event, **fields})
