"""PNG of every depth and kind of colour, and WebP, look as an independent calculation expects."""

import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from frota.images.converter.grayscale import convert
from frota.images.formats import BadImage, read_header
from support.pictures import decode, encode, photo, png

Samples = np.ndarray[Any, Any]
WIDTH, HEIGHT = 19, 11
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
LUMA = np.array([0.299, 0.587, 0.114])
KINDS = [
    *((GREY, depth) for depth in (1, 2, 4, 8, 16)),
    *((PALETTE, depth) for depth in (1, 2, 4, 8)),
    *((colour, depth) for colour in (RGB, GREY_ALPHA, RGB_ALPHA) for depth in (8, 16)),
]
# Where the passes of an interlaced PNG begin, and their steps: left, top, across, down (PNG, 8.2).
PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def ramp(colour: int, depth: int) -> Samples:
    maximum = 2**depth - 1
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [
        ((columns * (place + 1) / (WIDTH - 1) + rows * place / (HEIGHT - 1)) % 1.0001 * maximum)
        .round()
        .clip(0, maximum)
        for place in range(SAMPLES[colour])
    ]
    return np.stack(planes, -1).astype(int)


def packed(samples: Samples, depth: int) -> bytes:
    """Return rows as they are in a PNG, without a filter."""
    out = b""
    for row in samples:
        text = "".join(f"{value:0{depth}b}" for value in row.ravel().tolist())
        out += b"\0" + int(text.ljust(-len(text) % 8 + len(text), "0"), 2).to_bytes((len(text) + 7) // 8, "big")
    return out


def palette(depth: int) -> Samples:
    count = 2**depth
    return np.stack([np.linspace(255, 0, count), np.linspace(0, 255, count), np.linspace(9, 99, count)], 1).round()


def expected(colour: int, depth: int, samples: Samples, clear: Samples | None) -> Samples:
    maximum, alpha = 2**depth - 1, np.ones((HEIGHT, WIDTH))
    if colour == PALETTE:
        level = palette(depth)[samples[..., 0]] @ LUMA
        alpha = alpha if clear is None else clear[samples[..., 0]] / 255
    else:
        level = (
            samples[..., 0] / maximum * 255 if colour in (GREY, GREY_ALPHA) else samples[..., :3] / maximum * 255 @ LUMA
        )
        if colour in (GREY_ALPHA, RGB_ALPHA):
            alpha = samples[..., -1] / maximum
        elif clear is not None:
            alpha = 1.0 - (samples == clear).all(-1)
    expected_levels: Samples = level * alpha + 255 * (1 - alpha)
    return expected_levels


def encode_png(colour: int, depth: int, samples: Samples, clear: Samples | None, *, interlaced: bool) -> bytes:
    chunks = [(b"PLTE", palette(depth).astype("u1").tobytes())] if colour == PALETTE else []
    if clear is not None:
        chunks.append((b"tRNS", clear.astype("u1" if colour == PALETTE else ">u2").tobytes()))
    rows = packed(samples, depth)
    if interlaced:
        parts = [samples[top::down, left::across] for left, top, across, down in PASSES]
        rows = b"".join(packed(part, depth) for part in parts if part.size)
    data = bytearray(png(WIDTH, HEIGHT, *chunks, depth=depth, colour=colour, rows=zlib.compress(rows)))
    data[28] = interlaced
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def max_difference(data: bytes, expected_levels: Samples) -> float:
    return float(np.abs(np.asarray(decode(convert(data, ".png").data), float) - expected_levels).max())


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_depths_and_colours_are_converted(colour: int, depth: int, interlaced: bool) -> None:
    """Every bit depth and colour type is converted right."""
    samples = ramp(colour, depth)
    data = encode_png(colour, depth, samples, None, interlaced=interlaced)
    assert np.array_equal(np.asarray(imagecodecs.png_decode(data)).shape[:2], (HEIGHT, WIDTH))
    assert max_difference(data, expected(colour, depth, samples, None)) <= 2


@pytest.mark.parametrize(("colour", "depth"), [kind for kind in KINDS if kind[0] in (GREY, PALETTE)] + [(RGB, 8)])
def test_transparent_level_is_exact(colour: int, depth: int) -> None:
    """A transparent level or colour is white, its neighbours are not."""
    samples = ramp(colour, depth)
    clear = np.linspace(0, 255, 2**depth).round() if colour == PALETTE else samples[5, 7]
    if colour != PALETTE and depth >= 8:
        samples[0, 0], samples[0, 1] = clear + 1, np.maximum(clear - 1, 0)
    data = encode_png(colour, depth, samples, clear, interlaced=False)
    assert max_difference(data, expected(colour, depth, samples, clear)) <= 2


def test_transparent_16_bit_colour_is_rejected() -> None:
    """A 16-bit RGB image with a transparent colour is rejected by its header."""
    samples = ramp(RGB, 16)
    with pytest.raises(BadImage) as caught:
        read_header(encode_png(RGB, 16, samples, samples[5, 7], interlaced=False))
    assert caught.value.code == "unsupported"
    assert "canal alfa" in caught.value.text


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"quality": 30}, {"method": 6}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_equals_an_independent_decoder(mode: str, options: dict[str, Any]) -> None:
    """A WebP equals the picture of an independent decoder."""
    picture = photo(41, 29).convert(mode)
    if mode == "RGBA":
        picture.putalpha(picture.getchannel("R"))
    data = encode(picture, "WEBP", **options)
    decoded = np.asarray(imagecodecs.webp_decode(data, hasalpha=True), float)
    alpha = decoded[..., 3] / 255 if decoded.shape[-1] == 4 else 1.0
    assert max_difference(data, decoded[..., :3] @ LUMA * alpha + 255 * (1 - alpha)) <= 2


@pytest.mark.parametrize("background", [(0, 0, 0, 0), (0, 255, 0, 255)])
@pytest.mark.parametrize("alpha", [255, 128])
def test_uncovered_webp_canvas_is_white(alpha: int, background: tuple[int, int, int, int]) -> None:
    """The canvas outside of an animated WebP's first frame is white."""
    first, second = Image.new("RGBA", (60, 40), (0, 0, 0, 0)), Image.new("RGBA", (60, 40), (0, 0, 255, 255))
    first.paste((255, 0, 0, alpha), (20, 10, 30, 20))
    data = encode(first, "WEBP", save_all=True, append_images=[second], lossless=True, background=background)
    at = data.index(b"ANMF") + 8
    assert data[at : at + 12] == b"\x0a\0\0\x05\0\0\x09\0\0\x09\0\0", "ten by ten pixels at 20, 10"
    expected_levels = np.full((40, 60), 255.0)
    expected_levels[10:20, 20:30] = 76 * alpha / 255 + 255 - alpha
    assert max_difference(data, expected_levels) <= 1


def test_cgbi_png_is_rejected() -> None:
    """A CgBI PNG is rejected by its name."""
    data = encode(photo(9, 9), "PNG")
    chunk = b"CgBI\x50\0\x20\x02"
    odd = data[:8] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[8:]
    with pytest.raises(BadImage, match="CgBI") as caught:
        read_header(odd)
    assert caught.value.code == "unsupported"


def rejection(data: bytes) -> tuple[str, str] | None:
    try:
        convert(data, ".png")
    except BadImage as bad:
        return bad.code, bad.text
    return None


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_missing_rows_are_rejected(colour: int, depth: int, interlaced: bool) -> None:
    """A PNG with missing rows is rejected."""
    data = encode_png(colour, depth, ramp(colour, depth), None, interlaced=interlaced)
    start, end = data.index(b"IDAT") + 4, data.index(b"IEND") - 8
    rows = zlib.decompress(data[start:end])
    whole_rows = () if interlaced else (len(rows) // HEIGHT, 5 * len(rows) // HEIGHT)
    for missing in (1, len(rows) // 2, len(rows), *whole_rows):
        short = zlib.compress(rows[: len(rows) - missing])
        cut = data[: start - 8] + struct.pack(">I", len(short)) + b"IDAT" + short
        cut += struct.pack(">I", zlib.crc32(b"IDAT" + short)) + data[end + 4 :]
        error = rejection(cut)
        assert error, missing
        assert error[0] == "truncated", error
        assert error[1].startswith("imagem PNG truncada: "), error


def test_black_png_is_complete() -> None:
    """A black PNG in several chunks is complete."""
    rows = zlib.compress(bytes(HEIGHT * (1 + WIDTH)))
    data = png(WIDTH, HEIGHT, (b"IDAT", rows[:5]), (b"IDAT", b""), rows=rows[5:])
    assert rejection(data) is None


def test_apng_needs_its_default_image() -> None:
    """Of an animated PNG, only the default image must be complete."""
    black = Image.new("RGB", (30, 20))
    data = encode(black, "PNG", save_all=True, append_images=[photo(30, 20)])
    assert b"acTL" in data
    assert rejection(data) is None
