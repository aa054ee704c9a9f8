"""JPEGs without end marker or colour information are handled as by browsers; truncated ones are rejected."""

import asyncio
import itertools
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageChops

from frota.images.converter import lossless
from frota.images.converter.grayscale import convert
from frota.images.formats import BadImage, read_header
from frota.images.producer.submission import SubmissionRejected, SubmittedImage
from support.pictures import decode, encode, p3_profile, photo
from support.submission import Broker, Bucket, submission_handler

END = b"\xff\xd9"
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {}),
    "whole colours": ("RGB", {"subsampling": 0}),
    "restarts": ("RGB", {"restart_marker_blocks": 3}),
    "profile": ("RGB", {"icc_profile": p3_profile()}),
    "progressive": ("RGB", {"progressive": True}),
    "grey": ("L", {}),
    "grey progressive": ("L", {"progressive": True}),
    "ink": ("CMYK", {}),
}


@pytest.fixture(params=["with libturbojpeg", "without libturbojpeg"], autouse=True)
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without libturbojpeg":
        monkeypatch.setattr(lossless, "turbo_jpeg", lambda: None)
    elif not lossless.available():
        pytest.skip("libturbojpeg.so.0 is not installed")


def picture(kind: str) -> bytes:
    mode, options = KINDS[kind]
    return encode(photo(75, 52).convert(mode), "JPEG", **options)


def rejection(data: bytes, extension: str = ".jpg") -> BadImage:
    with pytest.raises(BadImage) as caught:
        convert(data, extension)
    return caught.value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("tail", [b"", b"\xff", b"\xff\xff"], ids=repr)
def test_missing_end_marker_is_accepted(kind: str, extension: str, tail: bytes) -> None:
    """A JPEG that lacks only its end marker is converted like the complete one."""
    data = picture(kind)
    assert data.endswith(END)
    assert read_header(data[:-2] + tail).unterminated
    assert convert(data[:-2] + tail, extension) == convert(data, extension)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", [bytes(70), b"\r\n", b"</html>"], ids=range(3))
def test_bytes_instead_of_the_end_are_ignored(kind: str, tail: bytes) -> None:
    """Bytes instead of the end marker are ignored."""
    data = picture(kind)
    assert max_difference(data[:-2] + tail, decode(convert(data, ".png").data), ".png") <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_in_the_last_scan_is_rejected(kind: str) -> None:
    """A JPEG truncated inside of its last scan is rejected."""
    data = picture(kind)
    scan = data.rindex(b"\xff\xda")
    restarts = [at for at in range(scan, len(data) - 8) if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7][-12:]
    ends = range(len(data) - 8, scan + 14, -max(1, (len(data) - scan) // 60))
    for end in (*ends, *restarts, *(at + 1 for at in restarts), *(at + 2 for at in restarts)):
        for extension in (".jpg", ".png"):
            assert rejection(data[:end], extension).code == "truncated", len(data) - end


def test_truncation_between_scans_is_rejected() -> None:
    """A JPEG truncated between two scans is rejected without decoding."""
    data = picture("progressive")
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for start in scans[1:]:
        tables = data.rindex(b"\xff\xc4", 0, start)
        for end in (start, tables):
            with pytest.raises(BadImage) as caught:
                read_header(data[:end])
            assert caught.value.code == "truncated"


def test_truncation_in_one_colour_is_rejected() -> None:
    """A JPEG truncated inside of an area of one colour is rejected, though the decoder fills it alike."""
    flat = encode(Image.new("RGB", (640, 480), (200, 30, 40)), "JPEG")
    assert convert(flat[:-2], ".png") == convert(flat, ".png")
    assert rejection(flat[: len(flat) - 40]).code == "truncated"


def test_producer_rejects_truncated_jpegs(tmp_path: Path) -> None:
    """The producer accepts a JPEG without its end marker, and rejects a truncated one."""
    data = picture("baseline")

    async def run() -> None:
        broker = Broker()
        async with submission_handler(tmp_path, broker, Bucket()) as handler:
            await handler.accept(SubmittedImage.of("whole.jpg", "", ""), data[:-2], 30)
            for cut in (data[:-20], data[: len(data) * 3 // 4]):
                with pytest.raises(SubmissionRejected, match="truncada"):
                    await handler.accept(SubmittedImage.of("cut.jpg", "", ""), cut, 30)
        assert len(broker.published) == 1

    asyncio.run(run())


def samsung_trailer(*parts: bytes) -> bytes:
    """Return a trailer of a Samsung camera: parts, and a list of their distances from it."""
    data = b"".join(parts)
    directory = struct.pack("<4sII", b"SEFH", 107, len(parts))
    for place, part in enumerate(parts):
        directory += struct.pack("<HHII", 0, 0x0A01, len(b"".join(parts[place:])), len(part))
    return data + directory + struct.pack("<I4s", len(directory), b"SEFT")


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_samsung_panorama_is_accepted(extension: str) -> None:
    """A panorama that lacks its end marker before Samsung's trailer is accepted."""
    data = picture("baseline")
    trailer = samsung_trailer(b"\0\0\x01\x0aImage_UTC_Data1", bytes(range(256)) * 40 + END + b"\xff\xc3" * 9)
    assert read_header(data[:-2] + trailer).unterminated
    assert convert(data[:-2] + trailer, extension) == convert(data, extension)
    assert convert(data + trailer, extension) == convert(data, extension)
    assert rejection(data[:-60] + trailer).code == "truncated"


@pytest.mark.parametrize("size", [0, 1, 12, 2**31, 2**32 - 1])
@pytest.mark.parametrize("distance", [0, 5, 2**32 - 1])
def test_malformed_trailer_is_harmless(size: int, distance: int) -> None:
    """A malformed trailer is handled as image data."""
    data = picture("baseline") + struct.pack("<4sIIHHII", b"SEFH", 107, 2**32 - 1, 0, 1, distance, 9)
    data += struct.pack("<I4s", size, b"SEFT")
    assert read_header(data).width == 75
    assert convert(data, ".png") == convert(picture("baseline"), ".png")


def test_odd_scan_parameters_are_ignored() -> None:
    """Wrong spectral parameters of a sequential scan are ignored."""
    data = bytearray(picture("baseline"))
    scan = data.index(b"\xff\xda")
    data[scan + 5 + 2 * data[scan + 4] : scan + 8 + 2 * data[scan + 4]] = bytes(3)
    assert max_difference(bytes(data[:-2]), decode(convert(picture("baseline"), ".png").data), ".png") == 0


def without_marker(data: bytes, marker: bytes) -> bytes:
    """Return a JPEG without a segment."""
    at = data.index(marker)
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def max_difference(data: bytes, expected: Image.Image, extension: str) -> int:
    result = decode(convert(data, extension).data)
    return int(ImageChops.difference(result, expected.convert("L")).getextrema()[1])  # type: ignore[arg-type] # one channel, one pair


@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_cmyk_is_inverted_as_in_browsers(extension: str) -> None:
    """CMYK is inverted as Adobe's, with or without a marker, as in browsers."""
    marked = encode(photo(75, 52).convert("CMYK"), "JPEG", subsampling=0, quality=95)
    unmarked = without_marker(marked, b"\xff\xee")
    assert max_difference(marked, photo(75, 52), extension) <= 6
    assert convert(unmarked, extension) == convert(marked, extension)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("subsampling", ["444", "420"])
def test_ycck_is_converted(subsampling: str, extension: str) -> None:
    """YCCK is converted right."""
    ink = 255 - np.asarray(photo(75, 52).convert("CMYK"))
    options: dict[str, Any] = {"colorspace": "CMYK", "outcolorspace": "YCCK", "subsampling": subsampling}
    data = bytes(imagecodecs.jpeg8_encode(ink, level=97, **options))
    assert data[data.index(b"Adobe") + 11] == 2
    assert max_difference(data, photo(75, 52), extension) <= (6 if subsampling == "444" else 24)


@pytest.mark.parametrize("extension", [".jpg", ".png"])
@pytest.mark.parametrize("has_marker", [True, False])
def test_component_ids_identify_rgb(has_marker: bool, extension: str) -> None:
    """Component ids identify RGB if no marker does."""
    rgb = np.asarray(photo(75, 52))
    data = bytes(imagecodecs.jpeg8_encode(rgb, level=97, colorspace="RGB", outcolorspace="RGB"))
    frame = data.index(b"\xff\xc0")
    assert [data[frame + 10 + 3 * place] for place in range(3)] == list(b"RGB")
    assert max_difference(data if has_marker else without_marker(data, b"\xff\xee"), photo(75, 52), extension) <= 4


def twelve_bit_jpeg() -> bytes:
    levels = (np.asarray(photo(75, 52)).astype("u2") << 4) | 7
    return bytes(imagecodecs.jpeg8_encode(levels, level=90, bitspersample=12))


def lossless_jpeg() -> bytes:
    return bytes(imagecodecs.jpeg8_encode(np.asarray(photo(75, 52)), lossless=True))


def two_component_jpeg() -> bytes:
    data = bytearray(picture("baseline"))
    frame = data.index(b"\xff\xc0")
    data[frame + 9] = 2
    return bytes(data)


@pytest.mark.parametrize("make", [twelve_bit_jpeg, lossless_jpeg, two_component_jpeg])
def test_unsupported_jpegs_are_rejected(make: Any) -> None:
    """JPEGs that browsers do not support are rejected by the header."""
    with pytest.raises(BadImage) as caught:
        read_header(make())
    assert caught.value.code == "unsupported"
    assert "JPEG comum" in caught.value.text


@pytest.mark.parametrize("code", [0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF])
def test_other_frame_types_are_rejected(code: int) -> None:
    """Every other frame type is rejected."""
    data = bytearray(picture("baseline"))
    data[data.index(b"\xff\xc0") + 1] = code
    with pytest.raises(BadImage) as caught:
        read_header(bytes(data))
    assert caught.value.code == "unsupported"


def test_result_equals_an_independent_decoder() -> None:
    """The result equals the luma of an independent decoder."""
    for quality, subsampling in itertools.product((60, 95), (0, 1, 2)):
        data = encode(photo(75, 52), "JPEG", quality=quality, subsampling=subsampling)
        levels = imagecodecs.jpeg8_decode(data) @ np.array([0.299, 0.587, 0.114])
        assert np.abs(np.asarray(decode(convert(data, ".png").data)) - levels).max() <= 2
