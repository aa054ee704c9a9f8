"""Files, folders and links of a host: comparison, differences, atomic replacement."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from .modules import host_files

_NOW = datetime.now(UTC).timestamp()


def test_write_is_atomic_and_sets_the_mode(tmp_path: Path) -> None:
    """A file is replaced atomically and has the requested mode, whatever the umask."""
    umask = os.umask(0o077)
    try:
        host_files.write(tmp_path / "file", "new\n", host_files.own_access(0o644))
    finally:
        os.umask(umask)
    assert (tmp_path / "file").read_text() == "new\n"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_failed_write_keeps_the_file(tmp_path: Path) -> None:
    """A failed write keeps the former file and leaves no temporary one."""
    (tmp_path / "file").write_text("old\n")
    with pytest.raises(TypeError):
        host_files.write(tmp_path / "file", "new\n", host_files.Access("no mode", 0, 0))
    assert (tmp_path / "file").read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_future_modification_time_is_reset(tmp_path: Path) -> None:
    """A modification time in the future is set to now."""
    file = tmp_path / "file"
    file.touch()
    os.utime(file, (_NOW + 86400, _NOW + 86400))
    host_files.reset_future_times([file])
    assert host_files.modification_time(file) < _NOW + 3600


def test_applied_entry_has_no_difference(tmp_path: Path) -> None:
    """A file or folder has no difference after it was applied."""
    folder = host_files.Entry(tmp_path / "folder", host_files.own_access(0o750))
    file = host_files.Entry(tmp_path / "folder" / "file", host_files.own_access(0o640), "text\n")
    for entry in (folder, file):
        assert entry.diff()
        entry.apply()
        assert entry.diff() == []
    assert host_files.access_of(folder.path).mode == 0o750


@pytest.mark.parametrize(("before", "after"), [("old\n", "new\n"), ("", "new\n"), ("one\r\n", "one\n")])
def test_diff_shows_exact_content(tmp_path: Path, before: str, after: str) -> None:
    """The difference of a file shows its exact content, line ends included."""
    (tmp_path / "file").write_bytes(before.encode())
    [difference] = host_files.Entry(tmp_path / "file", host_files.own_access(0o644), after).diff()
    assert (difference["before"], difference["after"]) == (before, after)


def test_wrong_mode_is_corrected_in_place(tmp_path: Path) -> None:
    """A wrong mode is shown and corrected without writing the file."""
    file = host_files.Entry(tmp_path / "file", host_files.own_access(0o644), "text\n")
    file.apply()
    file.path.chmod(0o600)
    inode = file.path.stat().st_ino
    [difference] = file.diff()
    assert difference["before"].startswith("mode 0600 ")
    assert difference["after"].startswith("mode 0644 ")
    file.apply()
    assert (file.diff(), file.path.stat().st_ino) == ([], inode)


def test_link_replaces_links_and_files(tmp_path: Path) -> None:
    """A link replaces another link or a file."""
    (tmp_path / "name").write_text("a file")
    for target in (Path("/one"), Path("/two")):
        host_files.replace_link(tmp_path / "name", target)
        assert host_files.link_target(tmp_path / "name") == str(target)
    assert list(tmp_path.iterdir()) == [tmp_path / "name"]


def test_files_newer_than_a_start(tmp_path: Path) -> None:
    """Files are newer than an earlier start, and than a start in the future."""
    file = tmp_path / "file"
    file.touch()
    os.utime(file, (_NOW - 60, _NOW - 60))
    assert host_files.is_newer([file], _NOW - 61)
    assert not host_files.is_newer([file], _NOW)
    assert host_files.is_newer([file], _NOW + 86400)
