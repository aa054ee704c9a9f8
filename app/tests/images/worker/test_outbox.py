"""The outbox: a damaged event does not affect the others."""

from pathlib import Path

import pytest

from frota.images.messages import StatusEvent
from frota.images.worker.outbox import Outbox
from frota.logs import log

EVENTS = [StatusEvent(f"{number:032x}", "done", "a.jpg", "b" * 32, "c" * 64, "worker-1") for number in range(4)]


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 512, b"\xff\xfe", b"[]", b"[" * 5000, b'{"id": "x"}', b"null", b'{"id']
)
def test_damaged_lines_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes) -> None:
    """Damaged lines are skipped, and logged once."""
    told: list[str] = []
    monkeypatch.setattr(log, "record", lambda _level, _event, text, **_: told.append(text))
    Outbox(tmp_path).replace(EVENTS)
    lines = (tmp_path / "owed.jsonl").read_bytes().splitlines()
    (tmp_path / "owed.jsonl").write_bytes(b"\n".join([damage, lines[0], damage, *lines[1:]]) + b"\n")
    assert Outbox(tmp_path).read() == EVENTS
    assert len(told) == 1
    assert "2 lines are damaged" in told[0]
