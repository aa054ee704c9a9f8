"""The client's spool: in order, bounded, each number once."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from frota.logs import log
from frota.sensors.client.spool import Spool
from frota.storage import files
from frota.storage.outbox import Outbox

FORMER = Path(__file__).parents[2] / "upgrade" / "former_release" / "sensor_client" / "spool.sqlite"


def test_restart_keeps_the_spool(tmp_path: Path) -> None:
    """Undelivered readings keep their numbers over a restart."""
    spool = Spool(tmp_path, 10)
    client = spool.client
    for text in "abc":
        spool.append(text)
    spool.acknowledge(1)
    spool.close()
    spool = Spool(tmp_path, 10)
    assert spool.client == client
    assert spool.waiting == 2
    assert spool.after(0, 9) == [(2, "b"), (3, "c")]
    assert spool.after(2, 9) == [(3, "c")]
    spool.close()


def test_numbers_are_never_reused(tmp_path: Path) -> None:
    """No number is used twice, even if the spool was empty."""
    spool = Spool(tmp_path, 10)
    spool.append("a")
    spool.acknowledge(1)
    spool.close()
    spool = Spool(tmp_path, 10)
    spool.append("b")
    assert spool.after(0, 9) == [(2, "b")]
    spool.close()


def test_full_spool_drops_the_oldest(tmp_path: Path) -> None:
    """A full spool drops its oldest reading."""
    spool = Spool(tmp_path, 2)
    assert [spool.append(text) for text in "abcd"] == [0, 0, 1, 1]
    assert spool.after(0, 9) == [(3, "c"), (4, "d")]
    assert spool.waiting == 2
    spool.close()


def test_old_folder_continues_the_numbers(tmp_path: Path) -> None:
    """A restored folder continues behind the server's last number."""
    spool = Spool(tmp_path, 9)
    spool.append("a")
    spool.continue_after(7)
    spool.append("b")
    spool.continue_after(3)
    spool.append("c")
    assert spool.after(0, 9) == [(1, "a"), (8, "b"), (9, "c")]
    assert spool.waiting == 3
    spool.close()


def test_damaged_readings_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged readings are skipped, and logged with their count."""
    records: list[tuple[str, object]] = []
    monkeypatch.setattr(log, "record", lambda _level, event, _text, **more: records.append((event, more["COUNT"])))
    spool = Spool(tmp_path, 9)
    spool.append("a")
    spool.append("b")
    spool.close()
    file = tmp_path / "outbox"
    file.write_bytes(file.read_bytes().replace(b" a\n", b" x\n"))
    spool = Spool(tmp_path, 9)
    assert spool.after(0, 9) == [(2, "b")]
    assert records == [("spool_failed", 1)]
    spool.close()


class Killed(BaseException):
    """Ends the process."""


@pytest.mark.parametrize(
    ("target", "name"), [(files, "replace"), (Outbox, "replace"), (files, "sync_folder"), (Path, "unlink")]
)
def test_kill_during_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, name: str) -> None:
    """A kill after a step of the conversion of a former release's spool neither loses nor doubles a reading."""
    shutil.copy(FORMER, tmp_path)
    rows = sqlite3.connect(FORMER).execute("select number, text from reading order by number").fetchall()
    step = getattr(target, name)

    def kill(*args: object, **options: object) -> None:
        step(*args, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(target, name, kill)
        with pytest.raises(Killed):
            Spool(tmp_path, 1000)
    spool = Spool(tmp_path, 1000)
    assert spool.after(0, 1000) == rows
    assert not (tmp_path / "spool.sqlite").exists()
    spool.append("next")
    assert spool.after(rows[-1][0], 9) == [(rows[-1][0] + 1, "next")]
    spool.close()
