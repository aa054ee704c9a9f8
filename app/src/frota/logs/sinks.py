"""Sinks of the log: the journal's native protocol, or text on stderr."""

import os
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from frota.logs.journald import Journal, stderr_is_journal

PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "SUCCESS": 5, "INFO": 6}  # syslog(3); anything else is 7
_COLOURS = {"CRITICAL": 35, "ERROR": 31, "WARNING": 33, "INFO": 32}
# Control characters, and those that reverse or break lines: untrusted text must not control a terminal.
_UNSAFE = [*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_ESCAPES = {code: repr(chr(code))[1:-1] for code in _UNSAFE}

Sink = Callable[[str, str, BaseException | None, Mapping[str, object]], None]
"""Writes a record: level, text, error for a traceback, fields."""


def sink(system: str, unit: str) -> Sink:
    """Return the journal's sink when stderr is the journal, else stderr's."""
    identity = {"SYSLOG_IDENTIFIER": unit, "FROTA_SYSTEM": system}
    if path := os.environ.get("FROTA_JOURNAL_SOCKET"):
        return partial(_to_journal, Journal(path), identity)
    if stderr_is_journal():
        return partial(_to_journal, Journal(), identity)
    return partial(_to_stderr, os.isatty(2))


def printable(text: str) -> str:
    """Return the text with control characters escaped, so that a terminal cannot be controlled by it."""
    return text.translate(_ESCAPES)


def _to_journal(  # noqa: PLR0913, PLR0917 -- two bound arguments and a record's four
    journal: Journal,
    identity: Mapping[str, str],
    level: str,
    text: str,
    error: BaseException | None,
    fields: Mapping[str, object],
) -> None:
    message = text + _trace(error)
    journal.send({"MESSAGE": message, "PRIORITY": PRIORITIES.get(level, 7), **identity, **fields})


def _to_stderr(colour: bool, level: str, text: str, error: BaseException | None, _fields: Mapping[str, object]) -> None:
    now = time.time()
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03}"
    mark = f"\x1b[{_COLOURS.get(level, 36)}m{level:<8}\x1b[0m" if colour else f"{level:<8}"
    lines = [printable(text), *map(printable, _trace(error).splitlines()[1:])]
    data = f"{moment} {mark} " + "\n    ".join(lines) + "\n"
    # A pipe that is not read, or a stopped terminal, must not block the server: the record is dropped.
    with suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, data.encode("utf-8", "backslashreplace")[:4096])


def _trace(error: BaseException | None) -> str:
    if error is None:
        return ""
    import traceback  # here: rarely needed, saves memory

    return "\n" + "".join(traceback.format_exception(error)).rstrip()
