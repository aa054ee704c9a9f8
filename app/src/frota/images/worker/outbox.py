"""What a worker could not tell before it stopped, in a file for its next start."""

from collections.abc import Sequence
from pathlib import Path

from frota.images.messages import InvalidMessage, StatusEvent
from frota.logs import log
from frota.storage import files

_MAX_EVENTS = 10_000  # events, of half a KiB each


class Outbox:
    """Events in `directory`, one a line; telling one twice does no harm, so they stay there until all are told.

    A disk that does not do it is an error in the log: the results themselves are in S3.
    """

    def __init__(self, directory: Path) -> None:
        self._file = directory / "owed.jsonl"

    def read(self) -> list[StatusEvent]:
        """Return what is left from before; malformed lines are skipped, and logged once."""
        try:
            lines = self._file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            log.record("ERROR", "outbox_failed", f"{self._file}: status events cannot be read: {error}")
            return []
        events: list[StatusEvent] = []
        fault = ""
        for line in lines:
            try:
                events.append(StatusEvent.read(line))
            except InvalidMessage as error:
                fault = fault or str(error)
        if bad := len(lines) - len(events):
            text = f"{self._file}: {bad} lines are damaged and skipped, their results are not reported: {fault}"
            log.record("ERROR", "outbox_failed", text, COUNT=bad)
        return events

    def replace(self, events: Sequence[StatusEvent]) -> None:
        """Keep these events and no others; returns when they are on disk."""
        if len(events) > _MAX_EVENTS:
            text = f"{_MAX_EVENTS} results at most are told after the next start, {len(events) - _MAX_EVENTS} are not"
            log.record("ERROR", "outbox_failed", text, COUNT=len(events) - _MAX_EVENTS)
        try:
            if events:
                files.replace(self._file, (event.encode() + b"\n" for event in events[-_MAX_EVENTS:]))
            else:
                self._file.unlink(missing_ok=True)
        except OSError as error:
            log.record("ERROR", "outbox_failed", f"{self._file}: {len(events)} status events lost: {error}")
