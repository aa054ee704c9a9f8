"""The worker's outbox: a damaged event does not affect the others, nor does a former release's file."""

from pathlib import Path

import pytest

from frota.images.messages import StatusEvent
from frota.images.worker.outbox import EventOutbox
from frota.logs import log
from frota.storage import files
from frota.storage.outbox import Outbox

EVENTS = [StatusEvent(f"{number:032x}", "done", "a.jpg", "b" * 32, "c" * 64, "worker-1") for number in range(4)]


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list of the texts that are logged."""
    texts: list[str] = []
    monkeypatch.setattr(log, "record", lambda _level, _event, text, **_: texts.append(text))
    return texts


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 512, b"\xff\xfe", b"[]", b"[" * 5000, b'{"id": "x"}', b"null", b'{"id']
)
def test_damaged_lines_are_skipped(tmp_path: Path, texts: list[str], damage: bytes) -> None:
    """Damaged lines are skipped, and logged once."""
    EventOutbox(tmp_path).replace(EVENTS)
    lines = (tmp_path / "outbox").read_bytes().splitlines()
    (tmp_path / "outbox").write_bytes(b"\n".join([damage, lines[0], damage, *lines[1:]]) + b"\n")
    assert EventOutbox(tmp_path).read() == EVENTS
    assert len(texts) == 1
    assert "2 status events are damaged" in texts[0]


def test_former_file_is_converted(tmp_path: Path, texts: list[str]) -> None:
    """A former release's events are read, without its damaged lines, and stay in the outbox."""
    former = tmp_path / "owed.jsonl"
    former.write_bytes(b"\n".join([b"garbage", *(event.encode() for event in EVENTS)]) + b"\n")
    assert EventOutbox(tmp_path).read() == EVENTS
    assert "1 status events are damaged" in texts[0]
    assert not former.exists()
    assert EventOutbox(tmp_path).read() == EVENTS


class Killed(BaseException):
    """Ends the process."""


@pytest.mark.parametrize(("target", "name"), [(Outbox, "replace"), (Path, "unlink"), (files, "sync_folder")])
def test_kill_during_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> None:
    """A kill after a step of the conversion neither loses nor doubles an event."""
    (tmp_path / "owed.jsonl").write_bytes(b"".join(event.encode() + b"\n" for event in EVENTS))
    step = getattr(target, name)

    def kill(*args: object, **options: object) -> None:
        step(*args, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(target, name, kill)
        with pytest.raises(Killed):
            EventOutbox(tmp_path).read()
    assert EventOutbox(tmp_path).read() == EVENTS
