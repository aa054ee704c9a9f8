"""The history file: a write is one transaction."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from frota.cpu.server.history import Changes, History
from support.metrics import STORED_HOST


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    opened = History(tmp_path)
    opened.open()
    yield opened
    opened.close()


def test_failed_write_is_rolled_back(history: History) -> None:
    """A value that SQLite cannot store fails the whole write, and nothing of it is stored."""
    with pytest.raises(OSError, match=r"history.sqlite: "):
        history.write(Changes(recent=[(1, 1, b"x")], hosts=[STORED_HOST._replace(missing=2**70)]))
    history.write(Changes(recent=[(1, 1, b"y")], hosts=[STORED_HOST]))
    assert history.load()[0] == [STORED_HOST]
