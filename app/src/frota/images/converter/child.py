"""The process that decodes images for a `converter.Pool`: reads one, writes its grey, until nobody sends any more.

A request is a header and an image, or the path of one; an answer is a header and a grey image, or the code and the text
of what is wrong. One byte in front of all answers says that the child can work.
"""

import contextlib
import os
import resource
import signal
import struct
import sys
import warnings
from pathlib import Path
from typing import BinaryIO

REQUEST = struct.Struct(">??Q")  # whether a path follows; whether a PNG is to be made; length of the image or path
ANSWER = struct.Struct(">BIIQ")  # an index of MEDIA_TYPES or BAD; width and height in pixels; length of what follows
MEDIA_TYPES = ("image/png", "image/jpeg")
FAILED = 255
READY = b"+"


def main(seconds: float, memory: int, pixels: int) -> None:
    """Answer requests on standard input until its end, with so many bytes of address space at most."""
    # Stopping is the parent's to decide: the same signal reaches all processes of a unit or of a terminal.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    warnings.simplefilter("ignore")  # a decoder's opinion of somebody's metadata is no business of the journal
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    # Our own last words may be read; what libtiff says about somebody's bytes would be as many lines as they like.
    sys.stderr = os.fdopen(os.dup(2), "w", errors="backslashreplace")
    with Path(os.devnull).open("wb") as devnull:
        os.dup2(devnull.fileno(), 1)
        os.dup2(devnull.fileno(), 2)
    from frota.images import formats
    from frota.images.converter import grayscale, lossless

    lossless.available()  # found now, not during the first image
    answers.write(READY)
    limits = formats.Limits(pixels)
    while len(header := requests.read(REQUEST.size)) == REQUEST.size:
        is_path, as_png, length = REQUEST.unpack(header)
        source = requests.read(length)
        # Not caught, so that it ends the process wherever it is, in C too, and also when there is no parent any more.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            grey = grayscale.convert(_read(source) if is_path else source, ".png" if as_png else ".jpg", limits)
            head = ANSWER.pack(MEDIA_TYPES.index(grey.media_type), grey.width, grey.height, len(grey.data))
            content = grey.data
        except formats.BadImage as bad:
            content = f"{bad.code}\n{bad.text}".encode()
            head = ANSWER.pack(FAILED, 0, 0, len(content))
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(answers, head, content)
        del source, content


def _read(path: bytes) -> bytes:
    from frota.images.formats import BadImage

    try:
        return Path(os.fsdecode(path)).read_bytes()
    except OSError as error:
        raise BadImage("unreadable", f"o arquivo da imagem não pôde ser lido: {error.strerror}") from None


def _write(answers: BinaryIO, *parts: bytes) -> None:
    remaining = [memoryview(part) for part in parts]
    while remaining:
        written = os.writev(answers.fileno(), remaining)
        while remaining and written >= len(remaining[0]):
            written -= len(remaining.pop(0))
        if remaining:
            remaining[0] = remaining[0][written:]


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the parent is gone, and so is whoever wanted the answer
        main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
