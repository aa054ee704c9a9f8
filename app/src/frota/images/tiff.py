"""Reads a TIFF's first directory (TIFF 6.0; BigTIFF), and decides whether its layout is supported.

TIFF has some thousand layouts of pixels. Pillow and libtiff decode some of them to a wrong picture without an error. So
the table lists the layouts that were compared with an independent decoder; all others are rejected before decoding.
No I/O.
"""

import mmap
import struct
from collections.abc import Mapping
from typing import NamedTuple

WIDTH, HEIGHT, STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES = 256, 257, 273, 279, 324, 325
_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _STRIP_ROWS = 258, 259, 262, 266, 277, 278
_PLANAR, _PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _INKS, _EXTRA, _FORMAT = (
    284,
    317,
    320,
    322,
    323,
    332,
    338,
    339,
)
_SUBSAMPLING, _REFERENCE = 530, 532
_WANTED = frozenset((WIDTH, HEIGHT, STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES, _BITS, _COMPRESSION)) | {
    _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _STRIP_ROWS, _PLANAR, _PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _INKS,
    _EXTRA, _FORMAT, _SUBSAMPLING, _REFERENCE,
}  # fmt: skip
_PARTS = frozenset((STRIP_OFFSETS, STRIP_SIZES, TILE_OFFSETS, TILE_SIZES))
_MAX_STRIPS = 1 << 17  # also the most values read of any other tag: no supported layout has more
_MAX_TAGS = 1_000  # of a directory, ascending: ours are 532 at most
_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}  # BYTE, SHORT, LONG and BigTIFF's LONG8
_RATIONAL = 5  # a numerator and a denominator, both LONG
_ONE = {(order, kind): struct.Struct(order + code) for order in "<>" for kind, code in _TYPES.items()}

Tags = Mapping[int, tuple[int, ...]]

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _MAPPED, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_RAW, _JPEG = 1, 7
_FULL_RANGE = (0, 255, 128, 255, 128, 255)  # black and white of Y, Cb, Cr without a coding range (TIFF 6.0, 20)
_FAX = (2, 3, 4)
_LOSSLESS = {
    _RAW: "sem compressão",
    5: "LZW",
    8: "deflate",
    32946: "deflate",
    32773: "PackBits",
    34925: "LZMA",
    50000: "ZSTD",
}
_PREDICTED = (5, 8, 32946, 34925, 50000)  # compressions with predictors
_NEVER, _IF_RAW, _IF_PACKED, _ALWAYS = (
    frozenset[bool](),
    frozenset((True,)),
    frozenset((False,)),
    frozenset((True, False)),
)


class _Known(NamedTuple):
    """Which variants of a kind of pixel are decoded right, each for raw (True) and compressed (False) data."""

    planes: frozenset[bool] = _IF_PACKED  # each sample in a plane of its own
    big_endian: frozenset[bool] = _ALWAYS
    reversed_bits: frozenset[bool] = _NEVER


_ANY_BITS, _PACKED_BITS, _LITTLE = (
    _Known(reversed_bits=_ALWAYS),
    _Known(reversed_bits=_IF_PACKED),
    _Known(big_endian=_NEVER),
)
_DEEP = _Known(big_endian=_IF_RAW)
_ONE_PLANE = _Known(planes=_NEVER)
# By photometric interpretation, sample format, bits of each sample, extra samples (0: unspecified, 1 and 2: alpha).
_Table = Mapping[tuple[int, int, int, tuple[int, ...]], _Known]
_RIGHT: _Table = {
    **{(zero, _UNSIGNED, bits, ()): _ANY_BITS for zero in (0, 1) for bits in (1, 2, 4)},
    (_WHITE_IS_ZERO, _UNSIGNED, 8, ()): _PACKED_BITS,
    (_WHITE_IS_ZERO, _UNSIGNED, 16, ()): _LITTLE,
    (_BLACK_IS_ZERO, _UNSIGNED, 8, ()): _ANY_BITS,
    (_BLACK_IS_ZERO, _UNSIGNED, 12, ()): _LITTLE,
    (_BLACK_IS_ZERO, _UNSIGNED, 16, ()): _Known(),
    (_BLACK_IS_ZERO, _SIGNED, 16, ()): _DEEP,
    (_BLACK_IS_ZERO, _SIGNED, 32, ()): _DEEP,
    (_BLACK_IS_ZERO, _FLOAT, 32, ()): _DEEP,
    **{(_BLACK_IS_ZERO, _UNSIGNED, 8, (extra,)): _ONE_PLANE for extra in (0, 1, 2)},
    (_RGB, _UNSIGNED, 8, ()): _Known(planes=_ALWAYS, reversed_bits=_IF_PACKED),
    (_RGB, _UNSIGNED, 8, (2,)): _Known(planes=_ALWAYS),
    **{(_RGB, _UNSIGNED, 8, extra): _Known() for extra in ((0,), (1,), (0, 0))},
    **{(_RGB, _UNSIGNED, 8, extra): _ONE_PLANE for extra in ((1, 0), (2, 0), (0, 0, 0), (1, 0, 0), (2, 0, 0))},
    **{(_RGB, _UNSIGNED, 16, extra): _Known() for extra in ((), (0,), (1,), (2,))},
    **{(_MAPPED, _UNSIGNED, bits, ()): _PACKED_BITS for bits in (1, 2, 4, 8)},
    **{(_MAPPED, _UNSIGNED, 8, (extra,)): _ONE_PLANE for extra in (0, 2)},
    (_CMYK, _UNSIGNED, 8, ()): _Known(planes=_ALWAYS),
    (_CMYK, _UNSIGNED, 8, (0,)): _Known(),
    (_CMYK, _UNSIGNED, 16, ()): _Known(),
    (_YCBCR, _UNSIGNED, 8, ()): _Known(),
    (_LAB, _UNSIGNED, 8, ()): _ONE_PLANE,
}
_IN_JPEG: _Table = {
    **{(colour, _UNSIGNED, 8, ()): _ONE_PLANE for colour in (0, 1, _CMYK, _YCBCR)},
    (_RGB, _UNSIGNED, 8, ()): _Known(),
}
_IN_FAX: _Table = {(zero, _UNSIGNED, 1, ()): _Known(planes=_NEVER, reversed_bits=_ALWAYS) for zero in (0, 1)}

_COLOURS = {
    0: "em tons de cinza (0 é branco)",
    1: "em tons de cinza",
    2: "RGB",
    3: "com paleta",
    4: "de máscara",
    5: "CMYK",
}
_COLOURS |= {
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32803: "de câmera (CFA)",
    34892: "de câmera (LinearRaw)",
}
_FORMATS = {1: "", 2: " com sinal", 3: " de ponto flutuante"}
_COMPRESSIONS = {
    2: "CCITT",
    3: "CCITT G3",
    4: "CCITT G4",
    6: "JPEG antigo",
    7: "JPEG",
    34712: "JPEG 2000",
    34887: "LERC",
}
_COMPRESSIONS |= {50001: "WebP", 52546: "JPEG XL", 50002: "JPEG XL"}
_ADVICE = "não é suportado: converta-o para PNG, ou para TIFF de 8 bits por canal em RGB, sem planos separados"


class InvalidDirectory(Exception):
    """The directory is malformed."""


class UnsupportedLayout(Exception):
    """The layout is not supported; the text names it in Portuguese."""


def directory(data: bytes | mmap.mmap) -> Tags:
    """Return the tags of the first directory that describe where the pixels are and how they are encoded.

    Raises InvalidDirectory, struct.error at the end of the file, and UnsupportedLayout for a big-endian BigTIFF.
    """
    order = "<" if data[:1] == b"I" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    if big and order == ">":
        raise UnsupportedLayout(f"BigTIFF em ordem big-endian {_ADVICE}")
    (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (entries,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    at += 8 if big else 2
    head, step, inline = struct.Struct(order + ("HHQ" if big else "HHI")), 20 if big else 12, 8 if big else 4
    place_of = struct.Struct(order + ("Q" if big else "I"))
    tags: dict[int, tuple[int, ...]] = {}
    for place in range(at, at + min(entries, _MAX_TAGS) * step, step):
        tag, kind, count = head.unpack_from(data, place)
        if tag in _WANTED:
            if tag == _REFERENCE and kind == _RATIONAL:
                kind, count = 4, 2 * count
            elif tag == _REFERENCE and kind not in _TYPES:  # used by YCbCr only, which is rejected without it
                tags[tag] = ()
                continue
            if tag in tags or kind not in _TYPES or (tag in _PARTS and count > _MAX_STRIPS):
                raise InvalidDirectory
            if count == 1 and (big or kind != 16):
                tags[tag] = _ONE[order, kind].unpack_from(data, place + head.size)
                continue
            values, value = struct.Struct(f"{order}{min(count, _MAX_STRIPS)}{_TYPES[kind]}"), place + head.size
            if values.size > inline:
                (value,) = place_of.unpack_from(data, value)
            tags[tag] = values.unpack_from(data, value)
    return tags


def check_layout(tags: Tags, *, big_endian: bool) -> None:
    """Raise UnsupportedLayout for layouts outside of the table, InvalidDirectory if pixels are missing."""
    layout = _Layout.of(tags, big_endian=big_endian)
    if not layout.supported(tags):
        raise UnsupportedLayout(f"TIFF {layout} {_ADVICE}")
    _check_parts(tags, layout)


def _check_parts(tags: Tags, layout: "_Layout") -> None:
    """Raise if strips or tiles are too few or too short: their pixels would be black, or from other memory."""
    (width, *_), (height, *_) = tags[WIDTH], tags[HEIGHT]
    if STRIP_OFFSETS in tags:
        across, down = width, min(_one(tags, _STRIP_ROWS, height), height)
        parts = -(-height // down) if down else 0
        last = height - down * (parts - 1)
        offsets, sizes = tags[STRIP_OFFSETS], tags.get(STRIP_SIZES, ())
    else:
        across, down = (_one(tags, tag, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
        if not across or not down or across % 16 or down % 16:
            raise UnsupportedLayout(f"TIFF em blocos de {across} x {down} pixels {_ADVICE}")
        parts, last = -(-width // across) * -(-height // down), down
        offsets, sizes = tags[TILE_OFFSETS], tags.get(TILE_SIZES, ())
    count = parts * (layout.samples if layout.planes else 1)
    if not parts or len(offsets) < count or (sizes and len(sizes) < count):
        raise InvalidDirectory
    if not all(offsets) or not all(sizes):
        raise UnsupportedLayout(f"TIFF com partes vazias {_ADVICE}")
    if sizes and layout.compression == _RAW:
        row = -(-across * layout.bits * (1 if layout.planes else layout.samples) // 8)
        min_sizes = [down * row] * (parts - 1) + [last * row]  # of the parts of each plane
        if any(size < min_sizes[index % parts] for index, size in enumerate(sizes[:count])):
            raise InvalidDirectory


class _Layout(NamedTuple):
    """How the pixels are stored by the directory, with TIFF's defaults."""

    photometric: int
    format: int
    bits: int  # of each sample; 0 where they differ
    extra: tuple[int, ...]
    samples: int
    compression: int
    planes: bool
    big_endian: bool
    reversed_bits: bool
    predictor: int

    @classmethod
    def of(cls, tags: Tags, *, big_endian: bool) -> "_Layout":
        """Read the layout from the tags; -1 is a missing tag without default."""
        samples = _one(tags, _SAMPLES, 1)
        return cls(
            _one(tags, _PHOTOMETRIC, -1),
            _same(tags.get(_FORMAT, (1,)), samples),
            _same(tags.get(_BITS, (1,)), samples),
            tags.get(_EXTRA, ()),
            samples,
            _one(tags, _COMPRESSION, _RAW),
            _one(tags, _PLANAR, 1) != 1,
            big_endian,
            _one(tags, _FILL_ORDER, 1) != 1,
            _one(tags, _PREDICTOR, 1),
        )

    def supported(self, tags: Tags) -> bool:
        """Tell whether the layout is decoded right."""
        known = self._table().get((self.photometric, self.format, self.bits, self.extra))
        raw = self.compression == _RAW
        return (
            known is not None
            and self.samples == {_RGB: 3, _CMYK: 4, _YCBCR: 3, _LAB: 3}.get(self.photometric, 1) + len(self.extra)
            and (not self.planes or raw in known.planes)
            and (not self.big_endian or raw in known.big_endian)
            and (not self.reversed_bits or raw in known.reversed_bits)
            and _one(tags, _PLANAR, 1) in (1, 2)
            and self._predicted()
            and self._colours_known(tags)
        )

    def _table(self) -> _Table:
        if self.compression in _FAX:
            return _IN_FAX
        if self.compression == _JPEG:
            return _IN_JPEG
        return _RIGHT if self.compression in _LOSSLESS else {}

    def _predicted(self) -> bool:
        if self.predictor == 1:
            return True
        allowed = {2: (self.bits in (8, 16, 32)), 3: self.format == _FLOAT}
        return self.compression in _PREDICTED and allowed.get(self.predictor, False)

    def _colours_known(self, tags: Tags) -> bool:
        """Tell whether the samples mean what their photometric interpretation says."""
        if self.photometric == _MAPPED:  # some writers store 8-bit levels instead of 16: almost black
            palette = tags.get(_PALETTE, ())
            return len(palette) == 3 << self.bits and max(palette) > 255
        if self.photometric == _CMYK:
            return _one(tags, _INKS, 1) == 1
        if self.photometric != _YCBCR or self.compression == _JPEG:
            return True
        return tags.get(_SUBSAMPLING, (2, 2)) == (1, 1) and _full_range(tags.get(_REFERENCE, _FULL_RANGE))

    def __str__(self) -> str:
        """Describe the layout in Portuguese."""
        colours = "sem interpretação de cores" if self.photometric < 0 else f"de cores {self.photometric}"
        words = [_COLOURS.get(self.photometric, colours)]
        bits = f"de {self.bits} bit{'s' if self.bits > 1 else ''}" if self.bits > 0 else "de canais de bits diferentes"
        words.append(bits + _FORMATS.get(self.format, " de tipo desconhecido"))
        names = _LOSSLESS | _COMPRESSIONS
        words += [f"com {self.samples} amostras por pixel"] if self.samples > 1 else []
        words += ["em planos separados"] if self.planes else []
        words += ["em ordem big-endian"] if self.big_endian else []
        words += ["de bits invertidos"] if self.reversed_bits else []
        words += [f"com preditor {self.predictor}"] if self.predictor != 1 else []
        words.append(f"({names.get(self.compression, f'compressão {self.compression}')})")
        return " ".join(words)


def _one(tags: Tags, tag: int, default: int) -> int:
    values = tags.get(tag, ())
    return values[0] if values else default


def _same(values: tuple[int, ...], samples: int) -> int:
    """Return the value that all samples share, 0 if they differ; one value may stand for all."""
    if len(values) not in (1, samples) and not len(values) > samples > 0:
        return 0
    distinct = set(values[:samples])
    return distinct.pop() if len(distinct) == 1 else 0


def _full_range(values: tuple[int, ...]) -> bool:
    """Tell whether ReferenceBlackWhite, of integers or of rationals, is the full range."""
    if len(values) != 2 * len(_FULL_RANGE):
        return values == _FULL_RANGE
    pairs = zip(values[::2], values[1::2], _FULL_RANGE, strict=True)
    return all(bottom > 0 and top == level * bottom for top, bottom, level in pairs)
