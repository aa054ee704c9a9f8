"""Settings: frozen dataclasses, read once from the environment or an env file."""

import dataclasses
import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h: the units do not restart on it


class SettingsError(Exception):
    """A setting is invalid: names the key, the value and what would be valid."""


def setting(  # noqa: PLR0913 -- a keyword for each property of a setting, all optional
    default: T,
    text: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    parse: Callable[[str], Any] | None = None,
    former: str = "",
) -> T:
    """Describe a field: default, meaning, unit, range, and whether SIGHUP changes it live.

    `parse` turns text into the field's value; it raises ValueError that says what would be valid. `former` is the
    field's name in earlier releases, whose flag still works.
    """
    meta = {"text": text, "unit": unit, "low": low, "high": high, "choices": choices, "live": live, "parse": parse}
    meta["former"] = former
    return dataclasses.field(default=default, metadata=meta)


def path(text: str) -> Path | None:
    """Parse a path; an empty text is None."""
    return Path(text) if text else None


def keys(cls: type, prefix: str) -> dict[str, "dataclasses.Field[Any]"]:
    """Return the field for each environment key of a settings dataclass."""
    return {prefix + field.name.upper(): field for field in dataclasses.fields(cls)}


def read(cls: type[T], prefix: str, environ: Mapping[str, str], defaults: Mapping[str, Any] | None = None) -> T:
    """Build settings from the environment; `defaults` replace the dataclass's own. Raises SettingsError."""
    values = dict(defaults or {})
    for key, field in keys(cls, prefix).items():
        if key in environ:
            values[field.name] = _cast(key, environ[key], field)
    try:
        return cls(**values)
    except ValueError as error:  # __post_init__ checks what concerns several fields
        raise SettingsError(str(error)) from None


def unknown(cls: type, prefix: str, environ: Mapping[str, str]) -> list[str]:
    """Return keys with the prefix that belong to no field, most likely typing errors."""
    return sorted(key for key in environ if key.startswith(prefix) and key not in keys(cls, prefix))


def read_env_file(path: Path) -> dict[str, str]:
    """Read KEY=VALUE lines as systemd's EnvironmentFile= does (comments, quotes). Raises SettingsError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # -sig: some editors write a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    pairs = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line[0] in "#;":
            continue
        key, equals, value = line.partition("=")
        if not equals or not key.strip().isidentifier():
            raise SettingsError(f"{path}:{number}: {line!r} is not KEY=VALUE")
        pairs[key.strip()] = _unquote(value.strip(), f"{path}:{number}")
    return pairs


def _unquote(value: str, where: str) -> str:
    if value[:1] not in ("'", '"'):
        return value
    try:
        return "".join(shlex.split(value))
    except ValueError as error:
        raise SettingsError(f"{where}: {value!r}: {error}") from None


def _cast(key: str, text: str, field: "dataclasses.Field[Any]") -> Any:
    meta = field.metadata
    try:
        value = (meta["parse"] or _PARSERS[field.type])(text)
    except ValueError as error:
        reason = str(error) if meta["parse"] or field.type is bool else f"must be {_KINDS[field.type]}"
        raise SettingsError(f"{key}={text!r}: {reason}") from None
    if meta["choices"] and value not in meta["choices"]:
        raise SettingsError(f"{key}={text!r}: must be one of {', '.join(meta['choices'])}")
    low, high = meta["low"], meta["high"]
    too_far = isinstance(value, float) and not math.isfinite(value)
    if too_far or (low is not None and value < low) or (high is not None and value > high):
        unit = f" {meta['unit']}" if meta["unit"] else ""
        raise SettingsError(f"{key}={text!r}: must be from {low} to {high}{unit}")
    return value


def _flag(text: str) -> bool:
    if text.lower() not in ("0", "1", "no", "yes", "false", "true"):
        raise ValueError("must be yes or no")
    return text.lower() in ("1", "yes", "true")


_PARSERS: dict[Any, Callable[[str], Any]] = {int: int, float: float, str: str, Path: Path, bool: _flag}
_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", Path: "a path", str: "text"}
