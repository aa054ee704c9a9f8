"""Reads an image's format and size from a few of its bytes, without decoding or copying. No I/O.

The producer does this to every image, so it must stay cheap for malicious ones. Pillow is not: opening alone allocates
a WebP's whole canvas, copies the data of each TIFF tag, and reads any number of JPEG markers.
"""

import mmap
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

from frota.images import tiff

Source = bytes | mmap.mmap

HEAD_BYTES = 1024  # enough to recognise a file's format
MAX_SIDE_PIXELS = 65_500  # libjpeg's limit
_MAX_MARKERS = 5_000  # before a JPEG's first scan; ICC profiles and extended XMP take some hundreds
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # between a JPEG's scans, or inside of damaged ones
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # baseline, extended, progressive; the last two are coded arithmetically
_PROGRESSIVE = (0xC2, 0xCA)
_ADVICE_JPEG = "salve-o como JPEG comum, de 8 bits, ou como PNG"
_MAX_GIF_BLOCKS = 200_000  # of 255 bytes each; reading so many takes some hundredths of a second

# Formats that users send and that are not supported, so that the error can name them.
_UNSUPPORTED_FORMATS = (
    (re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL), "HEIC"),
    (re.compile(rb"....ftypavi", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp", re.DOTALL), "vídeo MP4"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "JPEG XL"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"BM....\0\0\0\0", re.DOTALL), "BMP"),
    (re.compile(rb"\0\0\x01\0"), "ICO"),
    (re.compile(rb"8BPS"), "PSD"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"PK\x03\x04"), "ZIP"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!][^\0]*?)?<svg[\s>]"), "SVG"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html)", re.IGNORECASE), "HTML"),
    (re.compile(rb"(?:\xef\xbb\xbf)?(?:[\t\n\f\r -~]|[\xc2-\xf4][\x80-\xbf]{1,3}){4,}.{0,3}\Z", re.DOTALL), "texto"),
)


class BadImage(Exception):
    """An image that can never be converted: `code` for programs, `text` in Portuguese for users.

    Codes: empty, unsupported, truncated, damaged, too_large; from the converter also unreadable (a file), timeout,
    memory, crashed.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text

    def __str__(self) -> str:
        return self.text


class Limits(NamedTuple):
    """The largest image accepted: pixels in all, and pixels of a side."""

    pixels: int = 65_000_000
    side: int = MAX_SIDE_PIXELS


DEFAULT_LIMITS = Limits()


class ImageHeader(NamedTuple):
    """An image's format by Pillow's name, and its size in pixels (of an animation's canvas).

    `unterminated` is a JPEG without its end marker: all its scans have begun, but only decoding shows whether the last
    one is complete.
    """

    format: str
    width: int
    height: int
    unterminated: bool = False


class GreyImage(NamedTuple):
    """An encoded grey image of 8 bits a pixel, its media type, and its size in pixels."""

    data: bytes
    media_type: str
    width: int
    height: int


def makes_png(extension: str) -> bool:
    """Tell whether the result is a PNG, by the extension of the file name."""
    return extension.lower() == ".png"


def read_header(data: Source, limits: Limits = DEFAULT_LIMITS) -> ImageHeader:
    """Return format and size. Raises BadImage: empty, unsupported, truncated, damaged or too_large."""
    if not len(data):
        raise BadImage("empty", "imagem vazia: o arquivo tem zero bytes")
    name, measure = _recognise(data)
    try:
        header = ImageHeader(name, *measure(data))
    except (struct.error, IndexError, OverflowError):  # an offset beyond the end of the file
        raise _truncated(name) from None
    check_size(header.width, header.height, limits)
    return header


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raise BadImage for a size of zero or beyond the limits."""
    if not width or not height:
        raise BadImage("damaged", f"imagem inválida: {width} x {height} pixels")
    if max(width, height) > limits.side:
        text = f"imagem grande demais: {width} x {height} pixels, o lado pode ter no máximo {limits.side}"
        raise BadImage("too_large", text)
    if width * height > limits.pixels:
        text = f"imagem grande demais: {width} x {height} pixels, o máximo é {limits.pixels} ao todo"
        raise BadImage("too_large", text)


def recognise_format(head: bytes) -> str:
    """Return a file's format by its first `HEAD_BYTES`. Raises BadImage if it is empty or unsupported."""
    if not head:
        raise BadImage("empty", "imagem vazia: o arquivo tem zero bytes")
    return _recognise(head)[0]


def _recognise(data: Source) -> tuple[str, Callable[[Source], tuple[int, int] | tuple[int, int, bool]]]:
    head = data[:HEAD_BYTES]
    for beginning, name, measure in _FORMATS:
        if beginning.match(head):
            return name, measure
    other = next((f" ({name})" for beginning, name in _UNSUPPORTED_FORMATS if beginning.match(head)), "")
    raise BadImage("unsupported", f"formato não suportado{other}: envie JPEG, PNG, WebP, TIFF ou GIF")


def _truncated(name: str) -> BadImage:
    return BadImage("truncated", f"imagem {name} truncada: falta o fim do arquivo")


def _damaged(name: str, what: str) -> BadImage:
    return BadImage("damaged", f"imagem {name} danificada: {what}")


def _jpeg(data: Source) -> tuple[int, int, bool]:
    """Read the markers up to the first scan (ITU-T T.81, B.1.1.2)."""
    at, frame = 2, 0
    for _ in range(_MAX_MARKERS):
        while data[at] != 0xFF:  # decoders skip bytes between segments
            at = data.find(b"\xff", at)
            if at < 0:
                raise _truncated("JPEG")
        code = data[at + 1]
        if code == 0xDA:
            if not frame:
                raise _damaged("JPEG", "sem tamanho")
            unterminated = data.rfind(b"\xff\xd9", at, jpeg_size(data)) < 0
            if unterminated and not _all_scans_begin(data, frame, at):
                raise _truncated("JPEG")
            height, width = struct.unpack_from(">HH", data, frame + 5)
            return width, height, unterminated
        if code == 0xFF:  # fill byte
            at += 1
        elif code in (0x00, 0x01) or 0xD0 <= code <= 0xD9:  # stands alone
            at += 2
        else:
            if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
                _check_frame(code, data[at + 4], data[at + 9])
                frame = at
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    raise _damaged("JPEG", "segmentos demais")


def jpeg_size(data: Source) -> int:
    """Return the size of a JPEG without the trailer of Samsung's cameras, which may hold a video.

    The trailer ends with a directory of its parts, by their distance. Panoramas lack the end marker before it.
    """
    if data[-4:] != b"SEFT" or len(data) < 32:
        return len(data)
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    if start < 0 or data[start : start + 4] != b"SEFH":
        return len(data)
    count = min(struct.unpack_from("<I", data, start + 8)[0], _MAX_MARKERS)
    farthest = max((struct.unpack_from("<I", data, start + 16 + 12 * place)[0] for place in range(count)), default=0)
    return start - farthest if farthest < start else len(data)


def _check_frame(code: int, bits: int, components: int) -> None:
    """Reject the kinds of JPEG that neither browsers nor our decoder support (T.81, B.2.2)."""
    if code not in _JPEG_FRAMES:
        raise BadImage("unsupported", f"JPEG sem perdas ou hierárquico não é suportado: {_ADVICE_JPEG}")
    if bits != 8:
        raise BadImage("unsupported", f"JPEG de {bits} bits não é suportado: {_ADVICE_JPEG}")
    if components not in (1, 3, 4):
        raise BadImage("unsupported", f"JPEG de {components} componentes não é suportado: {_ADVICE_JPEG}")


def _all_scans_begin(data: Source, frame: int, first: int) -> bool:
    """Tell whether the scans make a complete picture, provided that the last one is complete.

    They have to contain, for each component, all 64 coefficients down to the last bit (T.81, G.1.1.1).
    """
    needed = {data[frame + 10 + 3 * place]: set(range(64)) for place in range(data[frame + 9])}
    for marker, _ in zip(_MARKER.finditer(data, first), range(_MAX_MARKERS), strict=False):
        at = marker.start()
        if data[at + 1] != 0xDA:
            continue
        count = data[at + 4]
        start, end, bit = struct.unpack_from("BBB", data, at + 5 + 2 * count)
        if data[frame + 1] not in _PROGRESSIVE:  # sequential: one scan has all, whatever some cameras write there
            start, end, bit = 0, 63, 0
        for place in range(count if not bit & 15 else 0):
            needed.get(data[at + 5 + 2 * place], set()).difference_update(range(start, end + 1))
    return not any(needed.values())


def _png(data: Source) -> tuple[int, int]:
    if data[12:16] == b"CgBI":
        raise BadImage("unsupported", "PNG de aplicativo de iPhone (CgBI) não é suportado: salve-o como PNG comum")
    if data[12:16] != b"IHDR":
        raise _damaged("PNG", "sem cabeçalho")
    if data.rfind(b"\0\0\0\0IEND") < 0:
        raise _truncated("PNG")
    if data[24:26] == b"\x10\x02" and _png_has(data, b"tRNS"):  # the decoder compares only the upper bytes
        raise BadImage(
            "unsupported",
            "PNG RGB de 16 bits com cor transparente não é suportado: salve-o com canal alfa ou com 8 bits",
        )
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _png_has(data: Source, chunk: bytes) -> bool:
    """Tell whether there is a chunk of this name before the image data."""
    at = 8
    for _ in range(_MAX_MARKERS):
        size, name = struct.unpack_from(">I4s", data, at)
        if name in (chunk, b"IDAT"):
            return bool(name == chunk)
        at += 12 + size
    return False


def _webp(data: Source) -> tuple[int, int]:
    """Read the size of the canvas, or of the only frame (RFC 9649; RFC 6386, 9.1)."""
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise _truncated("WebP")
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise _damaged("WebP", "sem imagem")


def webp_frame(data: Source) -> tuple[int, int, int, int] | None:
    """Return the box of an animated WebP's first frame on its canvas (RFC 9649, 2.7.1.1); None without animation."""
    at = data.find(b"ANMF", 30) if data[12:16] == b"VP8X" and data[20] & 2 else -1
    if at < 0:
        return None
    left, top, width, height = (int.from_bytes(data[at + 8 + step : at + 11 + step], "little") for step in (0, 3, 6, 9))
    return 2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1


def _gif(data: Source) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    if not data[-64:].rstrip(b"\0\r\n ").endswith(b";") and not _gif_ends(data):
        raise _truncated("GIF")
    return width, height


def _gif_ends(data: Source) -> bool:
    """Read the blocks (GIF89a, appendix A): tell whether there is an image, and all are complete.

    Raises IndexError where the file ends within a block.
    """
    at, images, blocks = 13 + _palette(data[10]), 0, 0
    while at < len(data) and data[at] in b"!,":
        images += data[at] == 0x2C
        at += 2 if data[at] == 0x21 else 11 + _palette(data[at + 9])
        while size := data[at]:
            at += 1 + size
            blocks += 1
            if blocks > _MAX_GIF_BLOCKS:  # the decoder decides
                return True
        at += 1
        blocks += 1  # the terminator: an extension may have no other block
        if blocks > _MAX_GIF_BLOCKS:
            return True
    return images > 0


def _palette(flags: int) -> int:
    """Return the size of a palette in bytes, by the flags before it."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _tiff(data: Source) -> tuple[int, int]:
    """Read the first directory; check that the strips or tiles are within the file, and their layout supported."""
    try:
        tags = tiff.directory(data)
        offsets = tags.get(tiff.STRIP_OFFSETS) or tags.get(tiff.TILE_OFFSETS)
        if not offsets or not tags.get(tiff.WIDTH) or not tags.get(tiff.HEIGHT):
            raise _damaged("TIFF", "sem imagem")
        sizes = (
            tags.get(tiff.STRIP_SIZES) or tags.get(tiff.TILE_SIZES) or (1,)
        )  # the size of a single strip may be absent
        if max(offsets) >= len(data) or max(map(sum, zip(offsets, sizes, strict=False))) > len(data):
            raise _truncated("TIFF")
        tiff.check_layout(tags, big_endian=data[:1] == b"M")
    except tiff.InvalidDirectory:
        raise _damaged("TIFF", "diretório inválido") from None
    except tiff.UnsupportedLayout as error:
        raise BadImage("unsupported", str(error)) from None
    return tags[tiff.WIDTH][0], tags[tiff.HEIGHT][0]


_FORMATS = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG", _jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG", _png),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP", _webp),
    (re.compile(rb"GIF8[79]a"), "GIF", _gif),
    (re.compile(rb"II\*\0|MM\0\*|II\+\0\x08\0\0\0|MM\0\+\0\x08\0\0"), "TIFF", _tiff),
)
