"""Converts decoded pixels to grey: colour profiles, transparency, deep and inverted channels, every mode."""

import io
from collections.abc import Iterator
from functools import lru_cache

from PIL import Image, ImageChops, ImageCms
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from frota.images.formats import BadImage

_STRIP = 1 << 20  # pixels converted at a time: fits the CPU's cache and needs little memory
_MAX_PROFILE_BYTES = 4 << 20  # printers' profiles take up to 3 MB
_PHOTOMETRIC, _BITS = 262, 258  # tags of TIFF
_OVERSHOOT = 0.05  # of a value range: resampling and sharpening exceed it by that much


def grey(image: ImageFile) -> Image.Image:
    """Return the image in mode L, made in strips so that memory holds no other full copy."""
    transparent_level = _transparent_level(image)
    image.load()
    transform, scale, inverted = transform_of(image), _scale(image), _inverted(image)
    result = Image.new("L", image.size)
    for top, strip in _strips(image):
        transparent = _mask_of(strip, transparent_level) if transparent_level is not None else None
        if scale:
            factor, offset = scale
            level = strip.convert("F").point(lambda value: value * factor + offset).convert("L")  # noqa: B023 -- used at once
        else:
            level = strip
        if inverted:
            level = ImageChops.invert(level)
        result.paste(_on_white(level, transform), (0, top))
        if transparent:
            result.paste(255, (0, top), transparent)
    return result


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the image in strips, each with the number of its first row."""
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _transparent_level(image: ImageFile) -> int | None:
    """Return the transparent level of a 16-bit PNG. Scale that of 2 and 4 bits to 8 for Pillow."""
    level = image.info.get("transparency")
    if image.format != "PNG" or not isinstance(level, int) or not image.tile:
        return None
    if image.mode.startswith("I;16"):
        return int(image.info.pop("transparency"))
    if image.tile[0].args in ("L;2", "L;4"):
        maximum = 2 ** int(image.tile[0].args[2:]) - 1
        image.info["transparency"] = (level & maximum) * 255 // maximum
    return None


def _mask_of(strip: Image.Image, level: int) -> Image.Image:
    """Return a mask of the 16-bit pixels that have this level."""
    data, parts = strip.tobytes(), []
    for place in (0, 1):
        part = Image.frombytes("L", strip.size, data[place::2])
        byte = level >> 8 * place & 255
        parts.append(part.point([255 * (value == byte) for value in range(256)]))
    return ImageChops.darker(*parts)


def framed(grey: Image.Image, frame: tuple[int, int, int, int] | None) -> Image.Image:
    """Return an animation's first frame on a white canvas, as browsers show it."""
    if frame is None or frame == (0, 0, *grey.size):
        return grey
    canvas = Image.new("L", grey.size, 255)
    canvas.paste(grey.crop(frame), frame[:2])
    return canvas


def transform_of(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from the image's profile to sRGB; None if it has none, or it is as good as sRGB."""
    if image.mode == "LAB":
        return _transform(None, "LAB")
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= _MAX_PROFILE_BYTES:
        return None
    mode = {"CMYK": "CMYK", "1": "L", "L": "L", "LA": "L", "I": "L", "F": "L"}.get(image.mode.partition(";")[0], "RGB")
    return _transform(profile, mode)


@lru_cache(maxsize=8)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from a profile; None if it is broken, has other channels, or is as good as sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    # Profiles of sRGB have many names, so it is compared by its effect.
    if mode in ("RGB", "L"):
        levels = range(0, 256, 15)
        colours = [(r, g, b) for r in levels for g in levels for b in levels]
        probe = Image.frombytes("RGB", (len(colours), 1), bytes(level for colour in colours for level in colour))
        probe = probe.convert(mode)
        changed = ImageChops.difference(_applied(transform, probe).convert("L"), probe.convert("L"))
        if changed.getextrema()[1] <= 1:  # type: ignore[operator] # one channel, one pair
            return None
    return transform


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    return transform.apply(image)


def _on_white(strip: Image.Image, transform: ImageCms.ImageCmsTransform | None) -> Image.Image:
    alpha = None
    if strip.has_transparency_data:
        strip = strip.convert("LA" if strip.mode in ("1", "L", "LA", "La") else "RGBA")
        alpha = strip.getchannel("A")
    if strip.mode not in ("L", "CMYK", "LAB"):
        strip = strip.convert("L" if strip.mode in ("1", "LA") else "RGB")
    result = (_applied(transform, strip) if transform else strip).convert("L")
    if alpha is None:
        return result
    white = Image.new("L", strip.size, 255)
    white.paste(result, mask=alpha)
    return white


def _scale(image: ImageFile) -> tuple[float, float] | None:
    """Return factor and offset from a channel of more than 8 bits to 8 bits; values beyond 0 and 255 are clipped.

    12 and 16 bits define white as their maximum. 32 bits do not: the smallest usual range that holds all values is
    used, 0 to 1 (floating point only), 255 or 65,535; else the range from minimum to maximum. Values may overshoot a
    usual range by 5 % of it, or undershoot zero by 5 % of both it and the maximum, so that a few pixels neither
    blacken nor stretch the picture. Raises BadImage for NaN and infinite values.
    """
    if image.mode.startswith("I;16"):
        bits = image.tag_v2.get(_BITS, (16,))[0] if isinstance(image, TiffImageFile) else 16
        return 255 / (2**bits - 1), 0.5
    if image.mode not in ("I", "F"):
        return None
    if image.mode == "F":
        _check_finite(image)
    low, high = image.getextrema()
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return 1, 0.5
    for white in (1, 255, 65_535) if image.mode == "F" else (255, 65_535):
        if low >= -_OVERSHOOT * min(white, high) and high <= white + _OVERSHOOT * white:
            return 255 / white, 0.5
    factor = 255 / (high - low or 1)
    return factor, 0.5 - low * factor


def _check_finite(image: Image.Image) -> None:
    """Raise BadImage for NaN or infinite values: times zero they are NaN, and so is the mean of their strip."""
    for _, strip in _strips(image):
        mean = strip.point(lambda value: value * 0 + 0).reduce(strip.size).getpixel((0, 0))
        if mean != 0:
            raise BadImage(
                "unsupported",
                "TIFF de ponto flutuante com valores não finitos (NaN ou infinito) não é suportado: substitua-os por"
                " números, ou salve-o como TIFF de 16 bits ou PNG",
            )


def _inverted(image: ImageFile) -> bool:
    """Tell whether zero is white in a 16-bit TIFF, which Pillow does not invert."""
    return isinstance(image, TiffImageFile) and image.mode.startswith("I;16") and image.tag_v2.get(_PHOTOMETRIC) == 0
