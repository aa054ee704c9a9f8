"""Reading an image's header without decoding it."""

import mmap
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.images.formats import DEFAULT_LIMITS, BadImage, ImageHeader, Limits, read_header
from support.pictures import encode, photo, png, png_bomb, samples, tiff

GOOD = list(samples())
CODES = ("", "empty", "unsupported", "truncated", "damaged", "too_large")  # of an image, good or bad
SIZE, STRIPS = ((256, 4, 1, 8), (257, 4, 1, 8)), 273


def rejection(data: bytes, limits: Limits = DEFAULT_LIMITS) -> BadImage:
    with pytest.raises(BadImage) as caught:
        read_header(data, limits)
    return caught.value


@pytest.mark.parametrize("kind", GOOD)
def test_format_and_size_are_read(kind: str) -> None:
    """Format and size of every supported format are read."""
    assert read_header(samples()[kind]) == ImageHeader(kind.partition(" ")[0], 90, 60)


@pytest.mark.parametrize("kind", GOOD)
def test_mapped_file_equals_bytes(kind: str, tmp_path: Path) -> None:
    """A memory-mapped file is read like bytes."""
    path = tmp_path / "image"
    path.write_bytes(samples()[kind])
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert read_header(mapped) == read_header(samples()[kind])


def test_tiled_tiff_is_read() -> None:
    """The tiles of a TIFF are found."""
    grey = (258, 3, 1, 8), (262, 3, 1, 1), (322, 3, 1, 16), (323, 3, 1, 16)
    data = tiff(*SIZE, *grey, (324, 4, 1, 110), (325, 4, 1, 256), after=bytes(256))
    assert read_header(data) == ImageHeader("TIFF", 8, 8)
    assert rejection(data[:-1]).code == "truncated"


def test_empty_image_is_rejected() -> None:
    """An empty image is rejected."""
    assert rejection(b"").code == "empty"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"Isto \xc3\xa9 um texto.\n", "texto"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"<svg width='9'>", "SVG"),
        (b"<!DOCTYPE html><p>", "HTML"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "vídeo MP4"),
        (b"\xff\x0a\x00\x10", "JPEG XL"),
        (encode(photo(8, 8), "BMP"), "BMP"),
        (b"%PDF-1.7\n", "PDF"),
    ],
)
def test_unsupported_format_is_named(data: bytes, name: str) -> None:
    """The rejection names an unsupported format."""
    assert rejection(data).code == "unsupported"
    assert f"({name})" in rejection(data).text


def test_noise_is_rejected() -> None:
    """Noise is rejected without naming a format."""
    assert rejection(b"\xfe\xdc\xba\x98" * 9).text.startswith("formato não suportado: envie")


@pytest.mark.parametrize("kind", [kind for kind in GOOD if kind not in ("JPEG MPO", "TIFF JPEG")])
def test_truncated_file_is_rejected(kind: str) -> None:
    """A file truncated anywhere is rejected."""
    data = samples()[kind]
    for end in range(4, len(data) - 2, max(1, len(data) // 200)):
        if kind.startswith("GIF") and data[end - 1 : end] == b";":  # looks complete until it is decoded
            continue
        # only the decoder detects a truncated last scan
        if kind.startswith("JPEG") and (header := header_or_none(data[:end])):
            assert header.unterminated
            continue
        assert rejection(data[:end]).code in ("truncated", "unsupported", "damaged"), end
    if not kind.startswith("JPEG"):
        assert rejection(data[: len(data) // 2]).code == "truncated"


def header_or_none(data: bytes) -> ImageHeader | None:
    try:
        return read_header(data)
    except BadImage:
        return None


def test_first_photograph_must_be_complete() -> None:
    """Of several photographs in a file, the first must be complete."""
    several = samples()["JPEG MPO"]
    first = several.index(b"\xff\xd9") + 2
    assert read_header(several[: first + 100]).width == 90
    assert not read_header(several[:first]).unterminated
    assert read_header(several[: first - 1]).unterminated


@pytest.mark.parametrize(
    ("kind", "padding"), [("JPEG", bytes(999)), ("PNG", b"more"), ("WEBP lossy", b"?"), ("GIF", bytes(9))]
)
def test_trailing_bytes_are_ignored(kind: str, padding: bytes) -> None:
    """Bytes behind the end are ignored."""
    assert read_header(samples()[kind] + padding) == read_header(samples()[kind])


def test_bomb_is_rejected_by_its_pixels() -> None:
    """A decompression bomb is rejected by its size in pixels."""
    bomb = rejection(png_bomb(50_000))
    assert bomb.code == "too_large"
    assert "50000 x 50000" in bomb.text


@pytest.mark.parametrize(
    ("width", "height", "code"),
    [(0, 5, "damaged"), (5, 0, "damaged"), (65_501, 1, "too_large"), (1, 2**31, "too_large")],
)
def test_impossible_sides_are_rejected(width: int, height: int, code: str) -> None:
    """Sides of zero and beyond the limit are rejected."""
    assert rejection(png(width, height)).code == code


def test_pixel_limit_is_inclusive() -> None:
    """The pixel limit is inclusive."""
    assert read_header(png(1000, 10), Limits(10_000)).width == 1000
    assert rejection(png(1000, 10), Limits(9_999)).code == "too_large"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xfe" + b"\0\x02\xff\xfe" * 2_000_000,
        b"\xff\xd8" + b"\xff" * 4_000_000,
        b"\xff\xd8\xff" + bytes(4_000_000),
        # as many tags as fit, each with the length of the whole file
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60) + struct.pack("<HHQQ", 256, 1, 16_000_000, 0) * 800_000,
        tiff(*SIZE, (STRIPS, 4, 4_000_000, 8), (279, 4, 4_000_000, 8), after=bytes(16_000_000)),
        tiff(*SIZE, (STRIPS, 4, 2**32 - 1, 8)),
        # the next directory is the same one
        tiff(*SIZE, (STRIPS, 4, 1, 2**31), following=8),
    ],
    ids=["segments", "fill bytes", "no marker", "tags", "strips", "absurd strips", "circle"],
)
def test_malicious_file_costs_little(data: bytes) -> None:
    """A malicious file costs little time."""
    start = time.process_time()
    assert rejection(data).code in ("damaged", "truncated")
    assert time.process_time() - start < 0.05


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_header_is_read_without_copies(kind: str) -> None:
    """Reading a header copies no data."""
    picture = photo(900, 700)
    data = encode(picture.quantize(64) if kind == "GIF" else picture, kind)
    read_header(data)
    tracemalloc.start()
    read_header(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_384 < len(data)


@given(st.sampled_from(GOOD), st.data())
def test_damaged_file_is_read_or_rejected(kind: str, data: st.DataObject) -> None:
    """A damaged file is read, or raises BadImage and nothing else."""
    changed = bytearray(samples()[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, min(len(changed), 600) - 1))] = data.draw(
            st.sampled_from([0, 1, 127, 128, 255])
        )
    assert result_code(bytes(changed[: data.draw(st.integers(1, len(changed)))])) in CODES


@given(st.sampled_from(GOOD), st.integers(0, 40), st.binary(max_size=200))
def test_noise_after_a_signature_is_harmless(kind: str, length: int, noise: bytes) -> None:
    """Noise behind a signature is read, or raises BadImage and nothing else."""
    assert result_code(samples()[kind][:length] + noise) in CODES


def result_code(data: bytes) -> str:
    """Return the code of the rejection; nothing if the image is accepted with a permitted size."""
    try:
        header = read_header(data)
    except BadImage as bad:
        return bad.code
    return "" if header.width * header.height <= DEFAULT_LIMITS.pixels else "too many pixels"


def test_text_chunks_are_not_decompressed() -> None:
    """Compressed text chunks are not decompressed."""
    assert read_header(png(9, 9, (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50_000_000))))).width == 9
