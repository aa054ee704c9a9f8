"""`python -m bench.images.convert_side SIDE FILE SECONDS`: convert a JPEG to grey repeatedly, print figures as JSON."""

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from PIL import Image, ImageChops

MIN_ROUNDS = 3


def legacy(data: bytes) -> bytes:
    """Convert as the legacy worker does."""
    result = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("L").save(result, "JPEG")
    return result.getvalue()


def draft(data: bytes) -> bytes:
    """Convert with Pillow, without decoding the colours."""
    image, result = Image.open(io.BytesIO(data)), io.BytesIO()
    image.draft("L", image.size)
    image.convert("L").save(result, "JPEG")
    return result.getvalue()


def frota(data: bytes) -> bytes:
    """Convert as the worker of frota does."""
    from frota.images.converter import grayscale

    return grayscale.convert(data, ".jpg").data


SIDES: dict[str, Callable[[bytes], bytes]] = {"frota": frota, "draft": draft, "legacy": legacy}


def differences(source: bytes, result: bytes) -> tuple[int, float]:
    """Compare the result with the grey of the source: return the largest difference, and the share within 2 levels.

    The largest difference excludes pixels with a colour of 0 or 255: decoding has clipped the colour, and so its grey.
    """
    colours = Image.open(io.BytesIO(source)).convert("RGB")
    difference = ImageChops.difference(colours.convert("L"), Image.open(io.BytesIO(result)))
    inside = [band.point(lambda level: 255 * (0 < level < 255)) for band in colours.split()]
    unclipped = ImageChops.multiply(ImageChops.multiply(inside[0], inside[1]), inside[2])
    counts = difference.histogram(unclipped)
    within = difference.histogram()[:3]
    return max(level for level, count in enumerate(counts) if count), sum(within) / (colours.width * colours.height)


def measure(convert: Callable[[bytes], bytes], data: bytes, seconds: float) -> dict[str, float]:
    """Convert for `seconds`, at least MIN_ROUNDS times, and return the figures by the CPU time of this process."""
    result = convert(data)
    times: list[float] = []
    end = time.monotonic() + seconds
    while len(times) < MIN_ROUNDS or time.monotonic() < end:
        start = time.process_time()
        convert(data)
        times.append(time.process_time() - start)
    largest, within = differences(data, result)
    return {
        "cpu_ms": median(times) * 1000,
        "rate": 1 / median(times),
        "bytes": len(result),
        "largest": largest,
        "within_2": within,
    }


if __name__ == "__main__":
    print(json.dumps(measure(SIDES[sys.argv[1]], Path(sys.argv[2]).read_bytes(), float(sys.argv[3]))))
