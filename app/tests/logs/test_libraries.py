"""Records of libraries' own loggers reach the journal."""

import logging
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from frota.logs import libraries, log
from logs.test_log import decode

LIBRARY = logging.getLogger("some.library")


@pytest.fixture(name="journal")
def _journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    root = logging.getLogger()
    handlers = root.handlers[:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(10)
        monkeypatch.setenv("FROTA_JOURNAL_SOCKET", str(tmp_path / "journal"))
        log.configure("images", "frota-image-worker")
        libraries.capture()
        yield listener
    logger.remove()
    logging.captureWarnings(False)
    root.handlers[:] = handlers


def test_library_record(journal: socket.socket) -> None:
    """A warning of a library is a record with its text, its priority and its logger; what is below is not logged."""
    LIBRARY.info("not logged")
    LIBRARY.warning("a %s", "peer\nPRIORITY=0")
    fields = dict(decode(journal.recv(65536)))
    assert fields["MESSAGE"] == "some.library: a peer\nPRIORITY=0"
    assert (fields["PRIORITY"], fields["FROTA_EVENT"], fields["LOGGER"]) == ("4", "library_record", "some.library")
    assert (fields["SYSLOG_IDENTIFIER"], fields["FROTA_SYSTEM"]) == ("frota-image-worker", "images")


def test_library_error_has_a_traceback(journal: socket.socket) -> None:
    """An exception that a library logs is a record with its traceback."""
    try:
        int("missing")
    except ValueError:
        LIBRARY.exception("failed")
    fields = dict(decode(journal.recv(65536)))
    assert fields["PRIORITY"] == "3"
    assert "Traceback" in fields["MESSAGE"]
    assert "ValueError: " in fields["MESSAGE"]


def test_python_warning(journal: socket.socket) -> None:
    """A warning of Python is a record."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    assert "DeprecationWarning: deprecated" in dict(decode(journal.recv(65536)))["MESSAGE"]


def test_configured_twice_logs_once(journal: socket.socket) -> None:
    """A service that configures its log again, with its own level, logs a library's record once."""
    log.configure("images", "frota-image-worker", "DEBUG")
    libraries.capture()
    LIBRARY.warning("first")
    LIBRARY.warning("second")
    messages = [dict(decode(journal.recv(65536)))["MESSAGE"] for _ in range(2)]
    assert messages == ["some.library: first", "some.library: second"]


@pytest.mark.usefixtures("journal")
def test_flood_is_suppressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that logs without end does not flood the journal."""
    texts: list[str] = []
    monkeypatch.setattr(libraries, "record", lambda _level, _event, text, **_: texts.append(text))
    for _ in range(1000):
        LIBRARY.warning("again")
    assert set(texts) == {"some.library: again"}
    assert len(texts) < 100
