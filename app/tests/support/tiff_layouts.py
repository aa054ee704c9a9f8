"""TIFFs of every layout, written without an image library, and the expected grey image of each."""

import itertools
import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import imagecodecs
import numpy as np

Samples = np.ndarray[Any, Any]
WIDTH, HEIGHT = 33, 20  # no multiples of a tile, nor of a byte of 1-bit samples
TILE = 16
MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
UINT, INT, FLOAT = 1, 2, 3
COMPRESSIONS = {
    "none": 1,
    "lzw": 5,
    "deflate": 8,
    "packbits": 32773,
    "old deflate": 32946,
    "lzma": 34925,
    "zstd": 50000,
}
_TYPES = {"H": 3, "I": 4, "Q": 16}


class Layout(NamedTuple):
    """How a TIFF stores its pixels; `extra` is its ExtraSamples (0 unspecified, 1 associated, 2 unassociated alpha)."""

    photometric: int
    bits: int
    format: int = UINT
    extra: tuple[int, ...] = ()
    planar: bool = False
    big_endian: bool = False
    compression: str = "none"
    tiled: bool = False
    predictor: int = 1
    reversed_bits: bool = False
    big: bool = False

    @property
    def samples(self) -> int:
        """The number of samples per pixel."""
        return {RGB: 3, CMYK: 4, YCBCR: 3}.get(self.photometric, 1) + len(self.extra)

    def __str__(self) -> str:
        words = [f"photometric {self.photometric}", f"{self.bits} bits", f"format {self.format}"]
        words += [f"extra {self.extra}"] if self.extra else []
        words += ["planar" if self.planar else "", "big-endian" if self.big_endian else "", self.compression]
        words += ["tiled" if self.tiled else "", f"predictor {self.predictor}" if self.predictor > 1 else ""]
        return ", ".join(
            word for word in (*words, "reversed" if self.reversed_bits else "", "big" if self.big else "") if word
        )


def ramp(layout: Layout) -> Samples:
    """Return samples from one end of their range to the other: rows, columns, samples."""
    shape = HEIGHT, WIDTH, layout.samples
    at = np.empty(shape)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    for sample in range(layout.samples):
        at[..., sample] = (columns * (sample + 1) / (WIDTH - 1) + rows * sample / (HEIGHT - 1)) % 1.0001
    if layout.format == FLOAT:
        return at.astype({16: np.float16, 24: np.float32, 32: np.float32, 64: np.float64}[layout.bits])
    maximum = 2 ** (layout.bits - (layout.format == INT)) - 1
    low = -maximum - 1 if layout.format == INT and layout.bits == 8 else 0
    kind = f"{'i' if layout.format == INT else 'u'}{max(8, 1 << (layout.bits - 1).bit_length()) // 8}"
    exact = np.round(low + at.astype(np.longdouble) * (maximum - low))
    samples: Samples = np.clip(exact, low, maximum).astype(kind)
    return samples


def colours(layout: Layout) -> Samples:
    """Return the palette: a colour of 16 bits per channel for each value of a sample."""
    levels = np.linspace(65_535, 0, 2**layout.bits).round().astype("u2")
    return np.stack([levels, levels[::-1], levels // 2], axis=1)


def expected_levels(layout: Layout, samples: Samples) -> Samples:
    """Return the expected grey levels, 0 to 255: by TIFF 6.0, ITU-R 601, and our own rule for more than 16 bits."""
    values = samples.astype(float)
    if layout.photometric == PALETTE:
        level = _luma(colours(layout)[samples[..., 0]] / 65_535)
    elif layout.format == UINT and layout.bits <= 16:
        level = _levels(layout, values / (2**layout.bits - 1))
    else:
        level = _levels(layout, _ranged(values))
    colour = {RGB: 3, CMYK: 4, YCBCR: 3}.get(layout.photometric, 1)
    for place, kind in enumerate(layout.extra):
        alpha = values[..., colour + place] / (2**layout.bits - 1)
        if kind == 1:
            level = level + 1 - alpha
        elif kind == 2:
            level = level * alpha + 1 - alpha
    grey: Samples = np.clip(level, 0, 1) * 255
    return grey


def _luma(rgb: Samples) -> Samples:
    return rgb @ np.array([0.299, 0.587, 0.114])  # type: ignore[no-any-return] # an array of numbers


def _ranged(values: Samples) -> Samples:
    low, high = float(values.min()), float(values.max())
    for white in (1, 255, 65_535):
        if low >= 0 and high <= white:
            return values / white
    return (values - low) / (high - low)


def _levels(layout: Layout, parts: Samples) -> Samples:
    match layout.photometric:
        case 0:
            return 1 - parts[..., 0]
        case 2:
            return _luma(parts[..., :3])
        case 5:
            return _luma((1 - parts[..., :3]) * (1 - parts[..., 3:4]))
        case _:
            return parts[..., 0]


def write(
    layout: Layout, samples: Samples, *more: tuple[int, str, Sequence[int]], leave_out: tuple[int, ...] = ()
) -> bytes:
    """Return the TIFF; `more` adds or replaces tags (number, type as in struct, values), `leave_out` omits some."""
    planes = [samples[..., place : place + 1] for place in range(layout.samples)] if layout.planar else [samples]
    chunks = [_encoded(layout, chunk) for plane in planes for chunk in _chunks(layout, plane)]
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: ("I", [WIDTH]), 257: ("I", [HEIGHT]), 258: ("H", [layout.bits] * layout.samples),
        259: ("H", [COMPRESSIONS[layout.compression]]), 262: ("H", [layout.photometric]),
        266: ("H", [1 + layout.reversed_bits]), 277: ("H", [layout.samples]), 284: ("H", [1 + layout.planar]),
        317: ("H", [layout.predictor]), 339: ("H", [layout.format] * layout.samples),
    }  # fmt: skip
    if layout.tiled:
        tags |= {322: ("I", [TILE]), 323: ("I", [TILE])}
    else:
        tags[278] = ("I", [7])
    if layout.extra:
        tags[338] = ("H", layout.extra)
    if layout.photometric == PALETTE:
        tags[320] = ("H", [int(level) for level in colours(layout).T.ravel()])
    tags |= {number: (kind, values) for number, kind, values in more}
    return _file(layout, {tag: value for tag, value in tags.items() if tag not in leave_out}, chunks)


def _chunks(layout: Layout, plane: Samples) -> list[Samples]:
    if not layout.tiled:
        return [plane[top : top + 7] for top in range(0, HEIGHT, 7)]
    down, across = -HEIGHT % TILE, -WIDTH % TILE
    padded = np.pad(plane, ((0, down), (0, across), (0, 0)))
    places = itertools.product(range(0, padded.shape[0], TILE), range(0, padded.shape[1], TILE))
    return [padded[top : top + TILE, left : left + TILE] for top, left in places]


def _encoded(layout: Layout, chunk: Samples) -> bytes:
    if layout.predictor == 2:
        chunk = chunk.view(f"u{layout.bits // 8}")  # differences of the bits, also of floats
        chunk = np.diff(chunk, axis=1, prepend=chunk[:, :1] * 0).astype(chunk.dtype)
    data: bytes | bytearray = b"".join(_row(layout, row) for row in chunk)
    match layout.compression:
        case "lzw":
            data = imagecodecs.lzw_encode(data)
        case "deflate" | "old deflate":
            data = zlib.compress(data)
        case "packbits":
            data = b"".join(imagecodecs.packbits_encode(_row(layout, row)) for row in chunk)
        case "lzma":
            data = imagecodecs.lzma_encode(data)
        case "zstd":
            data = imagecodecs.zstd_encode(data)
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data) if layout.reversed_bits else bytes(data)


def _row(layout: Layout, row: Samples) -> bytes:
    """Return a row as bytes; rows are padded to whole bytes."""
    if layout.bits % 8 or layout.bits == 0:
        text = "".join(f"{value:0{layout.bits}b}" for value in row.ravel().tolist())
        return int(text.ljust(-len(text) % 8 + len(text), "0"), 2).to_bytes((len(text) + 7) // 8, "big")
    order = ">" if layout.big_endian else "<"
    if layout.predictor == 3:
        planes = row.astype(row.dtype.newbyteorder(">")).tobytes()
        size, step = layout.bits // 8, row.shape[-1]
        data = np.frombuffer(planes, "u1").reshape(-1, size).T.ravel()
        return data.tobytes() if not step else np.concatenate([data[:step], data[step:] - data[:-step]]).tobytes()
    if layout.bits == 24:
        whole = row.astype(f"{order}f4").view("u1").reshape(-1, 4)
        return (whole[:, :3] if layout.big_endian else whole[:, 1:]).tobytes()
    return row.astype(row.dtype.newbyteorder(order)).tobytes()


def _file(layout: Layout, tags: dict[int, tuple[str, Sequence[int]]], chunks: list[bytes]) -> bytes:
    order, long = (">" if layout.big_endian else "<"), ("Q" if layout.big else "I")
    places, data = [], bytearray(16)
    for chunk in chunks:
        places.append(len(data))
        data += chunk + bytes(len(chunk) % 2)
    offsets, sizes = (324, 325) if layout.tiled else (273, 279)
    tags = {offsets: (long, places), sizes: (long, [len(chunk) for chunk in chunks])} | tags
    entries = b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        value = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(value) > struct.calcsize(long):
            value, at = struct.pack(order + long, len(data)), value
            data += at + bytes(len(at) % 2)
        entries += struct.pack(f"{order}HH{long}", tag, _TYPES[kind], len(values)) + value.ljust(
            struct.calcsize(long), b"\0"
        )
    start = b"MM" if layout.big_endian else b"II"
    if layout.big:
        start += struct.pack(f"{order}HHHQ", 43, 8, 0, len(data))
        return start + bytes(data[16:]) + struct.pack(f"{order}Q", len(tags)) + entries + bytes(8)
    start += struct.pack(f"{order}HI", 42, len(data))
    return start + bytes(data[8:]) + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
