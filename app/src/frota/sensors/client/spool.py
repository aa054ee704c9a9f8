"""The client's spool: readings that the server has not acknowledged, numbered, in order, bounded, in SQLite."""

from pathlib import Path
from uuid import uuid4

from frota.storage import database, state_folder


class Spool:
    """The client's folder, locked for this process: the readings, the producer id (`client`) and the server's protocol.

    `limit` is the number of readings that may wait. No number is used twice. Raises core.errors.StateError when another
    process has locked the folder.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._lock = state_folder.lock(directory)
        self._limit = limit
        self._db = database.connect(directory / "spool.sqlite")
        self._db.executescript(
            "create table if not exists reading(number integer primary key autoincrement, text text not null);"
            "create table if not exists fact(name text primary key, value text not null);"
        )
        self.client = self.get("client") or str(uuid4())
        self.set("client", self.client)
        self.delivered_total = 0
        (self.waiting,) = self._db.execute("select count(*) from reading").fetchone()

    def append(self, text: str) -> int:
        """Store a reading; return how many of the oldest were dropped for it (0 or 1). Raises sqlite3.Error."""
        self._db.execute("insert into reading(text) values (?)", (text,))
        self.waiting += 1
        if self.waiting <= self._limit:
            return 0
        self._db.execute("delete from reading where number = (select min(number) from reading)")
        self.waiting -= 1
        return 1

    def after(self, number: int, limit: int) -> list[tuple[int, str]]:
        """Return the next readings after `number`, `limit` at most, as (number, text)."""
        query = "select number, text from reading where number > ? order by number limit ?"
        return self._db.execute(query, (number, limit)).fetchall()

    def delivered(self, first: int, last: int) -> int:
        """Delete the readings from `first` to `last`, which the server has stored or rejected; return how many."""
        deleted = self._db.execute("delete from reading where number between ? and ?", (first, last)).rowcount
        self.waiting -= deleted
        self.delivered_total += deleted
        return deleted

    def continue_after(self, number: int) -> None:
        """Use no number up to this one again: the server has it, so this folder is an older copy."""
        self._db.execute("insert or ignore into reading(number, text) values (?, '')", (number,))
        self._db.execute("delete from reading where number = ? and text = ''", (number,))

    def get(self, name: str) -> str:
        """Return a stored value, "" without one."""
        row = self._db.execute("select value from fact where name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def set(self, name: str, value: str) -> None:
        """Store a value."""
        self._db.execute("insert or replace into fact values (?, ?)", (name, value))

    def close(self) -> None:
        """Close the database and unlock the folder."""
        self._db.close()
        self._lock.close()
