"""Which files are meant by what people type, and what is wrong with them."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from frota.images.client import files
from support.images import image_files
from support.pictures import samples


def expanded(folder: Path, *words: Path) -> list[str]:
    """Return what is found, as paths below a folder."""
    return [str(Path(file.path).relative_to(folder)) for file in files.expand(map(str, words), [])]


def skipped(folder: Path) -> dict[str, str]:
    """Return what is not sent of a folder, as paths below it, and why."""
    over: list[files.File] = []
    files.expand([str(folder)], over)
    return {str(Path(file.path).relative_to(folder)): file.problem for file in over}


def test_folder_yields_its_images_in_order(tmp_path: Path) -> None:
    """A folder stands for all images below it, in the order of their names."""
    image_files(tmp_path, "b.PNG", "a.jpg", "c/z.webp", "c/d/y.tiff", "notes.txt", "jpg", ".hidden.jpg", ".cache/x.jpg")
    (tmp_path / "c" / "loop").symlink_to(tmp_path)
    assert expanded(tmp_path, tmp_path) == ["a.jpg", "b.PNG", "c/z.webp", "c/d/y.tiff"]


def test_content_identifies_an_image(tmp_path: Path) -> None:
    """A file without an image's extension is sent if its content is an image's."""
    names = [f"{kind}.{end}".replace(" ", "-") for kind in samples() for end in ("bin", "x")] + ["DSC_0001", "a.JPG~"]
    for name in names:
        kind = name.partition(".")[0].replace("-", " ")
        (tmp_path / name).write_bytes(samples().get(kind, samples()["JPEG"]))
    assert expanded(tmp_path, tmp_path) == sorted(names)
    assert skipped(tmp_path) == {}


@pytest.mark.parametrize("end", ["jfif", "JPE", "mpo", "apng", "Tiff"])
def test_image_extension_is_sent_unchecked(end: str, tmp_path: Path) -> None:
    """A folder's file with an image's extension is sent whatever its content."""
    (tmp_path / f"broken.{end}").write_bytes(b"nothing of the kind")
    assert expanded(tmp_path, tmp_path) == [f"broken.{end}"]


def test_skipped_files_have_reasons(tmp_path: Path) -> None:
    """Each file of a folder that is not sent has its reason."""
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


def test_unreadable_files_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable file is skipped with its reason, or sent to fail if it has an image's extension."""
    image_files(tmp_path, "shut", "shut.jpg")
    really = os.open

    def refusing(path: Any, *more: Any) -> int:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return really(path, *more)

    monkeypatch.setattr(os, "open", refusing)
    assert skipped(tmp_path) == {"shut": "sem permissão de leitura"}
    assert expanded(tmp_path, tmp_path) == ["shut.jpg"]


def test_named_files_keep_their_order(tmp_path: Path) -> None:
    """Named files are sent in their order, whatever their extension."""
    text, hidden = image_files(tmp_path, "notes.txt", ".hidden")
    assert expanded(tmp_path, text, hidden, text) == ["notes.txt", ".hidden", "notes.txt"]
    assert [file.size for file in files.expand([str(text), str(tmp_path / "none")], [])] == [1000, 0]


def test_unreadable_folder_keeps_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable folder is reported, and the other folders are read."""
    image_files(tmp_path, "a.jpg", "shut/b.jpg")
    scan = os.scandir

    def refusing(path: Any) -> Iterator[Any]:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    good, bad = files.expand([str(tmp_path)], [])
    assert (good.name, good.problem) == ("a.jpg", "")
    assert (bad.path, bad.problem) == (str(tmp_path / "shut"), "a pasta não pode ser lida: sem permissão de leitura")


def test_nul_byte_in_a_name_is_not_found() -> None:
    """A name with a NUL byte is a missing file."""
    (file,) = files.expand(["a\0b.jpg"], [])
    with pytest.raises(files.BadFile):
        files.size_of(file.path)


def test_collisions_yield_equal_names(tmp_path: Path) -> None:
    """Only names that several files share are collisions."""
    image_files(tmp_path, "a/x.jpg", "b/x.jpg", "b/y.jpg")
    empty = tmp_path / "c"
    empty.mkdir()
    ((name, paths),) = files.collisions(files.expand(map(str, (tmp_path, empty, empty)), []))
    assert (name, paths) == ("x.jpg", [str(tmp_path / "a/x.jpg"), str(tmp_path / "b/x.jpg")])
