"""A TIFF is converted to the picture of an independent decoder, or rejected by its header."""

import io
import itertools
import logging
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from frota.images.converter.grayscale import convert
from frota.images.formats import BadImage, read_header
from support import FULL
from support.pictures import decode, encode, orientation, photo
from support.tiff_layouts import (
    CMYK,
    FLOAT,
    HEIGHT,
    INT,
    MIN_IS_BLACK,
    MIN_IS_WHITE,
    PALETTE,
    RGB,
    UINT,
    WIDTH,
    YCBCR,
    Layout,
    Samples,
    colours,
    expected_levels,
    ramp,
    write,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PART = 5  # one of so many layouts is tested; no divisor of the number of layouts
LEVELS = 3  # of 255: 16 bits with premultiplied alpha are rounded twice
Kind = tuple[int, int, int, tuple[int, ...]]
# Photometric interpretation, bits, sample format, extra samples.
SUPPORTED: list[Kind] = [
    *((zero, bits, UINT, ()) for zero in (MIN_IS_WHITE, MIN_IS_BLACK) for bits in (1, 2, 4, 8, 16)),
    (MIN_IS_BLACK, 12, UINT, ()),
    *((MIN_IS_BLACK, bits, kind, ()) for bits, kind in ((16, INT), (32, INT), (32, FLOAT))),
    *((MIN_IS_BLACK, 8, UINT, (extra,)) for extra in (0, 1, 2)),
    *((RGB, 8, UINT, extra) for extra in ((), (0,), (1,), (2,), (0, 0), (1, 0), (2, 0), (0, 0, 0), (1, 0, 0))),
    *((RGB, 16, UINT, extra) for extra in ((), (0,), (1,), (2,))),
    *((PALETTE, bits, UINT, ()) for bits in (1, 2, 4, 8)),
    (PALETTE, 8, UINT, (0,)),
    (PALETTE, 8, UINT, (2,)),
    *((CMYK, bits, UINT, extra) for bits, extra in ((8, ()), (8, (0,)), (16, ()))),
]
UNSUPPORTED: list[Kind] = [
    *((zero, bits, UINT, ()) for zero in (MIN_IS_WHITE, MIN_IS_BLACK) for bits in (3, 6, 10, 14, 32, 64)),
    (MIN_IS_WHITE, 12, UINT, ()),
    *((zero, bits, INT, ()) for zero in (MIN_IS_WHITE, MIN_IS_BLACK) for bits in (8, 64)),
    *((MIN_IS_WHITE, bits, kind, ()) for bits, kind in ((16, INT), (32, INT), (32, FLOAT))),
    *((zero, bits, FLOAT, ()) for zero in (MIN_IS_WHITE, MIN_IS_BLACK) for bits in (16, 24, 64)),
    *((zero, 16, UINT, (extra,)) for zero in (MIN_IS_WHITE, MIN_IS_BLACK) for extra in (0, 1, 2)),
    *((MIN_IS_WHITE, 8, UINT, (extra,)) for extra in (0, 1, 2)),
    (MIN_IS_BLACK, 8, UINT, (0, 0)),
    *((RGB, bits, UINT, ()) for bits in (1, 2, 4, 32)),
    *((RGB, bits, kind, ()) for bits, kind in ((8, INT), (16, INT), (16, FLOAT), (32, FLOAT))),
    *((RGB, 16, UINT, extra) for extra in ((0, 0), (2, 0))),
    (RGB, 8, UINT, (2, 2)),
    (PALETTE, 16, UINT, ()),
    (PALETTE, 8, UINT, (1,)),
    *((CMYK, bits, UINT, (2,)) for bits in (8, 16)),
    (4, 1, UINT, ()),
    (9, 8, UINT, (0, 0)),
    (32_803, 16, UINT, ()),
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Silence the warnings of the independent decoder."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("tifffile").setLevel(logging.NOTSET)


def layouts(kind: Kind) -> Iterator[Layout]:
    """Yield the layouts of a kind of pixels."""
    photometric, bits, number, extra = kind
    product = itertools.product((False, True), (False, True), ("none", "lzw", "packbits"), (False, True), (False, True))
    for planar, big_endian, compression, tiled, reversed_bits in product:
        yield Layout(photometric, bits, number, extra, planar, big_endian, compression, tiled, 1, reversed_bits)
    for big_endian in (False, True):
        for compression in ("deflate", "old deflate", "lzma", "zstd"):
            yield Layout(photometric, bits, number, extra, False, big_endian, compression)
        yield Layout(photometric, bits, number, extra, big_endian=big_endian, big=True)
        for predictor, planar in itertools.product((2, 3), (False, True)):
            if (predictor == 2 and bits in (8, 16, 32)) or (predictor == 3 and number == FLOAT and bits != 24):
                yield Layout(photometric, bits, number, extra, planar, big_endian, "lzw", False, predictor)


def some_layouts(kind: Kind) -> list[Layout]:
    """Return every layout of a kind or, in part, every fifth, with a different start for each kind."""
    every = list(layouts(kind))
    return every if FULL else every[[*SUPPORTED, *UNSUPPORTED].index(kind) % PART :: PART]


def samples_of(layout: Layout) -> Samples:
    """Return a ramp, premultiplied if the alpha is associated."""
    samples = ramp(layout)
    if 1 in layout.extra:
        alpha = samples[..., layout.samples - len(layout.extra)].astype(float) / (2**layout.bits - 1)
        count = layout.samples - len(layout.extra)
        samples[..., :count] = np.floor(samples[..., :count] * alpha[..., None])
    return samples


def rejection(data: bytes) -> BadImage | None:
    try:
        read_header(data)
    except BadImage as bad:
        return bad
    return None


def max_difference(data: bytes, expected: Samples) -> float:
    result = np.asarray(decode(convert(data, ".png").data), float)
    assert result.shape == expected.shape
    return float(np.abs(result - expected).max())


def independent(data: bytes, layout: Layout) -> Samples:
    """Return the samples that the independent decoder finds, rows, columns, samples."""
    decoded: Samples = np.asarray(tifffile.imread(io.BytesIO(data)))
    moved = np.moveaxis(decoded, 0, -1) if layout.planar and layout.samples > 1 else decoded
    return moved.reshape(*ramp(layout).shape)


@pytest.mark.parametrize("kind", SUPPORTED, ids=str)
def test_supported_layouts_are_converted_right(
    kind: Kind,
) -> None:
    """Each layout of a supported kind is converted right, or rejected by its header."""
    converted = 0
    for layout in some_layouts(kind):
        samples = samples_of(layout)
        data = write(layout, samples)
        if bad := rejection(data):
            assert bad.code == "unsupported", layout
            assert "converta-o para PNG" in bad.text, layout
            continue
        assert np.array_equal(independent(data, layout), samples), layout
        assert max_difference(data, expected_levels(layout, samples)) <= LEVELS, layout
        converted += 1
    assert converted >= (12 if FULL else 2)


@pytest.mark.parametrize("kind", UNSUPPORTED, ids=str)
def test_unsupported_kinds_are_rejected(
    kind: Kind,
) -> None:
    """Each layout of an unsupported kind is rejected by its header."""
    for layout in some_layouts(kind):
        if layout.predictor == 1:
            bad = rejection(write(layout, ramp(layout)))
            assert bad, layout
            assert bad.code == "unsupported", layout


PLAIN = Layout(RGB, 8)


@pytest.mark.parametrize(
    ("layout", "tag", "kind", "values"),
    [
        (PLAIN, 258, "H", [8, 8, 16]),
        (PLAIN, 258, "H", [5, 6, 5]),
        (PLAIN, 258, "H", [8, 8]),
        (PLAIN, 339, "H", [1, 1, 2]),
        (PLAIN, 339, "H", [4, 4, 4]),
        (PLAIN, 277, "H", [1]),
        (PLAIN, 277, "H", [4]),
        (PLAIN, 277, "H", [5]),
        (PLAIN, 338, "H", [2]),
        (PLAIN, 338, "H", [999]),
        (PLAIN, 284, "H", [3]),
        (PLAIN, 317, "H", [2]),  # which has no effect on uncompressed pixels
        (PLAIN, 259, "H", [6]),
        (PLAIN, 259, "H", [50_001]),
        (PLAIN, 259, "H", [34_887]),
        (PLAIN, 262, "H", [6]),  # YCbCr with the colours of four pixels in one, unless it says otherwise
        (PLAIN, 262, "H", [10]),
        (Layout(MIN_IS_BLACK, 8), 277, "H", [2]),
        (Layout(CMYK, 8), 332, "H", [2]),  # inks that are none of the four
        (Layout(PALETTE, 4), 320, "H", [int(level) // 257 for level in colours(Layout(PALETTE, 4)).T.ravel()]),
        (Layout(PALETTE, 4), 320, "H", [65_535] * 47),
        (Layout(RGB, 8, tiled=True), 322, "I", [20]),
        (PLAIN, 273, "I", [0, 8, 8]),  # a missing strip
    ],
)
def test_misleading_tag_is_rejected(layout: Layout, tag: int, kind: str, values: Sequence[int]) -> None:
    """A tag that would change the picture is rejected."""
    bad = rejection(write(layout, ramp(layout), (tag, kind, values)))
    assert bad
    assert bad.code == "unsupported"


@pytest.mark.parametrize("tag", [262, 258, 277])
def test_missing_tag_without_default_is_rejected(tag: int) -> None:
    """A missing tag without a common default is rejected."""
    bad = rejection(write(PLAIN, ramp(PLAIN), leave_out=(tag,)))
    assert bad
    assert bad.code == "unsupported"


def test_missing_strips_are_rejected() -> None:
    """A picture with missing strips is rejected."""
    for layout in (PLAIN, Layout(RGB, 8, planar=True), Layout(RGB, 8, compression="lzw")):
        data = write(layout, ramp(layout), (278, "I", [2]))  # of two rows each, there would have to be ten
        bad = rejection(data)
        assert bad
        assert bad.code == "damaged"


def test_rejection_names_the_layout() -> None:
    """The rejection names the layout."""
    layout = Layout(RGB, 16, planar=True, big_endian=True)
    assert str(rejection(write(layout, ramp(layout)))) == (
        "TIFF RGB de 16 bits com 3 amostras por pixel em planos separados em ordem big-endian (sem compressão) não é"
        " suportado: converta-o para PNG, ou para TIFF de 8 bits por canal em RGB, sem planos separados"
    )


def by_independent_writer(samples: Samples, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **options)
    return file.getvalue()


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "rgb"},
        {"photometric": "rgb", "planarconfig": "separate"},
        *({"photometric": "ycbcr", "subsampling": subsampling} for subsampling in ((1, 1), (2, 1), (2, 2))),
    ],
    ids=str,
)
def test_jpeg_in_tiff_keeps_its_colours(options: dict[str, Any], byteorder: str, tile: Any) -> None:
    """A JPEG-compressed TIFF keeps its colours."""
    rgb, planar = ramp(PLAIN), "planarconfig" in options
    data = by_independent_writer(
        np.moveaxis(rgb, -1, 0) if planar else rgb, compression="jpeg", byteorder=byteorder, tile=tile, **options
    )
    decoded = np.asarray(tifffile.imread(io.BytesIO(data)))
    assert max_difference(data, expected_levels(PLAIN, np.moveaxis(decoded, 0, -1) if planar else decoded)) <= LEVELS


def test_grey_and_cmyk_jpeg_in_tiff() -> None:
    """Grey and CMYK JPEG-compressed TIFFs are converted right."""
    for photometric, layout in (
        ("minisblack", Layout(1, 8)),
        ("miniswhite", Layout(0, 8)),
        ("separated", Layout(5, 8)),
    ):
        data = by_independent_writer(np.squeeze(ramp(layout)), compression="jpeg", photometric=photometric)
        decoded = np.asarray(tifffile.imread(io.BytesIO(data))).reshape(ramp(layout).shape)
        assert max_difference(data, expected_levels(layout, decoded)) <= LEVELS


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4"])
def test_fax_is_black_on_white(compression: str) -> None:
    """A fax is black on white."""
    page = Image.fromarray(ramp(Layout(1, 8))[..., 0]).convert("1")
    assert max_difference(encode(page, "TIFF", compression=compression), np.asarray(page, float) * 255) == 0


@pytest.mark.parametrize("compression", ["none", "lzw"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_ycbcr_needs_full_sampling(compression: str, big_endian: bool) -> None:
    """YCbCr is converted only without subsampling."""
    rgb = ramp(PLAIN)
    apart_samples = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    layout = Layout(YCBCR, 8, compression=compression, big_endian=big_endian)
    assert max_difference(write(layout, apart_samples, (530, "H", [1, 1])), expected_levels(PLAIN, rgb)) <= LEVELS
    for subsampling in ((2, 1), (2, 2)):
        assert rejection(write(layout, apart_samples, (530, "H", subsampling)))
    assert rejection(write(layout, apart_samples)), "two by two is the default subsampling"


def test_lab_needs_one_plane() -> None:
    """CIELab is converted only from one plane."""
    rgb = Image.fromarray(ramp(PLAIN))
    srgb, cielab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(rgb, srgb, cielab, outputMode="LAB")
    assert lab
    back = ImageCms.profileToProfile(lab, cielab, srgb, outputMode="RGB")
    assert back
    data = write(PLAIN, np.asarray(lab), (262, "H", [8]))
    assert max_difference(data, np.asarray(back.convert("L"), float)) <= LEVELS
    assert rejection(write(PLAIN._replace(planar=True), np.asarray(lab), (262, "H", [8])))


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize(
    "layout", [PLAIN, Layout(RGB, 8, compression="lzw", tiled=True), Layout(YCBCR, 8, compression="lzw")], ids=str
)
def test_orientation_is_applied(layout: Layout, value: int) -> None:
    """The orientation is applied in every layout."""
    rgb = ramp(PLAIN)
    samples = np.asarray(Image.fromarray(rgb).convert("YCbCr")) if layout.photometric == YCBCR else rgb
    data = write(layout, samples, (274, "H", [value]), *([(530, "H", [1, 1])] if layout.photometric == YCBCR else []))
    level = expected_levels(PLAIN, rgb)
    if value >= 5:
        level = level.T
    upside_down, left_to_right = value in (3, 4, 7, 8), value in (2, 3, 6, 7)
    expected = level[:: -1 if upside_down else 1, :: -1 if left_to_right else 1]
    assert max_difference(data, expected) <= LEVELS


def test_only_the_first_page_counts() -> None:
    """Only the first page must be supported."""
    good, odd = np.squeeze(ramp(Layout(1, 8))), ramp(Layout(1, 64, FLOAT))[..., 0]
    for first, second, accepted in ((good, odd, True), (odd, good, False)):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as pages:
            pages.write(first, photometric="minisblack")
            pages.write(second, photometric="minisblack")
        assert (rejection(file.getvalue()) is None) is accepted


def test_wrong_tag_type_is_rejected() -> None:
    """A tag of a wrong type is rejected."""
    data = bytearray(encode(photo(9, 9), "TIFF", exif=orientation(1)))
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    for place in range(directory + 2, directory + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, place)[0] == 262:
            struct.pack_into("<H", data, place + 2, 11)  # FLOAT
    bad = rejection(bytes(data))
    assert bad
    assert bad.code == "damaged"


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", [(MIN_IS_BLACK, 1), (RGB, 8), (MIN_IS_BLACK, 12)])
def test_short_raw_strip_is_rejected(kind: tuple[int, int], planar: bool, tiled: bool) -> None:
    """An uncompressed strip or tile that is too short is rejected."""
    layout = Layout(*kind, planar=planar and kind[0] == RGB, tiled=tiled)
    data = write(layout, ramp(layout))
    assert rejection(data) is None
    with tifffile.TiffFile(io.BytesIO(data)) as pages:
        sizes = [int(size) for size in pages.pages[0].databytecounts]
    for place in range(len(sizes)):
        short = [size - (number == place) for number, size in enumerate(sizes)]
        bad = rejection(write(layout, ramp(layout), (325 if tiled else 279, "I", short)))
        assert bad, place
        assert bad.code == "damaged"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("place", [(0, 0), (11, 7), (HEIGHT - 1, WIDTH - 1)], ids=str)
def test_non_finite_values_are_rejected(value: float, place: tuple[int, int]) -> None:
    """NaN and infinite values are rejected."""
    layout = Layout(MIN_IS_BLACK, 32, FLOAT)
    samples = ramp(layout)
    samples[place] = value
    with pytest.raises(BadImage, match="NaN ou infinito") as caught:
        convert(write(layout, samples), ".png")
    assert caught.value.code == "unsupported"


def test_largest_finite_values_are_accepted() -> None:
    """The largest finite values are accepted."""
    layout = Layout(MIN_IS_BLACK, 32, FLOAT)
    samples = ramp(layout)
    samples[0], samples[-1] = np.finfo("f4").min, np.finfo("f4").max
    shade = np.asarray(decode(convert(write(layout, samples), ".png").data))
    assert (shade[0] == 0).all()
    assert (shade[-1] == 255).all()


@pytest.mark.parametrize(
    ("low", "high", "black", "white"),
    [
        (0, 1.0001, 0, 1),
        (-0.01, 1.05, 0, 1),
        (-0.04, 0.99, 0, 1),
        (0, 267, 0, 255),
        (-9, 200, 0, 255),
        (-3_000, 68_000, 0, 65_535),
        (0, 1.06, 0, 255),
        (-1, 1, -1, 1),
        (-0.2, 0.9, -0.2, 0.9),
        (-10, 30, -10, 30),
        (-100, 69_000, -100, 69_000),
    ],
)
def test_small_overshoot_is_clipped(low: float, high: float, black: float, white: float) -> None:
    """Values slightly beyond a usual range are clipped."""
    layout = Layout(MIN_IS_BLACK, 32, FLOAT)
    samples = (ramp(layout) * 0.9 * high).astype("f4")
    samples[0, 0], samples[0, 1] = low, high
    expected = np.clip((samples[..., 0].astype(float) - black) / (white - black), 0, 1) * 255
    assert max_difference(write(layout, samples), expected) <= 1


def rational(data: bytes, tag: int) -> bytes:
    """Return a little-endian TIFF with a tag's pairs of LONG declared as RATIONAL."""
    changed = bytearray(data)
    (directory,) = struct.unpack_from("<I", changed, 4)
    (entries,) = struct.unpack_from("<H", changed, directory)
    for place in range(directory + 2, directory + 2 + 12 * entries, 12):
        number, _, count = struct.unpack_from("<HHI", changed, place)
        if number == tag:
            struct.pack_into("<HI", changed, place + 2, 5, count // 2)
    return bytes(changed)


@pytest.mark.parametrize("denominator", [1, 1000])
def test_ycbcr_coding_range_is_rejected(denominator: int) -> None:
    """YCbCr with a coding range is rejected."""
    samples = np.asarray(Image.fromarray(ramp(PLAIN)).convert("YCbCr"))
    for levels, accepted in (((0, 255, 128, 255, 128, 255), True), ((16, 235, 128, 240, 128, 240), False)):
        pairs = [value for level in levels for value in (level * denominator, denominator)]
        data = write(Layout(YCBCR, 8), samples, (530, "H", [1, 1]), (532, "I", pairs))
        bad = rejection(rational(data, 532))
        assert (bad is None) is accepted
        assert bad is None or bad.code == "unsupported"


def test_coding_range_of_others_is_ignored() -> None:
    """A coding range of other colour models is ignored."""
    pairs = [value for level in (0, 255, 0, 255, 0, 255) for value in (level, 1)]
    assert rejection(rational(write(PLAIN, ramp(PLAIN), (532, "I", pairs)), 532)) is None
