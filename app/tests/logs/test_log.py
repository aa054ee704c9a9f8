"""Records cannot be forged or control a terminal, and an unavailable journal blocks nobody."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from frota.logs import journald, log


def decode(datagram: bytes) -> list[tuple[str, str]]:
    """Read the journal's native protocol, as systemd.io/JOURNAL_NATIVE_PROTOCOL describes it."""
    fields = []
    while datagram:
        name, mark, remainder = re.match(rb"([A-Z_]+)(=|\n)(.*)", datagram, re.DOTALL).groups()  # type: ignore[union-attr]
        if mark == b"=":
            value, _, datagram = remainder.partition(b"\n")
        else:
            length = int.from_bytes(remainder[:8], "little")
            value, datagram = remainder[8 : 8 + length], remainder[8 + length + 1 :]
        fields.append((name.decode(), value.decode()))
    return fields


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(10)
        monkeypatch.setenv("FROTA_JOURNAL_SOCKET", path)
        yield listener
    logger.remove()


@given(st.dictionaries(st.sampled_from(["MESSAGE", "PEER", "SENSOR"]), st.text(st.characters(codec="utf-8"))))
def test_fields_cannot_be_forged(fields: dict[str, str]) -> None:
    """No value can forge another field."""
    assert decode(journald.encode(fields)) == list(fields.items())


def test_record_has_text_priority_and_fields(journal: socket.socket) -> None:
    """A record has its text, its priority and its fields."""
    log.configure("sensors", "frota-sensor-server")
    log.record("WARNING", "connection_failed", "Erro: {not a format} %s", PEER="10.0.0.1:5", SENSOR="a\nPRIORITY=0")
    assert dict(decode(journal.recv(65536))) == {
        "MESSAGE": "Erro: {not a format} %s",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "frota-sensor-server",
        "FROTA_SYSTEM": "sensors",
        "FROTA_EVENT": "connection_failed",
        "PEER": "10.0.0.1:5",
        "SENSOR": "a\nPRIORITY=0",
    }


def test_error_adds_its_traceback(journal: socket.socket) -> None:
    """An error adds its traceback to the message."""
    log.configure("sensors", "unit")
    log.record("ERROR", "internal", "something failed", error=ValueError("because"))
    message = dict(decode(journal.recv(65536)))["MESSAGE"]
    assert message.startswith("something failed\n")
    assert message.endswith("ValueError: because")


def test_records_below_the_level_are_dropped(journal: socket.socket) -> None:
    """Records below the level are not sent."""
    log.configure("sensors", "unit", "WARNING")
    log.record("INFO", "reading", "not this")
    log.record("ERROR", "reading", "this")
    assert dict(decode(journal.recv(65536)))["MESSAGE"] == "this"


def test_full_journal_drops_and_counts_records(journal: socket.socket) -> None:
    """A full journal does not block; the dropped records are counted in a later one."""
    sender = journald.Journal(journal.getsockname())
    while not sender.dropped:
        sender.send({"MESSAGE": "x" * 1000})
    sender.send({"MESSAGE": "also lost"})
    lost = sender.dropped
    journal.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            journal.recv(65536)
    sender.send({"MESSAGE": "after", "SYSLOG_IDENTIFIER": "unit"})
    report = dict(decode(journal.recv(65536)))
    assert report["MESSAGE"].startswith(f"{lost} log records dropped")
    assert report["SYSLOG_IDENTIFIER"] == "unit"
    assert dict(decode(journal.recv(65536)))["MESSAGE"] == "after"
    assert sender.dropped == 0


def test_journal_is_reconnected(tmp_path: Path) -> None:
    """A journal that was unavailable gets the next records."""
    path = str(tmp_path / "journal")
    sender = journald.Journal(path)
    sender.send({"MESSAGE": "unavailable"})
    assert sender.dropped == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        sender.send({"MESSAGE": "available"})
        assert b"1 log records dropped" in listener.recv(65536)
        assert listener.recv(65536) == b"MESSAGE=available\n"


def test_control_characters_are_escaped() -> None:
    """Control and bidirectional characters are escaped."""
    assert log.printable("a\x1b[2J\r\n\x9b\u202eb°") == "a\\x1b[2J\\r\\n\\x9b\\u202eb°"


def test_full_stderr_does_not_block(capfd: pytest.CaptureFixture[str]) -> None:
    """A standard error that nobody reads does not block the writer."""
    log.configure("sensors", "unit")
    reader, writer = os.pipe()
    stderr = os.dup(2)
    try:
        os.dup2(writer, 2)
        for _ in range(200):
            log.record("INFO", "reading", "x" * 2000)
    finally:
        os.dup2(stderr, 2)
        for fd in (stderr, reader, writer):
            os.close(fd)
        logger.remove()
    assert capfd.readouterr().err == ""
