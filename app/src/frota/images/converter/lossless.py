"""Extracts a JPEG's luma without decoding it, hence without a second loss.

A colour JPEG stores luma and chroma apart. libjpeg-turbo's TurboJPEG (turbojpeg.h, 2.0 or newer) copies the
coefficients of the luma, in about half the time of decoding and encoding.
"""

import ctypes
import threading
from functools import cache

# EXIF orientation → the TJXOP that undoes it.
_TURNS = {1: 0, 2: 1, 3: 6, 4: 2, 5: 3, 6: 5, 7: 4, 8: 7}
_PERFECT, _GRAY, _NO_OUTPUT, _COPY_NONE = 1, 8, 16, 64  # TJXOPT
_STOP_ON_WARNING = 8192  # TJFLAG
_WARNING = 0  # TJERR
# The warnings of libjpeg (jerror.h) after which part of the picture is missing. The others are harmless.
_DAMAGE_WARNINGS = (b"premature end", b"bad huffman code", b"instead of rst", b"bad arithmetic code")


class DamagedJpeg(Exception):
    """The JPEG's data are truncated or malformed: part of the picture would be missing."""


class _Transform(ctypes.Structure):
    _fields_ = (
        ("region", ctypes.c_int * 4),
        ("operation", ctypes.c_int),
        ("options", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("filter", ctypes.c_void_p),
    )


class _TurboJpeg:
    """libturbojpeg with a handle, which one thread may use at a time."""

    def __init__(self) -> None:
        self._library = library = ctypes.CDLL("libturbojpeg.so.0")
        pointer, number, size = ctypes.c_void_p, ctypes.c_int, ctypes.c_ulong
        library.tjInitTransform.restype, library.tjInitTransform.argtypes = pointer, []
        library.tjGetErrorCode.restype, library.tjGetErrorCode.argtypes = number, [pointer]
        library.tjGetErrorStr2.restype, library.tjGetErrorStr2.argtypes = ctypes.c_char_p, [pointer]
        library.tjFree.restype, library.tjFree.argtypes = None, [pointer]
        library.tjTransform.restype = number
        library.tjTransform.argtypes = [
            pointer,
            ctypes.c_char_p,
            size,
            number,
            ctypes.POINTER(pointer),
            ctypes.POINTER(size),
            ctypes.POINTER(_Transform),
            number,
        ]
        self._one_thread = threading.Lock()
        self._handle = library.tjInitTransform()
        if not self._handle:
            raise MemoryError

    def transform(self, data: bytes, operation: int, options: int) -> bytes | None:
        """Return a new JPEG; None where the transform is impossible. Raises DamagedJpeg."""
        with self._one_thread:
            return self._transform(data, operation, options)

    def _transform(self, data: bytes, operation: int, options: int) -> bytes | None:
        transform = _Transform(operation=operation, options=options)
        result, size = ctypes.c_void_p(), ctypes.c_ulong()
        arguments = ctypes.byref(result), ctypes.byref(size), ctypes.byref(transform), _STOP_ON_WARNING
        try:
            if self._library.tjTransform(self._handle, data, len(data), 1, *arguments) == 0:
                return ctypes.string_at(result, size.value)
        finally:
            self._library.tjFree(result)
        warning = self._library.tjGetErrorStr2(self._handle)
        if self._library.tjGetErrorCode(self._handle) == _WARNING and any(
            damage in warning.lower() for damage in _DAMAGE_WARNINGS
        ):
            raise DamagedJpeg(warning.decode(errors="replace"))
        return None


@cache
def turbo_jpeg() -> _TurboJpeg | None:
    """Return the library, None if it is not installed."""
    try:
        return _TurboJpeg()
    except (OSError, AttributeError):  # not installed, or older than 2.0
        return None


def available() -> bool:
    """Tell whether the library is installed."""
    return turbo_jpeg() is not None


def grey(data: bytes, orientation: int) -> bytes | None:
    """Return the JPEG's luma as a grey JPEG, upright, without metadata.

    None where that is impossible without loss: the library is absent, the colours are not YCbCr, the rotation would
    move partial blocks, or the library warns. Raises DamagedJpeg.
    """
    turbo = turbo_jpeg()
    perfect = 0 if orientation == 1 else _PERFECT
    return turbo.transform(data, _TURNS[orientation], _GRAY | _COPY_NONE | perfect) if turbo else None


def check(data: bytes) -> None:
    """Raise DamagedJpeg for truncated or malformed data, if the library is installed."""
    if turbo := turbo_jpeg():
        turbo.transform(data, _TURNS[1], _COPY_NONE | _NO_OUTPUT)
