"""A GIF is shown as a browser shows its first frame, wherever that is and whatever is around it."""

import itertools
import struct
from collections.abc import Sequence

import imagecodecs
import numpy as np
import pytest

from frota.images.converter.grayscale import convert
from frota.images.formats import BadImage, read_header
from support.pictures import decode, encode, photo

PALETTE = bytes(
    (90, 90, 90, 255, 0, 0, 0, 0, 255, 40, 40, 40)
)  # colour 0 is not white, so that what it fills is visible
RED, WHITE = 76, 255
TRAILER = b";"


def lzw(pixels: Sequence[int]) -> bytes:
    """Return pixels of two bits as sub-blocks: codes of three bits, with a clear code before they would grow."""
    codes = [code for pixel in pixels for code in (4, pixel)] + [5]
    bits = sum(code << 3 * place for place, code in enumerate(codes))
    data = bits.to_bytes((3 * len(codes) + 7) // 8, "little")
    blocks = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"\x02" + b"".join(bytes((len(block),)) + block for block in blocks) + b"\0"


def frame(
    left: int, top: int, width: int, height: int, colour: int = 1, *, flags: int = 0, palette: bytes = b""
) -> bytes:
    head = struct.pack("<cHHHHB", b",", left, top, width, height, flags | (0x81 if palette else 0))
    return head + palette + lzw([colour] * (width * height))


def control(transparent: int | None = None, disposal: int = 0) -> bytes:
    return struct.pack("<BBBBHBB", 0x21, 0xF9, 4, disposal << 2 | (transparent is not None), 0, transparent or 0, 0)


def gif(*blocks: bytes, size: tuple[int, int] = (16, 12), background: int = 0, palette: bytes = PALETTE) -> bytes:
    flags = 0x81 if palette else 0
    return b"GIF89a" + struct.pack("<HHBBB", *size, flags, background, 0) + palette + b"".join(blocks)


def grey(data: bytes) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.asarray(decode(convert(data, ".png").data))


COMMENT = b"\x21\xfe\x05hello\x00"
APPLICATION = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
TEXT = b"\x21\x01\x0c" + bytes(12) + b"\x02hi\x00"


@pytest.mark.parametrize("disposal", range(4))
@pytest.mark.parametrize("transparent", [None, 0, 2])
@pytest.mark.parametrize("background", [0, 2])
@pytest.mark.parametrize("before", [b"", COMMENT, APPLICATION, TEXT, COMMENT + APPLICATION], ids=len)
def test_uncovered_canvas_is_white(before: bytes, background: int, transparent: int | None, disposal: int) -> None:
    """The canvas outside of the first frame is white."""
    data = gif(before, control(transparent, disposal), frame(5, 3, 4, 2), TRAILER, background=background)
    expected = np.full((12, 16), WHITE)
    expected[3:5, 5:9] = RED
    assert np.array_equal(grey(data), expected)


def test_transparent_pixels_are_white() -> None:
    """Transparent pixels of the first frame are white."""
    assert (grey(gif(control(1), frame(5, 3, 4, 2), TRAILER)) == WHITE).all()


def test_local_palette_wins() -> None:
    """A frame's palette takes precedence over the global one."""
    green = bytes((0, 0, 0, 0, 255, 0)) + bytes(6)
    for whole in (PALETTE, b""):
        assert grey(gif(frame(1, 1, 2, 2, palette=green), TRAILER, palette=whole))[1, 1] == 150


def test_oversized_frame_enlarges_the_canvas() -> None:
    """A frame beyond the canvas enlarges it, as in browsers."""
    pixels = grey(gif(frame(14, 10, 4, 4), TRAILER))
    assert pixels.shape == (14, 18)
    assert (pixels[10:, 14:] == RED).all()
    assert (pixels[:10] == WHITE).all()


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_empty_frame_is_rejected(size: tuple[int, int]) -> None:
    """A frame without pixels is rejected."""
    with pytest.raises(BadImage) as caught:
        convert(gif(frame(0, 0, *size), TRAILER), ".png")
    assert caught.value.code == "damaged"


TAILS = [bytes(64), bytes(4096), b"\r\n" * 99, b"<html>" * 20, b"\xff" * 100, b",!;" * 50, bytes(7) + COMMENT]


@pytest.mark.parametrize("tail", TAILS, ids=range(len(TAILS)))
def test_data_after_the_trailer_are_ignored(tail: bytes) -> None:
    """Data behind the trailer are ignored."""
    for data in (
        encode(photo(40, 30).quantize(16), "GIF"),
        gif(COMMENT, frame(0, 0, 9, 9), frame(2, 2, 3, 3), TRAILER),
    ):
        assert read_header(data + tail) == read_header(data)
        assert convert(data + tail, ".png") == convert(data, ".png")


def test_missing_trailer_is_accepted() -> None:
    """A missing trailer is accepted if all frames are complete."""
    data = gif(APPLICATION, control(), frame(0, 0, 16, 12), COMMENT, control(), frame(2, 2, 3, 3))
    assert convert(data, ".png") == convert(data + TRAILER, ".png")


def test_truncated_frame_is_rejected() -> None:
    """A file truncated inside of any frame is rejected."""
    first, second = gif(APPLICATION, control(), frame(0, 0, 16, 12)), control() + frame(2, 2, 9, 9)
    whole_frames = (len(first), len(first) + len(control()), len(first + second))
    for end in range(14, len(first + second)):
        if end not in whole_frames:
            with pytest.raises(BadImage) as caught:
                read_header((first + second)[:end])
            assert caught.value.code == "truncated", end


@pytest.mark.parametrize(("interlace", "colours"), list(itertools.product((False, True), (2, 16, 256))))
def test_full_frame_equals_an_independent_decoder(interlace: bool, colours: int) -> None:
    """A frame of the whole canvas equals the picture of an independent decoder."""
    data = encode(photo(41, 29).quantize(colours), "GIF", interlace=interlace)
    pixels = imagecodecs.gif_decode(data, index=0)[..., :3]
    assert np.abs(grey(data) - pixels @ np.array([0.299, 0.587, 0.114])).max() <= 1


def test_many_blocks_are_left_to_the_decoder() -> None:
    """A GIF with very many blocks is accepted without reading them all."""
    data = gif(b"\x21\xfe" + b"\x01x" * 300_000)  # not even a frame
    assert read_header(data).format == "GIF"
    with pytest.raises(BadImage):
        convert(data, ".png")


def test_empty_extensions_count_as_blocks() -> None:
    """Empty extensions count against the limit of blocks."""
    data = gif(b"\x21\xfe\0" * 300_000)  # not even a frame
    assert read_header(data).format == "GIF"
    with pytest.raises(BadImage):
        convert(data, ".png")
