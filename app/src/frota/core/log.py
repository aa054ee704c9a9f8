"""The log: loguru in front, one sink behind it, either the journal's native protocol or text on stderr."""

import os
import select
import traceback
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from loguru import logger

from frota.core.journald import Journal, stderr_is_journal

if TYPE_CHECKING:
    from loguru import Message

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "SUCCESS": 5, "INFO": 6}  # syslog(3); anything else is 7
_COLOURS = {"CRITICAL": 35, "ERROR": 31, "WARNING": 33, "INFO": 32}
# Control characters and the ones that reverse or break lines: nothing from outside may repaint a terminal.
_UNSAFE = [*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_ESCAPES = {code: repr(chr(code))[1:-1] for code in _UNSAFE}


def configure(system: str, unit: str, level: str = "INFO") -> None:
    """Send everything from `level` up to the journal when stderr is the journal, else as text to stderr."""
    identity = {"SYSLOG_IDENTIFIER": unit, "FROTA_SYSTEM": system}
    if path := os.environ.get("FROTA_JOURNAL_SOCKET"):
        sink = partial(_to_journal, Journal(path), identity)
    elif stderr_is_journal():
        sink = partial(_to_journal, Journal(), identity)
    else:
        sink = partial(_to_stderr, os.isatty(2))
    logger.remove()
    logger.add(sink, level=level, format="{message}", catch=True, backtrace=False, diagnose=False)


def record(level: str, event: str, text: str, *, error: BaseException | None = None, **fields: object) -> None:
    """Log `text` at `level`, with the stable name `event` and fields; `error` adds its traceback."""
    logger.bind(FROTA_EVENT=event, **fields).opt(exception=error).log(level, "{}", text)


def printable(text: str) -> str:
    """Return the text with everything a terminal could obey or be confused by written as an escape."""
    return text.translate(_ESCAPES)


def _to_journal(journal: Journal, identity: dict[str, str], message: "Message") -> None:
    entry = message.record
    text = entry["message"] + _trace(message)
    journal.send({"MESSAGE": text, "PRIORITY": _PRIORITIES.get(entry["level"].name, 7), **identity, **entry["extra"]})


def _to_stderr(colour: bool, message: "Message") -> None:
    entry = message.record
    level = entry["level"].name
    mark = f"\x1b[{_COLOURS.get(level, 36)}m{level:<8}\x1b[0m" if colour else f"{level:<8}"
    lines = [printable(entry["message"]), *map(printable, _trace(message).splitlines()[1:])]
    data = f"{entry['time']:YYYY-MM-DD HH:mm:ss.SSS} {mark} " + "\n    ".join(lines) + "\n"
    # A pipe nobody reads, or a stopped terminal, must not stop the server: what does not fit now is not written.
    with suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, data.encode("utf-8", "backslashreplace")[:4096])


def _trace(message: "Message") -> str:
    error = message.record["exception"]
    return "\n" + "".join(traceback.format_exception(error.value)).rstrip() if error and error.value else ""
