"""Which files are meant by what people type, and what is wrong with them."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frota.images.client import files
from support.images import pictures
from support.pictures import samples


def found(folder: Path, *words: Path) -> list[str]:
    """Return what is found, as paths below a folder."""
    return [str(Path(one.path).relative_to(folder)) for one in files.expand(map(str, words), [])]


def skipped(folder: Path) -> dict[str, str]:
    """Return what is not sent of a folder, as paths below it, and why."""
    over: list[files.File] = []
    files.expand([str(folder)], over)
    return {str(Path(one.path).relative_to(folder)): one.problem for one in over}


def test_of_a_folder_all_images_below_are_meant_in_the_order_of_their_names(tmp_path: Path) -> None:
    pictures(tmp_path, "b.PNG", "a.jpg", "c/z.webp", "c/d/y.tiff", "notes.txt", "jpg", ".hidden.jpg", ".cache/x.jpg")
    (tmp_path / "c" / "loop").symlink_to(tmp_path)
    assert found(tmp_path, tmp_path) == ["a.jpg", "b.PNG", "c/z.webp", "c/d/y.tiff"]


def test_an_image_is_known_by_its_content_whatever_it_is_called(tmp_path: Path) -> None:
    names = [f"{kind}.{end}".replace(" ", "-") for kind in samples() for end in ("bin", "x")] + ["DSC_0001", "a.JPG~"]
    for name in names:
        kind = name.partition(".")[0].replace("-", " ")
        (tmp_path / name).write_bytes(samples().get(kind, samples()["JPEG"]))
    assert found(tmp_path, tmp_path) == sorted(names)
    assert skipped(tmp_path) == {}


@pytest.mark.parametrize("end", ["jfif", "JPE", "mpo", "apng", "Tiff"])
def test_what_is_called_an_image_is_left_for_the_server_to_judge(end: str, tmp_path: Path) -> None:
    (tmp_path / f"broken.{end}").write_bytes(b"nothing of the kind")
    assert found(tmp_path, tmp_path) == [f"broken.{end}"]


def test_what_is_not_sent_of_a_folder_is_told_with_its_reason(tmp_path: Path) -> None:
    folder = tmp_path / "all"
    (folder / ".cache").mkdir(parents=True)
    contents = {"film.mp4": b"\0\0\0\x18ftypisom", "IMG.HEIC": b"\0\0\0\x18ftypheic", "odd": b"\xfe\xdc", "empty": b""}
    contents |= {"a.JPG.part": samples()["JPEG"], "b.png.crdownload": samples()["PNG"], ".c.jpg": samples()["JPEG"]}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "loop").symlink_to("loop")
    (folder / "gone").symlink_to("nowhere")
    (folder / "folder").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        (folder / "null").symlink_to("/dev/null")
        (folder / "zero.jpg").symlink_to("/dev/zero")
        assert skipped(folder) == {
            ".cache": "oculto",
            ".c.jpg": "oculto",
            "IMG.HEIC": "formato não suportado (HEIC)",
            "a.JPG.part": "download incompleto",
            "b.png.crdownload": "download incompleto",
            "empty": "arquivo vazio",
            "film.mp4": "formato não suportado (vídeo MP4)",
            "folder": "link para pasta",
            "gone": "arquivo não existe",
            "loop": os.strerror(errno.ELOOP),
            "null": "não é um arquivo comum",
            "odd": "não é uma imagem",
            "pipe": "não é um arquivo comum",
            "pipe.jpg": "não é um arquivo comum",
            "socket": "não é um arquivo comum",
            "zero.jpg": "não é um arquivo comum",
        }


def test_a_file_that_cannot_be_read_is_told_and_one_that_is_called_an_image_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path, "shut", "shut.jpg")
    really = os.open

    def refusing(path: Any, *more: Any) -> int:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return really(path, *more)

    monkeypatch.setattr(os, "open", refusing)
    assert skipped(tmp_path) == {"shut": "sem permissão de leitura"}
    assert found(tmp_path, tmp_path) == ["shut.jpg"]


def test_a_file_that_is_named_is_meant_whatever_it_is_called_and_in_the_order_of_the_words(tmp_path: Path) -> None:
    text, hidden = pictures(tmp_path, "notes.txt", ".hidden")
    assert found(tmp_path, text, hidden, text) == ["notes.txt", ".hidden", "notes.txt"]
    assert [one.size for one in files.expand([str(text), str(tmp_path / "none")], [])] == [1000, 0]


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
    good, bad = files.expand([str(tmp_path)], [])
    assert (good.name, good.problem) == ("a.jpg", "")
    assert (bad.path, bad.problem) == (str(tmp_path / "shut"), "a pasta não pode ser lida: sem permissão de leitura")


def test_a_name_with_a_zero_byte_is_no_file() -> None:
    (one,) = files.expand(["a\0b.jpg"], [])
    with pytest.raises(files.BadFile):
        files.size_of(one.path)


def test_images_of_one_name_in_several_folders_are_told_and_no_others(tmp_path: Path) -> None:
    pictures(tmp_path, "a/x.jpg", "b/x.jpg", "b/y.jpg")
    empty = tmp_path / "c"
    empty.mkdir()
    ((name, paths),) = files.collisions(files.expand(map(str, (tmp_path, empty, empty)), []))
    assert (name, paths) == ("x.jpg", [str(tmp_path / "a/x.jpg"), str(tmp_path / "b/x.jpg")])
