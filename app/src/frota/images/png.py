"""Checks that a PNG has all rows of its header (PNG, third edition). No I/O."""

import struct
import zlib
from collections.abc import Iterator

from PIL import Image

from frota.images.formats import BadImage, Source

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# The passes of an interlaced image: left, top, step across, step down (8.1).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_INPUT_BYTES = 1 << 16  # of compressed data at a time; zlib copies the unconsumed rest after each piece of output
_OUTPUT_BYTES = 1 << 20


def check_rows(data: Source, decoded: Image.Image) -> None:
    """Raise BadImage if a PNG, decoded without an error, has fewer rows than its header says.

    The decoder leaves missing rows at zero. So the data are decompressed again and counted, but only if the last row
    is zero, or if the image is interlaced and ends with another row.
    """
    last = (0, decoded.height - 1, decoded.width, decoded.height)
    if not data[28] and any(decoded.crop(last).tobytes()):
        return
    needed, inflater = _row_bytes(data), zlib.decompressobj()
    try:
        for piece in _pieces(data):
            rest = piece
            while rest and needed > 0 and not inflater.eof:
                needed -= len(inflater.decompress(rest, _OUTPUT_BYTES))
                rest = inflater.unconsumed_tail
            if needed <= 0:
                return
    except zlib.error:  # behind the last row, such as a wrong checksum
        return
    raise BadImage("truncated", "imagem PNG truncada: faltam linhas da imagem")


def _row_bytes(data: Source) -> int:
    """Return the size of all rows in bytes, each with its filter type."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * _CHANNELS[colour]
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def _pieces(data: Source) -> Iterator[bytes]:
    """Yield the compressed data of the first run of IDAT, also of an animation's default image."""
    at, begun = 8, False
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            begun = True
            for start in range(at + 8, at + 8 + size, _INPUT_BYTES):
                yield data[start : min(start + _INPUT_BYTES, at + 8 + size)]
        elif begun:
            return
        at += 12 + size
