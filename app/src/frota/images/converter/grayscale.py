"""Converts an image to grey as a viewer shows it: upright, colour-managed, on white. Pure: bytes in, bytes out."""

import hashlib
import io
from typing import IO, cast

from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from frota.images import formats, png
from frota.images.converter import colours, lossless
from frota.images.formats import BadImage, GreyImage, ImageHeader, Limits, Source

QUALITY = 90  # of a JPEG made from another format
_ORIENTATION = 274  # tag of EXIF and TIFF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# By name: Pillow does not guess the format again, and imports no other plugin.
_OPEN: dict[str, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
_END_MARKER = b"\xff\xd9"  # of a JPEG
_DIGEST_ROWS = 64  # copied at a time
_NOISE = bytes(37 * place % 251 for place in range(1, 100))
# Noise for decoders that read on, and for those that skip to the next restart marker.
_NOISE_TAIL = _NOISE + b"".join(bytes((0xFF, 0xD0 + number)) + _NOISE for number in range(8))
Image.MAX_IMAGE_PIXELS = None  # formats.check_size limits the pixels


def convert(data: Source, extension: str, limits: Limits = formats.DEFAULT_LIMITS) -> GreyImage:
    """Return the image in grey, as PNG where `extension` is .png in any case, otherwise as JPEG.

    Raises BadImage for unsupported, truncated and damaged images.
    """
    header = formats.read_header(data, limits)
    try:
        if header.unterminated:
            data = _with_end_marker(data[:])
        return _convert(data, header, formats.makes_png(extension), limits)
    except BadImage:
        raise
    except MemoryError:
        raise BadImage("memory", "a imagem precisa de mais memória do que é permitido") from None
    except lossless.DamagedJpeg as loss:
        raise BadImage("damaged", f"imagem {header.format} danificada: {loss}") from None
    except Exception as error:  # decoders raise any exception on damaged data
        code, what = ("truncated", "truncada") if "truncated" in str(error) else ("damaged", "danificada")
        raise BadImage(code, f"imagem {header.format} {what}: {error}") from error


def _convert(data: Source, header: ImageHeader, as_png: bool, limits: Limits) -> GreyImage:
    quality: dict[str, object] = {"quality": QUALITY}
    file = io.BytesIO(data) if isinstance(data, bytes) else cast("IO[bytes]", data)
    with _OPEN[header.format](file) as image:
        formats.check_size(*image.size, limits)
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            if not as_png and (fast := _lossless(data, image)):
                return fast
            lossless.check(data[:])
            quality = {"qtables": [image.quantization[0]]} if 0 in image.quantization else quality
            if not colours.transform_of(image):
                image.draft("L", image.size)  # skips decoding the colours
        level = colours.grey(image)
        if isinstance(image, PngImagePlugin.PngImageFile):
            png.check_rows(data, image)
        grey = _upright(colours.framed(level, _frame(data, image)), image)
    result = io.BytesIO()
    if as_png:
        grey.save(result, "PNG")
        return GreyImage(result.getvalue(), "image/png", *grey.size)
    grey.save(result, "JPEG", **quality)
    return GreyImage(result.getvalue(), "image/jpeg", *grey.size)


def _with_end_marker(data: bytes) -> bytes:
    """Return a JPEG with the end marker that it lacks. Raises BadImage if image data are missing, too.

    A decoder fills in missing data without an error. So noise is appended: if the decoded picture changes, the
    decoder was not at its end.
    """
    whole = data[: formats.jpeg_size(data)].rstrip(b"\xff")
    if _digest(whole + _END_MARKER) != _digest(whole + _NOISE_TAIL + _END_MARKER):
        raise BadImage("truncated", "imagem JPEG truncada: falta o fim do arquivo")
    return whole + _END_MARKER


def _digest(jpeg: bytes) -> bytes:
    """Return a digest of a picture's pixels, without a second copy of them in memory."""
    digest = hashlib.blake2b()
    with JpegImagePlugin.JpegImageFile(io.BytesIO(jpeg)) as image:
        for top in range(0, image.height, _DIGEST_ROWS):
            digest.update(image.crop((0, top, image.width, min(top + _DIGEST_ROWS, image.height))).tobytes())
    return digest.digest()


def _frame(data: Source, image: ImageFile) -> tuple[int, int, int, int] | None:
    """Return the box of an animation's first frame; None for still images."""
    if isinstance(image, GifImagePlugin.GifImageFile):
        return image.dispose_extent
    return formats.webp_frame(data) if isinstance(image, WebPImagePlugin.WebPImageFile) else None


def _lossless(data: Source, image: ImageFile) -> GreyImage | None:
    if image.mode not in ("L", "RGB") or colours.transform_of(image):
        return None
    orientation = _orientation(image)
    result = lossless.grey(data[:], orientation)
    size = image.size if orientation < 5 else image.size[::-1]
    return GreyImage(result, "image/jpeg", *size) if result else None


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 -- a viewer shows an image whose EXIF is broken as if it had none
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _upright(grey: Image.Image, image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))  # Pillow has already turned a TIFF, and reset its tag
    return grey if turn is None else grey.transpose(turn)
