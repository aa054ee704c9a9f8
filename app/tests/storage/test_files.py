import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from frota.storage import files


def test_file_is_created_and_replaced(tmp_path: Path) -> None:
    """A file is created, then replaced, without a temporary file left."""
    path = tmp_path / "spool"
    for content in ([b"one\n", b"two\n"], [b"three\n"]):
        files.replace(path, content)
        assert path.read_bytes() == b"".join(content)
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_replacement_keeps_the_file(tmp_path: Path) -> None:
    """An interrupted replacement keeps the former file, and the next one succeeds."""

    def broken() -> Iterator[bytes]:
        yield b"part"
        raise OSError("no room")

    path = tmp_path / "spool"
    files.replace(path, [b"former"])
    with pytest.raises(OSError, match="no room"):
        files.replace(path, broken())
    assert path.read_bytes() == b"former"
    files.replace(path, [b"new"])
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_replacement_syncs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced before the rename, and the folder after it."""
    steps: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def recorded_fsync(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def recorded_rename(old: Path, new: Path) -> None:
        steps.append(f"rename {old.name} {new.name}")
        rename(old, new)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "replace", recorded_rename)
    files.replace(tmp_path / "spool", [b"content"])
    assert steps == ["sync spool.new", "rename spool.new spool", f"sync {tmp_path.name}"]
