"""What is kept of all hosts, in one SQLite file: who they are, their newest samples one by one, the others in chunks.

A new sample costs one row at the end of a table, whatever the number of hosts. As soon as a host has enough of them
they become one row of `chunks`; rows of `recent` that are all in chunks are deleted. Every method runs in whatever
thread calls it, one at a time for each object.
"""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from frota.cpu_metrics import chunk
from frota.cpu_metrics.messages import is_run
from frota.logs import log
from frota.storage import database

MAX_CHUNK_SAMPLES = 60  # samples of a chunk at most: five minutes at 5 s
_FILE = "history.sqlite"
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS hosts (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dialect TEXT NOT NULL, run TEXT NOT NULL,
        last INTEGER NOT NULL, first_seen REAL NOT NULL, last_seen REAL NOT NULL, interval REAL NOT NULL,
        samples INTEGER NOT NULL, missing INTEGER NOT NULL, duplicates INTEGER NOT NULL, ordinal INTEGER NOT NULL,
        chunked INTEGER NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS recent (sequence INTEGER PRIMARY KEY, host INTEGER NOT NULL, sample BLOB NOT NULL)",
    """CREATE TABLE IF NOT EXISTS chunks (
        host INTEGER NOT NULL, ordinal INTEGER NOT NULL, ended REAL NOT NULL, columns BLOB NOT NULL,
        PRIMARY KEY (host, ordinal)) WITHOUT ROWID""",
)
_ADDED = (  # columns that older files begin without
    ("chunks", "began", "REAL"),
    ("chunks", "total", "INTEGER"),
    ("hosts", "heard", "REAL NOT NULL DEFAULT 0"),
    ("hosts", "crossed", "TEXT NOT NULL DEFAULT ''"),
    ("hosts", "latest", "BLOB NOT NULL DEFAULT x''"),
    ("hosts", "means", "BLOB NOT NULL DEFAULT x''"),
    ("hosts", "former", "TEXT NOT NULL DEFAULT ''"),
)

_NAME = re.compile(r"[!#-\[\]-~]{1,300}")  # of a host, or an address of one that does not say its name
_FORMER = re.compile(r"(?:[0-9a-f]{32}:[0-9]{1,16}(?:,|$))*")
_GREATEST = 2**62  # of any whole number: what is counted on from there stays one that SQLite can hold
_LONGEST_RUN = 3e9  # seconds that servers may have run in all: a century
_HIGHEST_ID = f"""SELECT max(id) FROM (SELECT max(id) AS id FROM hosts WHERE id < {_GREATEST}
    UNION SELECT max(host) FROM chunks WHERE host < {_GREATEST})"""  # noqa: S608 -- a constant
_PUT_CHUNK = """INSERT OR REPLACE INTO chunks (host, ordinal, ended, columns, began, total)
    VALUES (?, ?, ?, ?, ?, ?)"""
_TOTALS = "SELECT ordinal, total FROM chunks WHERE host = ? ORDER BY ordinal"
_NEWEST = "SELECT max(sequence) FROM recent WHERE sequence < ?"
_IN_NO_CHUNK = """SELECT sequence, host, sample FROM recent JOIN hosts ON hosts.id = recent.host
    WHERE sequence > chunked ORDER BY sequence"""


class HostRow(NamedTuple):
    """A host as it is kept; `chunked` is a sequence number: what it sent up to there is in chunks.

    `former` are runs before this one that the host may go on with, see `Hosts.greet`.

    `heard` is when it was last heard of, in seconds that servers have run in all: no clock that is set, and no time
    in which no server ran, makes it longer ago. `crossed` are the metrics that are over their thresholds, with commas,
    `latest` and `means` its last sample and its last means that are in chunks, packed.
    """

    id: int
    name: str
    dialect: str
    run: str
    last: int
    first_seen: float
    last_seen: float
    interval: float
    samples: int
    missing: int
    duplicates: int
    ordinal: int
    chunked: int
    heard: float = 0.0
    crossed: str = ""
    latest: bytes = b""
    means: bytes = b""
    former: str = ""


def _text(data: bytes) -> str:
    """Return a text, also a damaged one: one bad row must not end the reading of the others."""
    return data.decode(errors="replace")


def _sound(kept: HostRow) -> HostRow | None:
    """Return a host without its damaged fields, None where the row is no host."""
    wholes = (kept.id, kept.last, kept.samples, kept.missing, kept.duplicates, kept.ordinal, kept.chunked)
    times = (kept.first_seen, kept.last_seen, kept.interval, kept.heard)
    texts = (kept.name, kept.dialect, kept.run, kept.crossed, kept.former)
    if not all(isinstance(text, str) for text in texts) or not all(type(whole) is int for whole in wholes):
        return None
    if not _NAME.fullmatch(kept.name) or (kept.run and not is_run(kept.run)):
        return None
    if min(wholes) < 0 or max(wholes) >= _GREATEST:
        return None
    if not all(isinstance(at, int | float) and abs(at) < 6e10 for at in times) or kept.interval <= 0:
        return None
    latest = kept.latest if chunk.is_sample(kept.latest) else b""
    means = kept.means if isinstance(kept.means, bytes) and len(kept.means) % 2 == 0 else b""
    former = kept.former if _FORMER.fullmatch(kept.former) else ""
    heard = kept.heard if 0 <= kept.heard < _LONGEST_RUN else 0.0
    return kept._replace(latest=latest, means=means, former=former, heard=heard)


_FIELDS = ", ".join(HostRow._fields)
_PUT_HOST = f"INSERT OR REPLACE INTO hosts ({_FIELDS}) VALUES ({', '.join('?' * len(HostRow._fields))})"  # noqa: S608 -- constants
_HOSTS = f"SELECT {_FIELDS} FROM hosts"  # noqa: S608 -- alike


class Chunk(NamedTuple):
    """Samples of a host, its `ordinal`th chunk, with which so many are in chunks in `total`."""

    host: int
    ordinal: int
    total: int
    samples: Sequence[bytes]

    def row(self) -> tuple[int, int, float, bytes, float, int]:
        """Return what is written: as clocks are set back, the last sample need not be the latest."""
        times = [chunk.moment(packed)[0] for packed in self.samples]
        return self.host, self.ordinal, max(times), chunk.compress(self.samples), min(times), self.total


class StoredChunk(NamedTuple):
    """A chunk as it is kept: compressed, its earliest sample taken at `began` (s since 1970), None where unknown."""

    ordinal: int
    columns: bytes
    began: float | None


@dataclass
class Changes:
    """What is written at once; `recent` are sequence numbers, hosts' ids and packed samples."""

    recent: list[tuple[int, int, bytes]] = field(default_factory=list)
    hosts: list[HostRow] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    needed_from: int = 0  # rows of `recent` below this are in chunks
    max_samples: int = MAX_CHUNK_SAMPLES  # of each host, in chunks


class History:
    """The file in `directory`, for one who writes or one who reads."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / _FILE
        self._table: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, and make what is not there. Raises OSError."""
        try:
            self._table = database.connect(self.file)
            self._table.text_factory = _text
            for statement in _SCHEMA:
                self._table.execute(statement)
            for table, column, kind in _ADDED:
                if column not in [row[1] for row in self._table.execute(f"PRAGMA table_info({table})")]:
                    self._table.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """Close the file."""
        if self._table:
            self._table.close()

    def load(self) -> tuple[list[HostRow], list[tuple[int, int, bytes]], int, int]:
        """Return all hosts, the samples that are in no chunk in their order, the last sequence number, the highest id.

        Damaged rows are skipped and logged. Raises OSError.
        """
        try:
            found = [_sound(HostRow(*row)) for row in self._opened.execute(_HOSTS)]
            hosts = [kept for kept in found if kept]
            known = {kept.id for kept in hosts}
            every = self._opened.execute(_IN_NO_CHUNK).fetchall()
            rows = [row for row in every if row[0] < _GREATEST and row[1] in known and chunk.is_sample(row[2])]
            (newest,) = self._opened.execute(_NEWEST, (_GREATEST,)).fetchone()
            (highest,) = self._opened.execute(_HIGHEST_ID).fetchone()
            if bad := len(found) - len(hosts) + len(every) - len(rows):
                text = f"{self.file}: {len(found) - len(hosts)} hosts and {len(every) - len(rows)} samples are damaged"
                log.record("ERROR", "history_corrupted", f"{text}, and left out", COUNT=bad)
            last = max(newest or 0, max((host.chunked for host in hosts), default=0))
            return hosts, rows, last, highest if type(highest) is int else 0
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def write(self, changes: Changes) -> int:
        """Write all of it, and return when it is on disk; return how many old chunks were deleted.

        Raises OSError: then nothing of it is written, as far as is known.
        """
        try:
            return self._write(changes)
        except Exception as error:  # a value that SQLite has no room for is a write that failed, too
            raise self._explained(error) from error

    def chunks(self, host: int, since: float, after: int, last: int, most: int) -> list[StoredChunk]:
        """Return a host's next chunks with samples of `since` or later, in their order. Raises OSError.

        They are behind the one with the ordinal `after`, up to `last`, and at `most` so many.
        """
        query = """SELECT ordinal, columns, began FROM chunks WHERE host = ? AND ordinal > ? AND ordinal <= ?
            AND ended >= ? ORDER BY ordinal LIMIT ?"""
        try:
            return [StoredChunk(*row) for row in self._opened.execute(query, (host, after, last, since, most))]
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _write(self, changes: Changes) -> int:
        table = self._opened
        chunks = [one.row() for one in changes.chunks]
        gone = [(host,) for host in changes.forgotten]
        with database.transaction(table):
            table.executemany("INSERT INTO recent VALUES (?, ?, ?)", changes.recent)
            table.executemany(_PUT_HOST, changes.hosts)
            table.executemany(_PUT_CHUNK, chunks)
            trimmed = sum(self._trim(chunk, changes.max_samples) for chunk in changes.chunks)
            table.executemany("DELETE FROM chunks WHERE host = ?", gone)
            table.executemany("DELETE FROM hosts WHERE id = ?", gone)
            table.execute("DELETE FROM recent WHERE sequence < ?", (changes.needed_from,))
        return trimmed

    def _trim(self, newest: Chunk, most: int) -> int:
        """Delete a host's oldest chunks, as far as the others have `most` samples, however short each is."""
        last = 0
        for ordinal, total in self._opened.execute(_TOTALS, (newest.host,)):
            before = newest.total - MAX_CHUNK_SAMPLES * (newest.ordinal - ordinal) if total is None else total
            if before > newest.total - most:
                break
            last = ordinal
        if not last:
            return 0
        return self._opened.execute("DELETE FROM chunks WHERE host = ? AND ordinal <= ?", (newest.host, last)).rowcount

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._table is None:
            raise OSError(f"{self.file} is not open")
        return self._table

    def _explained(self, error: Exception) -> OSError:
        return database.explained(self.file, error)
