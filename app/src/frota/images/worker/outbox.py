"""The worker's outbox: status events that a stopping worker could not publish, on disk for its next start."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from frota.core.errors import MalformedMessage
from frota.images.messages import StatusEvent
from frota.logs import log
from frota.storage import files
from frota.storage.outbox import Outbox

_MAX_EVENTS = 10_000  # of half a KiB each


class EventOutbox:
    """Events in `directory`, which the worker has locked. They stay until all are published: duplicates are harmless.

    A disk error is only logged: the results themselves are in S3.
    """

    def __init__(self, directory: Path, max_events: int = _MAX_EVENTS) -> None:
        self._max_events = max_events
        self._path, self._former = directory / "outbox", directory / "owed.jsonl"

    def read(self) -> list[StatusEvent]:
        """Return the stored events; malformed ones are skipped, and logged once."""
        try:
            with closing(Outbox(self._path, self._max_events)) as outbox:
                if self._former.exists():
                    _convert(self._former, outbox)
                payloads, damaged = [payload for _, payload in outbox.after(0, self._max_events)], outbox.damaged
        except OSError as error:
            log.record("ERROR", "outbox_failed", f"cannot read the status events of {self._path}: {error}")
            return []
        events: list[StatusEvent] = []
        for payload in payloads:
            try:
                events.append(StatusEvent.read(payload))
            except MalformedMessage:
                damaged += 1
        if damaged:
            text = f"{self._path}: {damaged} status events are damaged and skipped, their results are not reported"
            log.record("ERROR", "outbox_failed", text, COUNT=damaged)
        return events

    def replace(self, events: Sequence[StatusEvent]) -> None:
        """Replace the stored events; return when the new ones are on disk."""
        newest = events[-self._max_events :]
        if lost := len(events) - len(newest):
            text = f"the outbox holds {self._max_events} status events: {lost} older ones are lost"
            log.record("ERROR", "outbox_failed", text, COUNT=lost)
        try:
            with closing(Outbox(self._path, self._max_events)) as outbox:
                if newest:
                    outbox.replace(((number, event.encode()) for number, event in enumerate(newest, 1)), len(newest))
                else:
                    outbox.clear()
        except OSError as error:
            log.record("ERROR", "outbox_failed", f"{self._path}: {len(events)} status events lost: {error}")


def _convert(former: Path, outbox: Outbox) -> None:
    """Move the events of a former release, a file of lines, into the outbox; after a kill it is done again."""
    lines = former.read_bytes().splitlines()
    outbox.replace(enumerate(lines, 1), len(lines))
    former.unlink()
    files.sync_folder(former.parent)
