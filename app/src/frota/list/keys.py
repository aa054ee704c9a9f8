"""CURVE keys as 64 hexadecimal digits; ZeroMQ's own Z85 has characters that env files, Ansible and shells interpret."""

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
_MAX_FILE_BYTES = 1024  # a key file has 65 bytes


def parse_key(text: str) -> str:
    """Return a key in lower case, "" for none. Raises ValueError."""
    key = text.strip().lower()
    if key and not _KEY.fullmatch(key):
        raise ValueError("must be 64 hexadecimal digits, as `frota list keygen` prints them")
    return key


def read_secret(path: Path) -> bytes:
    """Return the secret key of a file, 32 bytes. Raises SettingsError, which never quotes the file's content."""
    try:
        with open(path, "rb", opener=_open_nonblocking) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):  # reading a FIFO may block forever
                raise SettingsError(f"key file {path}: must be a regular file, as `frota list keygen` makes it")
            text = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        hint = "; only its user and group may read it" if isinstance(error, PermissionError) else ""
        raise SettingsError(f"key file {path}: {error.strerror}{hint}") from None
    key = text.removeprefix(codecs.BOM_UTF8).strip().lower().decode("ascii", "replace")
    if not _KEY.fullmatch(key) or not int(key, 16):  # zeros: an uninitialized key
        raise SettingsError(f"key file {path}: no secret key: must be one line of 64 hexadecimal digits")
    secret_file.check(path, status)
    return bytes.fromhex(key)


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a file without waiting for a writer, in case it is a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def public_key(secret: bytes) -> bytes:
    """Return the public key of a secret key, 32 bytes each."""
    import zmq
    from zmq.utils import z85

    return bytes(z85.decode(zmq.curve_public(z85.encode(secret))))


def generate(path: Path) -> str:
    """Make a secret key, write it to a new file, and return its public key in hexadecimal.

    The file appears whole, on disk, with mode 0600, or not at all. Raises FileExistsError, OSError.
    """
    import zmq
    from zmq.utils import z85

    public, secret = (bytes(z85.decode(key)) for key in zmq.curve_keypair())
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600, O_EXCL
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(f"{secret.hex()}\n".encode())
            files.sync(file)
        _link(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    files.sync_folder(path.parent)
    return public.hex()


def _link(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # unlike a rename, it never replaces a file
    except FileExistsError:
        raise FileExistsError(
            f"{path} exists, and no key is overwritten; `frota list keygen --public {path}` prints its public key"
        ) from None
