"""The log without loguru writes the same records in the same format."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from frota.logs import log
from frota.logs.log import LEVELS

TIME = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ")


def log_every_level() -> None:
    for level in LEVELS:
        log.record(level, "event", f"{level} {{}} %s\x1b[2J", PEER="a\nPRIORITY=0")
    log.record("ERROR", "internal", "something failed", error=ValueError("because"))


@pytest.fixture(autouse=True)
def no_log_afterwards() -> Iterator[None]:
    yield
    log.configure("cpu", "unit")  # which ends the log without loguru
    logger.remove()


@pytest.mark.parametrize("level", LEVELS)
def test_journal_gets_the_same_records(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without loguru, the journal gets the same records."""
    path = str(tmp_path / "journal")
    monkeypatch.setenv("FROTA_JOURNAL_SOCKET", path)
    outputs = []
    for configure in (log.configure, log.configure_direct):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.bind(path)
            configure("cpu", "unit", level)
            log_every_level()
            journal.setblocking(False)
            outputs.append([journal.recv(65536) for _ in range(len(LEVELS) - LEVELS.index(level) + 1)])
            with pytest.raises(BlockingIOError):
                journal.recv(65536)
        Path(path).unlink()
    assert outputs[0] == outputs[1]


def test_stderr_gets_the_same_lines(capfd: pytest.CaptureFixture[str]) -> None:
    """With and without loguru, standard error gets the same lines."""
    outputs = []
    for configure in (log.configure, log.configure_direct):
        configure("cpu", "unit")
        log_every_level()
        outputs.append([TIME.sub("", line) for line in capfd.readouterr().err.splitlines()])
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > len(LEVELS)


def test_direct_log_imports_no_loguru() -> None:
    """The log without loguru imports neither loguru nor asyncio."""
    script = "import sys; from frota.logs import log; log.configure_direct('cpu', 'unit'); log.record('INFO', 'x', 'y')"
    command = [sys.executable, "-c", f"{script}; print('loguru' in sys.modules, 'asyncio' in sys.modules)"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False False\n"
