"""Make pictures, good ones and bad ones, in a folder, and batches of small ones: pictures.py FOLDER BATCHES."""

import io
import os
import struct
import sys
import zlib
from pathlib import Path

from PIL import Image


def jpeg(side: int = 96) -> bytes:
    """Return a unique colour JPEG of some kilobytes."""
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(3 * side * side)).save(file, "JPEG", quality=60)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes) -> bytes:
    """Return a PNG of grey, whatever its rows are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def animated() -> bytes:
    """Return a GIF of two frames."""
    file = io.BytesIO()
    Image.new("P", (8, 8), 1).save(file, "GIF", save_all=True, append_images=[Image.new("P", (8, 8), 2)])
    return file.getvalue()


def main(folder: Path, batches: int) -> None:
    """Write all test images."""
    whole = jpeg()
    files = {
        "one/photo.jpg": jpeg(),
        "other/photo.jpg": jpeg(),
        "poison/truncated.jpg": whole[: len(whole) // 2],
        "poison/empty.png": b"",
        "poison/bomb.png": png(50_000, 50_000, bytes(50_001 * 1000)),
        "poison/renamed.jpg": b"Only words, by another name.\n",
        "poison/animated.gif": animated(),
        # Has a valid PNG header, so that only a worker detects the error.
        "poison/broken.png": png(64, 64, b"\xff" * 100),
        "good.jpg": whole,
        "large.png": png(5000, 4000, b"".join(b"\0" + os.urandom(5000) for _ in range(4000))),
    }
    run = os.urandom(4).hex()
    files |= {f"load/{batch}/{run}-{batch}-{number}.jpg": jpeg() for batch in range(batches) for number in range(20)}
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
