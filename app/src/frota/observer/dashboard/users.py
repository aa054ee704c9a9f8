"""Who may log in: the users file, and the hashes of passwords (scrypt, RFC 7914, as PHC strings)."""

import base64
import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from pathlib import Path

from frota.core import secret_file
from frota.core.settings import SettingsError

VIEWER, OPERATOR = "viewer", "operator"
ROLES = (VIEWER, OPERATOR)
MIN_PASSWORD_CHARACTERS, MAX_PASSWORD_CHARACTERS = 8, 1024
_LOG_N, _R, _P = 15, 8, 1  # 32 MiB, about 0.1 s
_MAX_MEMORY_BYTES = 2**28
_HASH_BYTES, _SALT_BYTES = 32, 16
_NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)
_HASH = re.compile(r"\$scrypt\$ln=(1[4-7]),r=([1-9]|1[0-6]),p=([1-4])\$([A-Za-z0-9+/]{16,86})\$([A-Za-z0-9+/]{43})")


@dataclass(frozen=True)
class User:
    """A user: `hash` as `password_hash` returns it."""

    name: str
    role: str
    hash: str


def line(name: str, role: str, password: str) -> str:
    """Return a user's line of the file. Raises SettingsError."""
    if not _NAME.fullmatch(name):
        raise SettingsError(f"{name!r}: a user's name has letters, digits, '.', '_', '@' or '-', at most 64")
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        limits = f"{MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS}"
        raise SettingsError(f"the password has {len(password)} characters: must have {limits}")
    return f"{name}:{role}:{password_hash(password)}"


def password_hash(password: str) -> str:
    """Return the hash of a password with a new salt."""
    salt = os.urandom(_SALT_BYTES)
    digest = _scrypt(password, salt, _LOG_N, _R, _P)
    return f"$scrypt$ln={_LOG_N},r={_R},p={_P}${_encoded(salt)}${_encoded(digest)}"


def is_right(password: str, hash_: str) -> bool:
    """Tell whether a password has this hash; takes the same time for a wrong one."""
    match = _HASH.fullmatch(hash_)
    if match is None:
        return False
    digest = _scrypt(password, _decoded(match[4]), int(match[1]), int(match[2]), int(match[3]))
    return hmac.compare_digest(digest, _decoded(match[5]))


class Users:
    """The users of a file."""

    def __init__(self, users: dict[str, User]) -> None:
        self.by_name = users
        self._nobody = password_hash("")  # what an unknown name is compared with, so that it takes the same time

    @classmethod
    def read(cls, path: Path) -> "Users":
        """Read a users file. Raises SettingsError, which never quotes a hash."""
        secret_file.check(path)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        users: dict[str, User] = {}
        for number, text in enumerate(map(str.strip, lines), 1):
            if text and not text.startswith("#"):
                user = _parse(text, f"{path}:{number}")
                if user.name in users:
                    raise SettingsError(f"{path}:{number}: {user.name} has a line already")
                users[user.name] = user
        if not users:
            raise SettingsError(f"{path}: has no user; `frota dashboard password NAME` prints a line for it")
        return cls(users)

    def authenticate(self, name: str, password: str) -> User | None:
        """Return the user with this name and password, None if there is none. Takes about 0.1 s of CPU time."""
        user = self.by_name.get(name)
        right = is_right(password[:MAX_PASSWORD_CHARACTERS], user.hash if user else self._nobody)
        return user if right else None


def _parse(text: str, where: str) -> User:
    name, _, rest = text.partition(":")
    role, _, hash_ = rest.partition(":")
    if not _NAME.fullmatch(name) or role not in ROLES or not _HASH.fullmatch(hash_):
        raise SettingsError(f"{where}: must be NAME:ROLE:HASH, as `frota dashboard password` prints it")
    return User(name, role, hash_)


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    data = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=2**log_n, r=r, p=p, maxmem=_MAX_MEMORY_BYTES, dklen=_HASH_BYTES)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
