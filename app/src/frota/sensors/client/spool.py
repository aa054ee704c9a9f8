"""The client's spool: an outbox of the readings that the server has not acknowledged, and the client's id."""

from contextlib import closing
from pathlib import Path
from uuid import uuid4

from frota.logs import log
from frota.storage import files, state_folder
from frota.storage.outbox import Outbox


class Spool:
    """The client's folder, locked for this process: the readings, the producer id (`client`) and the server's protocol.

    `limit` is the number of readings that may wait. No number is used twice. Raises OSError, and core.errors.StateError
    when another process has locked the folder.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._lock = state_folder.lock(directory)
        path = directory / "outbox"
        self._outbox = Outbox(path, limit)
        if (former := directory / "spool.sqlite").exists():
            _convert(former, self._outbox)
        if self._outbox.damaged:
            text = f"{path}: {self._outbox.damaged} damaged lines are skipped; outbox.bad is a copy of the file"
            log.record("ERROR", "spool_failed", text, COUNT=self._outbox.damaged)
        self.client = self.get("client") or str(uuid4())
        self.set("client", self.client)
        self.delivered_total = 0

    @property
    def waiting(self) -> int:
        """The number of readings that wait."""
        return len(self._outbox)

    def append(self, text: str) -> int:
        """Store a reading; return how many of the oldest were dropped for it (0 or 1). Raises OSError."""
        return self._outbox.append(text.encode())

    def after(self, number: int, limit: int) -> list[tuple[int, str]]:
        """Return the next readings after `number`, `limit` at most, as (number, text)."""
        return [(number, payload.decode()) for number, payload in self._outbox.after(number, limit)]

    def acknowledge(self, number: int) -> int:
        """Delete the readings up to `number`, which the server has stored or rejected; return how many."""
        count = self._outbox.acknowledge(number)
        self.delivered_total += count
        return count

    def continue_after(self, number: int) -> None:
        """Use no number up to this one again: the server has it, so this folder is an older copy."""
        self._outbox.continue_after(number)

    def get(self, name: str) -> str:
        """Return a stored value, "" without one."""
        return str(self._outbox.facts.get(name, ""))

    def set(self, name: str, value: str) -> None:
        """Store a value."""
        self._outbox.set(name, value)

    def close(self) -> None:
        """Close the outbox and unlock the folder."""
        self._outbox.close()
        self._lock.close()


def _convert(former: Path, outbox: Outbox) -> None:
    """Move the spool of a former release, a SQLite file, into the outbox; after a kill it is done again."""
    import sqlite3  # only for the first start of a new release

    try:
        with closing(sqlite3.connect(former)) as database:
            rows = database.execute("select number, text from reading order by number").fetchall()
            [last] = database.execute("select seq from sqlite_sequence").fetchone() or [0]
            facts = dict(database.execute("select name, value from fact"))
    except sqlite3.Error as error:
        raise OSError(f"{former}: {error}; repair or remove it") from error
    outbox.replace([(number, text.encode()) for number, text in rows], last, facts)
    for suffix in ("", "-wal", "-shm"):
        former.with_name(former.name + suffix).unlink(missing_ok=True)
    files.sync_folder(former.parent)
