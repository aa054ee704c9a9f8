"""What our modules share about files: compared, shown, and replaced whole."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from .modules import host_files

_NOW = datetime.now(UTC).timestamp()


def test_a_file_is_replaced_whole_and_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        host_files.write(tmp_path / "file", "new\n", host_files.ours(0o644))
    finally:
        os.umask(former)
    assert (tmp_path / "file").read_text() == "new\n"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_file_that_cannot_be_written_leaves_the_former_one_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old\n")
    with pytest.raises(TypeError):
        host_files.write(tmp_path / "file", "new\n", host_files.Access("no mode", 0, 0))
    assert (tmp_path / "file").read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_file_from_the_future_is_given_todays_date(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    os.utime(file, (_NOW + 86400, _NOW + 86400))
    host_files.date_back([file])
    assert host_files.modified(file) < _NOW + 3600


def test_an_entry_that_was_made_differs_no_more(tmp_path: Path) -> None:
    folder = host_files.Entry(tmp_path / "folder", host_files.ours(0o750))
    file = host_files.Entry(tmp_path / "folder" / "file", host_files.ours(0o640), "text\n")
    for entry in (folder, file):
        assert entry.diff()
        entry.apply()
        assert entry.diff() == []
    assert host_files.access_of(folder.path).mode == 0o750


@pytest.mark.parametrize(("before", "after"), [("old\n", "new\n"), ("", "new\n"), ("one\r\n", "one\n")])
def test_a_difference_of_a_file_is_shown_to_the_byte(tmp_path: Path, before: str, after: str) -> None:
    (tmp_path / "file").write_bytes(before.encode())
    [shown] = host_files.Entry(tmp_path / "file", host_files.ours(0o644), after).diff()
    assert (shown["before"], shown["after"]) == (before, after)


def test_a_file_of_the_right_text_and_another_mode_shows_and_gets_its_mode_alone(tmp_path: Path) -> None:
    file = host_files.Entry(tmp_path / "file", host_files.ours(0o644), "text\n")
    file.apply()
    file.path.chmod(0o600)
    inode = file.path.stat().st_ino
    [shown] = file.diff()
    assert shown["before"].startswith("mode 0600 ")
    assert shown["after"].startswith("mode 0644 ")
    file.apply()
    assert (file.diff(), file.path.stat().st_ino) == ([], inode)


def test_a_link_is_replaced_and_so_is_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "name").write_text("a file")
    for target in (Path("/one"), Path("/two")):
        host_files.place_link(tmp_path / "name", target)
        assert host_files.link(tmp_path / "name") == str(target)
    assert list(tmp_path.iterdir()) == [tmp_path / "name"]


def test_a_start_before_a_file_or_under_a_clock_that_was_ahead_is_older_than_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    os.utime(file, (_NOW - 60, _NOW - 60))
    assert host_files.is_newer([file], _NOW - 61)
    assert not host_files.is_newer([file], _NOW)
    assert host_files.is_newer([file], _NOW + 86400)
