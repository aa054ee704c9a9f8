"""The child process of a `ConverterPool`: converts one image after another until its standard input ends.

A request is a header and an image, or the path of one. A response is a header and a grey image, or the code and text
of an error. One byte in front of all responses says that the child is ready.
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

REQUEST = struct.Struct(">??Q")  # path instead of image; PNG requested; length of what follows
ANSWER = struct.Struct(">BIIQ")  # index of MEDIA_TYPES, or FAILED; width, height; length of what follows
MEDIA_TYPES = ("image/png", "image/jpeg")
FAILED = 255
READY = b"+"


def main(seconds: float, memory: int, pixels: int) -> None:
    """Answer requests on standard input until its end: `seconds` per image, `memory` in bytes of address space."""
    # The parent stops its children: systemd and terminals send these signals to all processes.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    warnings.simplefilter("ignore")  # decoders warn of image metadata, which would fill the journal
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    # Our own traceback goes to the journal. libtiff writes to descriptor 2, as many lines as an image provokes.
    sys.stderr = os.fdopen(os.dup(2), "w", errors="backslashreplace")
    with Path(os.devnull).open("wb") as devnull:
        os.dup2(devnull.fileno(), 1)
        os.dup2(devnull.fileno(), 2)
    from frota.images import formats
    from frota.images.converter import grayscale, lossless

    lossless.available()  # loads the library now, not during the first image
    answers.write(READY)
    limits = formats.Limits(pixels)
    while len(header := requests.read(REQUEST.size)) == REQUEST.size:
        is_path, as_png, length = REQUEST.unpack(header)
        source = requests.read(length)
        # SIGALRM is not handled, so it ends the process in C code, too, and without the parent.
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
    with contextlib.suppress(BrokenPipeError):  # the parent has exited
        main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
