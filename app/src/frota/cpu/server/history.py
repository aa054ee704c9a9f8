"""The history in one SQLite file: hosts, their recent samples as rows, older samples in chunks.

A new sample is one row at the end of `recent`, whatever the number of hosts. As soon as a host has enough of them they
become one row of `chunks`; the oldest rows of `recent` are deleted once all of them are in chunks. Methods run in the
calling thread, one at a time for each object.
"""

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from frota.cpu import history_chunk
from frota.cpu.messages import is_run
from frota.logs import log
from frota.storage import database

MAX_CHUNK_SAMPLES = 60  # five minutes at 5 s
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
_ADDED_COLUMNS = (  # that files of older releases lack
    ("chunks", "began", "REAL"),
    ("chunks", "total", "INTEGER"),
    ("hosts", "heard", "REAL NOT NULL DEFAULT 0"),
    ("hosts", "crossed", "TEXT NOT NULL DEFAULT ''"),
    ("hosts", "latest", "BLOB NOT NULL DEFAULT x''"),
    ("hosts", "means", "BLOB NOT NULL DEFAULT x''"),
    ("hosts", "former", "TEXT NOT NULL DEFAULT ''"),
)

_NAME = re.compile(r"[!#-\[\]-~]{1,300}")  # of a host, or the address of a legacy agent
_FORMER = re.compile(r"(?:[0-9a-f]{32}:[0-9]{1,16}(?:,|$))*")
_MAX_INTEGER = 2**62  # counting on from there stays within SQLite's range
_MAX_RUNNING_TIME_S = 3e9  # of all servers: a century
_HIGHEST_ID = f"""SELECT max(id) FROM (SELECT max(id) AS id FROM hosts WHERE id < {_MAX_INTEGER}
    UNION SELECT max(host) FROM chunks WHERE host < {_MAX_INTEGER})"""  # noqa: S608 -- a constant
_INSERT_CHUNK = """INSERT OR REPLACE INTO chunks (host, ordinal, ended, columns, began, total)
    VALUES (?, ?, ?, ?, ?, ?)"""
_TOTALS = "SELECT ordinal, total FROM chunks WHERE host = ? ORDER BY ordinal"
_NEWEST = "SELECT max(sequence) FROM recent WHERE sequence < ?"
_UNCHUNKED = """SELECT sequence, host, sample FROM recent JOIN hosts ON hosts.id = recent.host
    WHERE sequence > chunked ORDER BY sequence"""


class HostRow(NamedTuple):
    """A stored host; its samples up to row `chunked` of `recent` are in chunks.

    `former` are earlier runs that may continue, see `Hosts.greet`. `heard` is when it was last seen, in seconds of the
    servers' total running time, which no clock change and no downtime affects. `crossed` are the metrics above their
    thresholds, separated by commas; `latest` and `means` the last sample and the last means in chunks, packed.
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
    """Decode a text, also a damaged one: one bad row must not prevent reading the others."""
    return data.decode(errors="replace")


def _validated(row: HostRow) -> HostRow | None:
    """Return a row without its damaged fields, None if it is no host."""
    wholes = (row.id, row.last, row.samples, row.missing, row.duplicates, row.ordinal, row.chunked)
    times = (row.first_seen, row.last_seen, row.interval, row.heard)
    texts = (row.name, row.dialect, row.run, row.crossed, row.former)
    if not all(isinstance(text, str) for text in texts) or not all(type(whole) is int for whole in wholes):
        return None
    if not _NAME.fullmatch(row.name) or (row.run and not is_run(row.run)):
        return None
    if min(wholes) < 0 or max(wholes) >= _MAX_INTEGER:
        return None
    if not all(isinstance(at, int | float) and abs(at) < 6e10 for at in times) or row.interval <= 0:
        return None
    latest = row.latest if history_chunk.is_sample(row.latest) else b""
    means = row.means if isinstance(row.means, bytes) and len(row.means) % 2 == 0 else b""
    former = row.former if _FORMER.fullmatch(row.former) else ""
    heard = row.heard if 0 <= row.heard < _MAX_RUNNING_TIME_S else 0.0
    return row._replace(latest=latest, means=means, former=former, heard=heard)


_FIELDS = ", ".join(HostRow._fields)
_INSERT_HOST = f"INSERT OR REPLACE INTO hosts ({_FIELDS}) VALUES ({', '.join('?' * len(HostRow._fields))})"  # noqa: S608 -- constants
_HOSTS = f"SELECT {_FIELDS} FROM hosts"  # noqa: S608 -- alike


class Chunk(NamedTuple):
    """Samples of a host: its `ordinal`th chunk, with which `total` samples are in chunks."""

    host: int
    ordinal: int
    total: int
    samples: Sequence[bytes]

    def row(self) -> tuple[int, int, float, bytes, float, int]:
        """Return the row to insert. After a clock change the last sample need not be the latest."""
        times = [history_chunk.moment(packed)[0] for packed in self.samples]
        return self.host, self.ordinal, max(times), history_chunk.compress(self.samples), min(times), self.total


class StoredChunk(NamedTuple):
    """A stored chunk: compressed columns, and the time of its earliest sample (s since 1970), None if unknown."""

    ordinal: int
    columns: bytes
    began: float | None


@dataclass
class Changes:
    """The changes of one commit; `recent` are rows of sequence number, host id and packed sample."""

    recent: list[tuple[int, int, bytes]] = field(default_factory=list)
    hosts: list[HostRow] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    needed_from: int = 0  # older rows of `recent` are in chunks
    max_samples: int = MAX_CHUNK_SAMPLES  # of a host in chunks


class History:
    """The file in `directory`, for one writer or one reader."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / _FILE
        self._table: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file; create it, its tables and its columns if they are missing. Raises OSError."""
        try:
            self._table = database.connect(self.file)
            self._table.text_factory = _text
            for statement in _SCHEMA:
                self._table.execute(statement)
            for table, column, kind in _ADDED_COLUMNS:
                if column not in [row[1] for row in self._table.execute(f"PRAGMA table_info({table})")]:
                    self._table.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def close(self) -> None:
        """Close the file."""
        if self._table:
            self._table.close()

    def load(self) -> tuple[list[HostRow], list[tuple[int, int, bytes]], int, int]:
        """Return all hosts, the samples in no chunk in order, the last sequence number and the highest id.

        Damaged rows are skipped and logged. Raises OSError.
        """
        try:
            validated = [_validated(HostRow(*row)) for row in self._opened.execute(_HOSTS)]
            hosts = [host for host in validated if host]
            known = {host.id for host in hosts}
            samples = self._opened.execute(_UNCHUNKED).fetchall()
            rows = [
                row for row in samples if row[0] < _MAX_INTEGER and row[1] in known and history_chunk.is_sample(row[2])
            ]
            (newest,) = self._opened.execute(_NEWEST, (_MAX_INTEGER,)).fetchone()
            (highest,) = self._opened.execute(_HIGHEST_ID).fetchone()
            if damaged := len(validated) - len(hosts) + len(samples) - len(rows):
                text = f"{len(validated) - len(hosts)} hosts and {len(samples) - len(rows)} samples are damaged"
                log.record("ERROR", "history_corrupted", f"{self.file}: {text}, and skipped", COUNT=damaged)
            last = max(newest or 0, max((host.chunked for host in hosts), default=0))
            return hosts, rows, last, highest if type(highest) is int else 0
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def write(self, changes: Changes) -> int:
        """Write the changes in one transaction; return how many old chunks were deleted once all is on disk.

        Raises OSError: then, as far as is known, nothing was written.
        """
        try:
            return self._write(changes)
        except Exception as error:  # also a value outside of SQLite's range
            raise self._explained(error) from error

    def chunks(self, host: int, since: float, after: int, last: int, limit: int) -> list[StoredChunk]:
        """Return a host's chunks with samples since `since`, in order, `limit` at most. Raises OSError.

        Their ordinals are above `after`, up to `last`.
        """
        query = """SELECT ordinal, columns, began FROM chunks WHERE host = ? AND ordinal > ? AND ordinal <= ?
            AND ended >= ? ORDER BY ordinal LIMIT ?"""
        try:
            return [StoredChunk(*row) for row in self._opened.execute(query, (host, after, last, since, limit))]
        except sqlite3.Error as error:
            raise self._explained(error) from error

    def _write(self, changes: Changes) -> int:
        table = self._opened
        chunks = [added.row() for added in changes.chunks]
        deleted = [(host,) for host in changes.forgotten]
        with database.transaction(table):
            table.executemany("INSERT INTO recent VALUES (?, ?, ?)", changes.recent)
            table.executemany(_INSERT_HOST, changes.hosts)
            table.executemany(_INSERT_CHUNK, chunks)
            trimmed = sum(self._trim(chunk, changes.max_samples) for chunk in changes.chunks)
            table.executemany("DELETE FROM chunks WHERE host = ?", deleted)
            table.executemany("DELETE FROM hosts WHERE id = ?", deleted)
            table.execute("DELETE FROM recent WHERE sequence < ?", (changes.needed_from,))
        return trimmed

    def _trim(self, newest: Chunk, max_samples: int) -> int:
        """Delete a host's oldest chunks while the others have `max_samples` samples; return how many."""
        last = 0
        for ordinal, total in self._opened.execute(_TOTALS, (newest.host,)):
            before = newest.total - MAX_CHUNK_SAMPLES * (newest.ordinal - ordinal) if total is None else total
            if before > newest.total - max_samples:
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
