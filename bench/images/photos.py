"""Generated pictures that cost a JPEG codec as much as photographs do, the same on every machine."""

import io
import random
from functools import cache

from PIL import Image

SEED = 20_240_607
# Distance of the random values in pixels, and their weight: large shapes, few details, little noise.
BRIGHTNESS = ((256, 1.0), (64, 0.4), (16, 0.25), (4, 0.1), (2, 0.05))
COLOUR = ((256, 1.0), (64, 0.3), (16, 0.1))
CONTRAST = 1.8
COLOUR_STRENGTH = 0.25  # colours of photographs vary less than their brightness


@cache
def photo(width: int, height: int) -> Image.Image:
    """Return a picture of smooth shapes, a few of them over- or underexposed, as in photographs."""
    noise = random.Random(SEED)
    channels = [
        layers(width, height, BRIGHTNESS, noise).point(lambda level: 128 + (level - 128) * CONTRAST),
        *(
            layers(width, height, COLOUR, noise).point(lambda level: 128 + (level - 128) * COLOUR_STRENGTH)
            for _ in "br"
        ),
    ]
    return Image.merge("YCbCr", channels).convert("RGB")


def layers(width: int, height: int, steps: tuple[tuple[int, float], ...], noise: random.Random) -> Image.Image:
    """Return random values at each of the distances, smoothed and superimposed."""
    result = Image.new("L", (width, height), 128)
    for step, weight in steps:
        size = (width // step + 2, height // step + 2)
        values = Image.frombytes("L", size, noise.randbytes(size[0] * size[1]))
        result = Image.blend(result, values.resize((width, height), Image.Resampling.BICUBIC), weight)
    return result


def jpeg(width: int, height: int, quality: int) -> bytes:
    """Return the picture as a JPEG like those of cameras: 4:2:0, baseline."""
    file = io.BytesIO()
    photo(width, height).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()
