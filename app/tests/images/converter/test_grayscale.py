"""A grey image looks as a viewer would show the original image."""

import io
import itertools
import mmap
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageDraw

from frota.images.converter import lossless
from frota.images.converter.grayscale import convert
from frota.images.formats import DEFAULT_LIMITS, BadImage, Limits
from support import FULL
from support.pictures import decode, encode, orientation, p3_profile, photo, png, png_bomb, samples, srgb_profile, tiff

# Pillow warns of broken metadata.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(params=["with libturbojpeg", "without libturbojpeg"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without libturbojpeg":
        monkeypatch.setattr(lossless, "turbo_jpeg", lambda: None)
    elif not lossless.available():
        pytest.skip("libturbojpeg.so.0 is not installed")


def grey(data: bytes, extension: str = ".png") -> Image.Image:
    """Return the result as an image; it is 8 bits of grey and what it says it is, whatever came in."""
    result = convert(data, extension)
    image = decode(result.data)
    assert image.mode == "L"
    assert (result.media_type, result.width, result.height) == (image.get_format_mimetype(), *image.size)  # type: ignore[attr-defined]
    return image


def max_difference(first: Image.Image, second: Image.Image) -> int:
    assert first.size == second.size
    return int(ImageChops.difference(first, second.convert("L")).getextrema()[1])  # type: ignore[arg-type] # one channel, one pair


def rejection(data: bytes, extension: str = ".jpg", limits: Limits = DEFAULT_LIMITS) -> BadImage:
    with pytest.raises(BadImage) as caught:
        convert(data, extension, limits)
    return caught.value


@pytest.mark.parametrize(
    ("extension", "media_type"),
    [(".png", "image/png"), (".PNG", "image/png"), (".jpg", "image/jpeg"), (".gif", "image/jpeg"), ("", "image/jpeg")],
)
def test_extension_selects_the_format(extension: str, media_type: str) -> None:
    """The extension selects PNG or JPEG."""
    for kind in ("JPEG", "PNG", "GIF"):
        assert convert(samples()[kind], extension).media_type == media_type


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 95}], ids=str)
@pytest.mark.parametrize("size", [(320, 240), (317, 233), (1, 1), (7, 900)])
def test_jpeg_keeps_its_luma(size: tuple[int, int], options: dict[str, Any]) -> None:
    """A JPEG's result is its luma within two levels."""
    source = encode(photo(*size), "JPEG", **options)
    assert max_difference(grey(source, ".jpg"), decode(source)) <= 2
    assert max_difference(grey(source, ".png"), decode(source)) <= 2


@pytest.mark.parametrize(
    "kind", [kind for kind in samples() if "JPEG" not in kind and "extended" not in kind and kind != "PNG"]
)
def test_other_formats_keep_every_level(kind: str) -> None:
    """Formats without loss keep every level."""
    source = decode(samples()[kind])
    source = source.convert("RGBA") if source.has_transparency_data else source
    on_white = Image.new("RGBA", source.size, "white")
    on_white.alpha_composite(source.convert("RGBA"))
    assert max_difference(grey(samples()[kind]), on_white) <= 1


def stored(upright: Image.Image, value: int) -> Image.Image:
    """Return what a camera held so stores: EXIF 2.32, 4.6.4, tells where the 0th row and the 0th column belong."""
    width, height = upright.size
    rows, columns = {
        1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
        5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom"),
    }[value]  # fmt: skip
    place: dict[str, Callable[[int], tuple[int, int]]] = {
        "top": lambda index: (1, index), "bottom": lambda index: (1, height - 1 - index),
        "left": lambda index: (0, index), "right": lambda index: (0, width - 1 - index),
    }  # fmt: skip
    size = upright.size if value < 5 else (height, width)
    result = Image.new("RGB", size)
    for row, column in itertools.product(range(size[1]), range(size[0])):
        spot = dict([place[rows](row), place[columns](column)])
        result.putpixel((column, row), upright.getpixel((spot[0], spot[1])))  # type: ignore[arg-type] # never outside
    return result


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("size", [(48, 32), (45, 27)], ids=["whole blocks", "cut blocks"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_applied(value: int, kind: str, size: tuple[int, int]) -> None:
    """The EXIF orientation is applied."""
    upright = photo(*size).copy()
    ImageDraw.Draw(upright).rectangle((0, 0, size[0] // 3, size[1] // 4), "white")
    options: dict[str, Any] = {"tiffinfo": {274: value}} if kind == "TIFF" else {"exif": orientation(value)}
    if kind != "TIFF":
        options |= {"lossless": True} if kind == "WEBP" else {"quality": 95}
    source = encode(stored(upright, value), kind, **options)
    for extension in (".png", ".jpg"):
        result = grey(source, extension)
        assert result.size == size
        small = (size[0] // 4, size[1] // 4)
        assert (
            max_difference(result.resize(small, Image.Resampling.BOX), upright.resize(small, Image.Resampling.BOX))
            <= 12
        )


@pytest.mark.parametrize("exif", [b"II*\0\xff\xff\xff\xff", b"MM", b"MM\0*\x01\0", bytes(60), b"no EXIF at all"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_malformed_exif_is_ignored(kind: str, exif: bytes) -> None:
    """A malformed EXIF is ignored."""
    assert convert(encode(photo(), kind, exif=b"Exif\0\0" + exif), ".png") == convert(encode(photo(), kind), ".png")


def test_unknown_orientation_is_ignored() -> None:
    """An unknown orientation is ignored."""
    for extension in (".jpg", ".png"):
        assert grey(encode(photo(32, 16), "JPEG", exif=orientation(9)), extension).size == (32, 16)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_result_has_no_metadata(kind: str, extension: str) -> None:
    """The result has no metadata, such as the location."""
    exif = orientation(1)
    exif[271] = "Camera of mine"
    exif.get_ifd(0x8825)[29] = "2026:01:02"
    data = convert(encode(photo(), kind, exif=exif, icc_profile=srgb_profile()), extension).data
    image = decode(data)
    assert not image.getexif()
    assert not {"icc_profile", "exif", "comment", "xmp"} & image.info.keys()
    assert b"Camera" not in data


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_profile_is_converted_to_srgb(kind: str, extension: str) -> None:
    """Colours of another profile are converted to sRGB first."""
    red = Image.new("RGB", (64, 64), (230, 40, 40))
    source = encode(red, kind, icc_profile=p3_profile())
    converted = ImageCms.profileToProfile(decode(source), io.BytesIO(p3_profile()), ImageCms.createProfile("sRGB"))
    assert converted
    assert max_difference(grey(source, extension), converted) <= 2
    assert max_difference(grey(source, extension), red) > 4


@pytest.mark.parametrize(
    "profile",
    [srgb_profile(), b"not a profile", bytes(200), p3_profile()[:300]],
    ids=["sRGB", "text", "zeros", "truncated"],  # a profile has the second in which it was made
)
def test_srgb_and_broken_profiles_change_nothing(profile: bytes) -> None:
    """A profile that equals sRGB, or is broken, changes nothing."""
    with_profile, without = (encode(photo(), "JPEG", **options) for options in ({"icc_profile": profile}, {}))
    assert convert(with_profile, ".jpg") == convert(without, ".jpg")


def test_profile_of_other_channels_is_ignored() -> None:
    """A profile for other channels is ignored."""
    source = photo().convert("L")
    assert max_difference(grey(encode(source, "PNG", icc_profile=p3_profile())), source) == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_on_white(mode: str, kind: str) -> None:
    """Transparent images are composed on white."""
    source = photo(40, 20).convert(mode)
    source.putalpha(Image.linear_gradient("L").resize((40, 20)))
    data = encode(source, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    on_white = Image.new("RGBA", source.size, "white")
    on_white.alpha_composite(source.convert("RGBA"))
    assert max_difference(grey(data), on_white) <= 1


def test_transparent_palette_colour_is_white() -> None:
    """A transparent palette colour is white."""
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 90, 90, 90])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        assert grey(encode(palette, kind, transparency=0)).tobytes() == b"\xff\x5a"
    assert grey(encode(palette, "PNG", transparency=b"\x80\xff")).tobytes() in (b"\x7f\x5a", b"\x80\x5a")


def test_transparent_level_or_colour_is_white() -> None:
    """A transparent level or colour is white."""
    assert grey(encode(Image.frombytes("L", (2, 1), b"\0\x50"), "PNG", transparency=0x50)).tobytes() == b"\0\xff"
    colours = Image.frombytes("RGB", (2, 1), b"\x50\x50\x50\x51\x51\x51")
    assert grey(encode(colours, "PNG", transparency=(80, 80, 80))).tobytes() == b"\xff\x51"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled(kind: str) -> None:
    """16 bits are scaled to 8, not clipped."""
    levels = [0, 128, 129, 257 * 90, 40_000, 65_406, 65_407, 65_535]
    image = Image.frombytes("I;16", (len(levels), 1), struct.pack(f"<{len(levels)}H", *levels))
    assert list(grey(encode(image, kind)).tobytes()) == [round(level / 257) for level in levels]


def deep_tiff(values: bytes, bits: int, sample: int = 1, photometric: int = 1) -> bytes:
    count = len(values) * 8 // bits
    tags = [(256, 4, 1, count), (257, 4, 1, 1), (258, 3, 1, bits), (262, 3, 1, photometric), (273, 4, 1, 122)]
    tags += [(277, 3, 1, 1), (278, 4, 1, 1), (279, 4, 1, len(values)), (339, 3, 1, sample)]
    return tiff(*tags, after=values)


def test_white_is_zero_tiff_is_inverted() -> None:
    """A TIFF whose zero is white is inverted."""
    values = struct.pack("<4H", 0, 257 * 100, 257 * 200, 65_535)
    assert list(grey(deep_tiff(values, 16, photometric=0)).tobytes()) == [255, 155, 55, 0]


def test_twelve_bits_are_scaled() -> None:
    """12 bits are scaled by their own range."""
    assert list(grey(deep_tiff(b"\x00\x0f\xff", 12)).tobytes()) == [0, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.0, 0.25, 0.5, 1.0), [0, 64, 128, 255]),
        ((0.0, 2.0, 100.0, 255.0), [0, 2, 100, 255]),
        ((0.0, 257.0, 25_700.0, 65_535.0), [0, 1, 100, 255]),
        ((-100.0, 0.0, 100.0, 100_000.0), [0, 0, 1, 255]),
        ((-7.0, -7.0, -7.0, -7.0), [0, 0, 0, 0]),
    ],
)
def test_floats_use_the_smallest_usual_range(values: tuple[float, ...], expected: list[int]) -> None:
    """Floating point values use the smallest usual range that holds them."""
    assert list(grey(deep_tiff(struct.pack("<4f", *values), 32, sample=3)).tobytes()) == expected


def test_long_integers_use_the_smallest_usual_range() -> None:
    """32-bit integers use the smallest usual range that holds them."""
    assert list(grey(deep_tiff(struct.pack("<4i", 0, 1, 200, 255), 32, sample=2)).tobytes()) == [0, 1, 200, 255]
    assert list(grey(deep_tiff(struct.pack("<4i", -(2**31), 0, 1, 2**31 - 1), 32, sample=2)).tobytes()) == [
        0,
        128,
        128,
        255,
    ]


def test_one_bit_is_black_or_white() -> None:
    """One-bit images are black and white."""
    assert grey(encode(Image.frombytes("1", (8, 1), b"\xa0"), "PNG")).tobytes() == b"\xff\0\xff" + bytes(5)


def test_cmyk_is_ink() -> None:
    """CMYK values are amounts of ink."""
    image = photo().convert("CMYK")
    for kind, tolerance in (("JPEG", 6), ("TIFF", 1)):
        assert max_difference(grey(encode(image, kind)), photo()) <= tolerance


def test_lab_is_converted() -> None:
    """LAB is converted through sRGB."""
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(photo(), srgb, lab, outputMode="LAB")
    assert image
    assert max_difference(grey(encode(image, "TIFF")), photo()) <= 6  # LAB itself has 256 levels only


@pytest.mark.parametrize("kind", ["GIF animated", "WEBP animated", "JPEG MPO"])
def test_first_frame_is_converted(kind: str) -> None:
    """The first frame of an animation is converted."""
    assert max_difference(grey(samples()[kind]), photo(90, 60)) < max_difference(
        grey(samples()[kind]), photo(90, 60).rotate(180)
    )


def test_first_page_is_converted() -> None:
    """The first page of a TIFF is converted."""
    pages = encode(photo(90, 60), "TIFF", save_all=True, append_images=[photo(20, 20)])
    assert max_difference(grey(pages), photo(90, 60)) == 0


def test_strips_have_no_seams() -> None:
    """The strips of a large image have no seams."""
    tall = Image.linear_gradient("L").resize((1500, 2200))
    assert max_difference(grey(encode(tall.convert("RGB"), "PNG", compress_level=1)), tall) == 0


def test_mapped_file_equals_bytes(tmp_path: Path) -> None:
    """A memory-mapped file is converted like bytes."""
    for kind, data in samples().items():
        path = tmp_path / kind
        path.write_bytes(data)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert convert(mapped, ".jpg") == convert(data, ".jpg")


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("kind", [kind for kind in samples() if kind != "JPEG MPO"])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_truncated_image_is_rejected(kind: str, extension: str) -> None:
    """A truncated image of any format is rejected."""
    data = samples()[kind]
    assert rejection(data[: len(data) * 6 // 10], extension).code in ("truncated", "damaged")


@pytest.mark.skipif(not lossless.available(), reason="Pillow alone does not tell")
@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive", "JPEG CMYK"])
@pytest.mark.parametrize("extension", [".jpg", ".png"])
def test_truncated_jpeg_with_end_marker_is_rejected(kind: str, extension: str) -> None:
    """A truncated JPEG is rejected although an end marker was appended."""
    data = samples()[kind]
    assert rejection(data[: len(data) * 8 // 10] + b"\xff\xd9", extension).code in ("truncated", "damaged")


def test_broken_lzw_is_rejected() -> None:
    """A TIFF with broken LZW data is rejected."""
    data = bytearray(samples()["GIF"])
    start = data.index(b"\x2c") + 12 if data.index(b"\x2c") else 0
    data[start : start + 60] = b"\xff" * 60
    assert rejection(bytes(data)).code in ("truncated", "damaged")


def test_metadata_bomb_is_rejected() -> None:
    """A compressed bomb in metadata, as text or as a profile, is rejected without decompression."""
    bomb = zlib.compress(bytes(100_000_000))
    assert rejection(png(9, 9, (b"zTXt", b"Comment\0\0" + bomb))).code == "damaged"
    assert rejection(png(9, 9, (b"iCCP", b"profile\0\0" + bomb))).code == "damaged"


def test_pixel_bomb_is_rejected() -> None:
    """A decompression bomb is rejected by its size in pixels."""
    assert rejection(png_bomb(50_000)).code == "too_large"
    assert rejection(png(101, 100), limits=Limits(10_000)).code == "too_large"


def test_oversized_frame_is_rejected() -> None:
    """A frame larger than its animation's limit is rejected."""
    data = bytearray(encode(photo(300, 300).quantize(8), "GIF"))
    data[6:10] = struct.pack("<HH", 10, 10)
    assert rejection(bytes(data), limits=Limits(10_000)).code == "too_large"


def test_cyclic_tiff_directories_are_harmless() -> None:
    """Cyclic directories and absurd tags of a TIFF end with an image or BadImage."""
    good = bytearray(encode(photo(20, 10), "TIFF"))
    (directory,) = struct.unpack_from("<I", good, 4)
    (entries,) = struct.unpack_from("<H", good, directory)
    struct.pack_into("<I", good, directory + 2 + 12 * entries, directory)  # the next directory is this one
    assert grey(bytes(good)).size == (20, 10)
    struct.pack_into("<HHII", good, directory + 2 + 12 * (entries - 1), 700, 1, 2**31, 8)
    assert grey(bytes(good)).size == (20, 10)


@given(st.sampled_from(list(samples())), st.data())
@settings(max_examples=300 if FULL else 60)
def test_damaged_file_is_image_or_bad_image(kind: str, data: st.DataObject) -> None:
    """A damaged file is converted, or raises BadImage and nothing else."""
    changed = bytearray(samples()[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    code = ""
    try:
        convert(bytes(changed), data.draw(st.sampled_from([".jpg", ".png"])), Limits(1_000_000))
    except BadImage as bad:
        code = bad.code
    assert code in ("", "unsupported", "truncated", "damaged", "too_large", "memory")
