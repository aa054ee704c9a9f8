"""CURVE keys as 64 hexadecimal digits: what env files, Ansible and shells leave as it is, unlike ZeroMQ's own Z85."""

import codecs
import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from frota.core import secret_file
from frota.core.settings import SettingsError
from frota.storage import files

_KEY = re.compile(r"[0-9a-f]{64}")
_MAX_FILE_BYTES = 1024  # bytes that are read of a key file; whatever is longer is none


def parse_key(text: str) -> str:
    """Return a key in the form that is compared and passed on; "" stands for none. Raises ValueError."""
    key = text.strip().lower()
    if key and not _KEY.fullmatch(key):
        raise ValueError("must be 64 hexadecimal digits, as `frota list keygen` prints them")
    return key


def read_secret(path: Path) -> bytes:
    """Return the 32 bytes of the secret key in a file. Raises SettingsError, which never shows what the file holds."""
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):  # reading a FIFO may never end
                raise SettingsError(f"key file {path}: must be a regular file, as `frota list keygen` makes it")
            text = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        hint = "; the key is for a group or user that you are not" if isinstance(error, PermissionError) else ""
        raise SettingsError(f"key file {path}: {error.strerror}{hint}") from None
    key = text.removeprefix(codecs.BOM_UTF8).strip().lower().decode("ascii", "replace")
    if not _KEY.fullmatch(key) or not int(key, 16):  # zeros: a library's key that was never made
        raise SettingsError(f"key file {path}: no secret key: must be one line of 64 hexadecimal digits")
    secret_file.check(path, status)
    return bytes.fromhex(key)


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without waiting for a writer, should it be a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def public_key(secret: bytes) -> bytes:
    """Return the public key that belongs to a secret one, 32 bytes each."""
    import zmq
    from zmq.utils import z85

    return bytes(z85.decode(zmq.curve_public(z85.encode(secret))))


def generate(path: Path) -> str:
    """Make a new secret key, write it to a file that is not there yet, and return the public key in hexadecimal.

    The file appears whole, on disk, and readable by its owner alone, or not at all. Raises FileExistsError, OSError.
    """
    import zmq
    from zmq.utils import z85

    public, secret = (bytes(z85.decode(key)) for key in zmq.curve_keypair())
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600, O_EXCL
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(f"{secret.hex()}\n".encode())
            files.sync(file)
        _link(unfinished, path)
    finally:
        with suppress(OSError):
            unfinished.unlink()
    files.sync_folder(path.parent)
    return public.hex()


def _link(unfinished: Path, path: Path) -> None:
    try:
        os.link(unfinished, path)  # unlike a rename, it never takes the place of another file
    except FileExistsError:
        raise FileExistsError(
            f"{path} exists, and no key is overwritten; `frota list keygen --public {path}` prints its public key"
        ) from None
