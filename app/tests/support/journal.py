"""A journal for processes under test: a socket that stands for journald's, and the real one where there is one."""

import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from frota.observer.journal import values
from support import TIMEOUT_S, start_frota, until

REAL = Path("/run/systemd/journal/socket")
MAX_RECORD_BYTES = 1 << 18
_FIELD = re.compile(rb"([A-Z][A-Z0-9_]*)(=|\n)(.*)", re.DOTALL)
_LISTENS = re.compile(r"(?:em|listens on) \S+:(\d+)")

Fields = dict[str, list[str]]


def decode(datagram: bytes) -> list[tuple[str, str]]:
    """Read the journal's native protocol, as systemd.io/JOURNAL_NATIVE_PROTOCOL describes it."""
    fields = []
    while datagram:
        match = _FIELD.fullmatch(datagram)
        assert match, datagram[:200]
        name, mark, remainder = match.groups()
        if mark == b"=":
            value, _, datagram = remainder.partition(b"\n")
        else:
            length = int.from_bytes(remainder[:8], "little")
            value, datagram = remainder[8 : 8 + length], remainder[8 + length + 1 :]
        fields.append((name.decode(), value.decode(errors="replace")))
    return fields


def grouped(fields: list[tuple[str, str]]) -> Fields:
    """Return all values of each field."""
    by_name: Fields = {}
    for name, value in fields:
        by_name.setdefault(name, []).append(value)
    return by_name


class Journal:
    """The records that processes have logged so far."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._datagrams: list[bytes] = []
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    @property
    def records(self) -> list[Fields]:
        """All records, as the native protocol has them."""
        return [grouped(decode(datagram)) for datagram in self._datagrams.copy()]

    def wait_for(self, condition: Callable[[Fields], Any], what: str) -> Any:
        """Wait for a record; return what the condition returned for it."""
        return until(
            lambda: next(filter(None, map(condition, self.records)), None), lambda: f"no {what}: {self.records}"
        )

    def port(self) -> int:
        """Wait until a server listens; return its port."""

        def listens(fields: Fields) -> int:
            match = _LISTENS.search(fields["MESSAGE"][0])
            return int(match[1]) if match else 0

        port: int = self.wait_for(listens, "server")
        return port

    def read_back(self) -> list[Fields]:
        """Write all records into the journal of this machine, and return how `journalctl` reads them."""
        mark = f"FROTA_TEST={uuid4().hex}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for datagram in self._datagrams:
                sender.sendto(f"{mark}\n".encode() + datagram, str(REAL))
        call = ["journalctl", "--quiet", "--all", "--output=json", mark]

        def complete() -> list[str]:
            lines = subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()
            return lines if len(lines) == len(self._datagrams) else []

        entries: list[Mapping[str, Any]] = [json.loads(line) for line in until(complete, "journal without the records")]
        return [{name: values(value) for name, value in entry.items()} for entry in entries]

    def stop(self) -> None:
        """Receive no more records."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(TIMEOUT_S)

    def _receive(self) -> None:
        while datagram := self._listener.recv(MAX_RECORD_BYTES):
            self._datagrams.append(datagram)


@contextmanager
def journal(folder: Path) -> Iterator[Journal]:
    """Give a journal for the time of a block; processes that start in it log to it."""
    path = str(folder / "journal")
    former = os.environ.get("FROTA_JOURNAL_SOCKET")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        os.environ["FROTA_JOURNAL_SOCKET"] = path
        running = Journal(listener)
        try:
            yield running
        finally:
            running.stop()
            os.environ.pop("FROTA_JOURNAL_SOCKET")
            if former is not None:
                os.environ["FROTA_JOURNAL_SOCKET"] = former


@contextmanager
def logged(*words: object) -> Iterator[None]:
    """Run a frota command for the time of a block."""
    process = start_frota(*words)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
