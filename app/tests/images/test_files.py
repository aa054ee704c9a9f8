"""Which files are meant by what people type, and what is wrong with them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frota.images import files
from images.images_support import pictures


def found(folder: Path, *words: Path) -> list[str]:
    """Return what is found, as paths below a folder."""
    return [str(Path(one.path).relative_to(folder)) for one in files.expand(map(str, words))]


def test_of_a_folder_all_images_below_are_meant_in_the_order_of_their_names(tmp_path: Path) -> None:
    pictures(tmp_path, "b.PNG", "a.jpg", "c/z.webp", "c/d/y.tiff", "notes.txt", "jpg", ".hidden.jpg", ".cache/x.jpg")
    (tmp_path / "c" / "loop").symlink_to(tmp_path)
    assert found(tmp_path, tmp_path) == ["a.jpg", "b.PNG", "c/z.webp", "c/d/y.tiff"]


def test_a_file_that_is_named_is_meant_whatever_it_is_called_and_in_the_order_of_the_words(tmp_path: Path) -> None:
    text, hidden = pictures(tmp_path, "notes.txt", ".hidden")
    assert found(tmp_path, text, hidden, text) == ["notes.txt", ".hidden", "notes.txt"]
    assert [one.size for one in files.expand([str(text), str(tmp_path / "none")])] == [1000, 0]


def test_a_folder_that_cannot_be_read_says_so_and_the_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path, "a.jpg", "shut/b.jpg")
    scan = os.scandir

    def refusing(path: Any) -> Iterator[Any]:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    good, bad = files.expand([str(tmp_path)])
    assert (good.name, good.problem) == ("a.jpg", "")
    assert (bad.path, bad.problem) == (str(tmp_path / "shut"), "a pasta não pode ser lida: sem permissão de leitura")


def test_a_name_with_a_zero_byte_is_no_file() -> None:
    (one,) = files.expand(["a\0b.jpg"])
    with pytest.raises(files.BadFile):
        files.size_of(one.path)


def test_images_of_one_name_in_several_folders_are_told_and_no_others(tmp_path: Path) -> None:
    pictures(tmp_path, "a/x.jpg", "b/x.jpg", "b/y.jpg")
    empty = tmp_path / "c"
    empty.mkdir()
    ((name, paths),) = files.collisions(files.expand(map(str, (tmp_path, empty, empty))))
    assert (name, paths) == ("x.jpg", [str(tmp_path / "a/x.jpg"), str(tmp_path / "b/x.jpg")])
