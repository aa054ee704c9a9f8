"""The luma of a JPEG is extracted without decoding it."""

import os
import subprocess
import sys

import pytest
from PIL import Image, ImageChops

from frota.images.converter import lossless
from support.pictures import decode, encode, photo

needs_library = pytest.mark.skipif(not lossless.available(), reason="libturbojpeg.so.0 is not installed")


def max_difference(first: Image.Image, second: Image.Image) -> int:
    return int(ImageChops.difference(first, second).getextrema()[1])  # type: ignore[arg-type] # one channel, one pair


@needs_library
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 85, 95])
def test_result_is_within_two_levels(quality: int, subsampling: int, progressive: bool) -> None:
    """The result is within two levels of the source."""
    source = encode(photo(), "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
    result = lossless.grey(source, 1)
    assert result
    assert decode(result).mode == "L"
    assert max_difference(decode(result), decode(source).convert("L")) <= 2


@needs_library
def test_grey_jpeg_keeps_every_pixel() -> None:
    """A grey JPEG keeps every pixel."""
    source = encode(photo().convert("L"), "JPEG")
    result = lossless.grey(source, 1)
    assert result
    assert max_difference(decode(result), decode(source)) == 0


@needs_library
def test_rotated_jpeg_keeps_every_pixel() -> None:
    """A rotated JPEG keeps every pixel save for rounding."""
    source = encode(photo(64, 48).convert("L"), "JPEG")
    result = lossless.grey(source, 6)
    assert result
    assert max_difference(decode(result), decode(source).transpose(Image.Transpose.ROTATE_270)) <= 1


@needs_library
def test_rotation_of_partial_blocks_is_declined() -> None:
    """A rotation that would move partial blocks returns None."""
    source = encode(photo(61, 48), "JPEG")
    assert lossless.grey(source, 2) is None
    assert lossless.grey(source, 1)


@needs_library
@pytest.mark.parametrize(
    "source",
    [
        encode(photo().convert("CMYK"), "JPEG"),
        encode(photo(), "JPEG", keep_rgb=True),
        encode(photo(), "PNG"),
        b"",
    ],
    ids=["CMYK", "RGB", "PNG", "nothing"],
)
def test_source_without_luma_is_declined(source: bytes) -> None:
    """A source without luma of its own returns None."""
    assert lossless.grey(source, 1) is None


@needs_library
@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_data_are_damaged(progressive: bool) -> None:
    """Truncated data raise DamagedJpeg."""
    source = encode(photo(), "JPEG", progressive=progressive)
    for cut in (source[: len(source) // 2], source[: len(source) // 2] + b"\xff\xd9"):
        with pytest.raises(lossless.DamagedJpeg):
            lossless.grey(cut, 1)
        with pytest.raises(lossless.DamagedJpeg):
            lossless.check(cut)
    lossless.check(source)


@needs_library
def test_harmless_warning_is_declined() -> None:
    """A harmless warning returns None."""
    source = encode(photo(), "JPEG")
    assert lossless.grey(source[:2] + b"odd" + source[2:], 1) is None
    lossless.check(source[:2] + b"odd" + source[2:])


@needs_library
def test_conversion_leaks_no_memory() -> None:
    """Conversions do not leak memory."""
    growth = """
import sys
from frota.images.converter import lossless
sources = sys.stdin.buffer.read()
good, bad = sources[:int(sys.argv[1])], sources[int(sys.argv[1]):]
def convert(times):
    for _ in range(times):
        lossless.grey(good, 1)
        try: lossless.grey(bad, 1)
        except lossless.DamagedJpeg: pass
    return int(open("/proc/self/statm").read().split()[1])
before = convert(20)
print(convert(400) - before)
"""
    good = encode(photo(1000, 700), "JPEG", quality=90)
    command = [sys.executable, "-c", growth, str(len(good))]
    done = subprocess.run(command, input=good + good[: len(good) // 2], stdout=subprocess.PIPE, check=True, timeout=50)
    assert int(done.stdout) * os.sysconf("SC_PAGE_SIZE") < 20 * len(good)
