"""Readings that wait for the server, on disk: numbered, in order, bounded. SQLite, so that a crash costs none."""

from pathlib import Path
from uuid import uuid4

from frota.storage import database, state_folder


class Spool:
    """The client's folder, claimed for this process: what is not delivered yet, and what it knows about the server.

    Every number is used once. Raises core.errors.StateError when another process holds the folder.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._lock = state_folder.lock(directory)
        self._limit = limit
        self._db = database.connect(directory / "spool.sqlite")
        self._db.executescript(
            "create table if not exists reading(number integer primary key autoincrement, text text not null);"
            "create table if not exists fact(name text primary key, value text not null);"
        )
        self.client = self.fact("client") or str(uuid4())
        self.learn("client", self.client)
        (self.waiting,) = self._db.execute("select count(*) from reading").fetchone()

    def add(self, text: str) -> int:
        """Keep a reading; return how many of the oldest had to go for it (0 or 1). Raises sqlite3.Error: no room."""
        self._db.execute("insert into reading(text) values (?)", (text,))
        self.waiting += 1
        if self.waiting <= self._limit:
            return 0
        self._db.execute("delete from reading where number = (select min(number) from reading)")
        self.waiting -= 1
        return 1

    def after(self, number: int, most: int) -> list[tuple[int, str]]:
        """Return the next readings behind `number`, at most `most`, as (number, text)."""
        query = "select number, text from reading where number > ? order by number limit ?"
        return self._db.execute(query, (number, most)).fetchall()

    def delivered(self, first: int, last: int) -> int:
        """Forget readings that the server has (or has refused for good), both ends included; return how many."""
        gone = self._db.execute("delete from reading where number between ? and ?", (first, last)).rowcount
        self.waiting -= gone
        return gone

    def not_before(self, number: int) -> None:
        """Give no number up to this one again: the server knows it, so this folder is older than what it knows."""
        self._db.execute("insert or ignore into reading(number, text) values (?, '')", (number,))
        self._db.execute("delete from reading where number = ? and text = ''", (number,))

    def fact(self, name: str) -> str:
        """Return what was learnt, an empty text if nothing was."""
        row = self._db.execute("select value from fact where name = ?", (name,)).fetchone()
        return row[0] if row else ""

    def learn(self, name: str, value: str) -> None:
        """Remember across restarts."""
        self._db.execute("insert or replace into fact values (?, ?)", (name, value))

    def close(self) -> None:
        """Give the folder back."""
        self._db.close()
        self._lock.close()
