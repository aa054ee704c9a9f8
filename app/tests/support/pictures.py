"""Images for tests: valid ones of every format, and malicious ones."""

import io
import random
import struct
import zlib
from functools import cache
from typing import Any

from PIL import Image, ImageCms

ORIENTATION = 274


@cache
def photo(width: int = 320, height: int = 240, seed: int = 1) -> Image.Image:
    """Return an image like a photograph: soft colours, some detail. It is cached, so that nobody may change it."""
    noise = random.Random(seed)

    def layer(step: int) -> Image.Image:
        size = (width // step + 2, height // step + 2)
        return Image.frombytes("RGB", size, noise.randbytes(size[0] * size[1] * 3)).resize((width, height), 3)

    picture = Image.blend(layer(max(8, width // 6)), layer(8), 0.2)
    return picture.point(lambda level: 32 + level * 0.75)  # far from the ends of the range, where RGB is clipped


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes) -> Image.Image:
    """Return a file as an image."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@cache
def samples() -> dict[str, bytes]:
    """Return valid files of every supported format, 90 pixels wide and 60 high."""
    image = photo(90, 60)
    few = image.quantize(64)
    return {
        "JPEG": encode(image, "JPEG", icc_profile=p3_profile(), exif=orientation(6)),
        "JPEG progressive": encode(image, "JPEG", progressive=True, subsampling=0),
        "JPEG CMYK": encode(image.convert("CMYK"), "JPEG"),
        "JPEG MPO": encode(image, "MPO", save_all=True, append_images=[image]),
        "PNG": encode(image, "PNG", icc_profile=p3_profile()),
        "PNG palette": encode(few, "PNG", transparency=3),
        "WEBP lossy": encode(image, "WEBP"),
        "WEBP lossless": encode(image, "WEBP", lossless=True),
        "WEBP extended": encode(image.convert("RGBA"), "WEBP", exif=orientation(6)),
        "WEBP animated": encode(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
        "GIF": encode(few, "GIF"),
        "GIF animated": encode(few, "GIF", save_all=True, append_images=[image.rotate(180).quantize(64)]),
        "TIFF": encode(image, "TIFF"),
        "TIFF LZW": encode(image, "TIFF", compression="tiff_lzw"),
        "TIFF JPEG": encode(image, "TIFF", compression="jpeg"),
        "TIFF big": encode(image, "TIFF", big_tiff=True),
        "TIFF floats": encode(image.convert("F"), "TIFF"),
    }


def orientation(value: int) -> Image.Exif:
    """Return EXIF data with an orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


@cache
def p3_profile() -> bytes:
    """Return a profile like Display P3: sRGB's curve with wider primaries (adapted to D50)."""
    profile = bytearray(srgb_profile())
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2920, 0.6922, 0.0419),
        b"bXYZ": (0.1571, 0.0666, 0.7841),
    }
    for entry in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        name, offset = struct.unpack_from(">4sI", profile, entry)
        if name in primaries:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in primaries[name]))
    return bytes(profile)


@cache
def srgb_profile() -> bytes:
    """Return one of the many profiles of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png(
    width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 0, rows: bytes = b""
) -> bytes:
    """Return a PNG with chunks before its compressed rows, which need not match its header."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", rows or zlib.compress(b"\0")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def png_bomb(side: int, depth: int = 1) -> bytes:
    """Return a black square, whose pixels take a thousand times the size of its file."""
    packer, row = zlib.compressobj(1), bytes(1 + side * depth // 8)
    rows = b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    return png(side, side, depth=depth, rows=rows)


def tiff(*tags: tuple[int, int, int, int], after: bytes = b"", following: int = 0) -> bytes:
    """Return a TIFF of one directory: (tag, type, count, value) each, then bytes, then the next directory's place."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + after
