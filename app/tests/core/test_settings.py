"""Settings are read once, strictly; an error names the valid values."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.core import settings
from frota.core.settings import SettingsError, setting


@dataclasses.dataclass(frozen=True)
class Example:
    port: int = setting(5000, "a port", low=0, high=65535)
    wait: float = setting(1.5, "a time", unit="seconds", low=0, high=10)
    mode: str = setting("auto", "a choice", choices=("auto", "native"))
    quick: bool = setting(False, "yes or no")
    home: Path | None = setting(None, "a folder", parse=Path)


def test_keys_have_the_prefix() -> None:
    """A key is the prefix and the field's name in capitals."""
    assert list(settings.keys(Example, "X_")) == ["X_PORT", "X_WAIT", "X_MODE", "X_QUICK", "X_HOME"]


def test_environment_overrides_defaults() -> None:
    """The environment overrides defaults, and its values are cast."""
    environ = {"X_PORT": "1", "X_WAIT": "2", "X_MODE": "native", "X_QUICK": "yes", "X_HOME": "/a", "PORT": "9"}
    assert settings.read(Example, "X_", environ) == Example(1, 2.0, "native", True, Path("/a"))
    assert settings.read(Example, "X_", {}) == Example()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("X_PORT", "99999", "must be from 0 to 65535"),
        ("X_PORT", "abc", "must be a whole number"),
        ("X_PORT", "", "must be a whole number"),
        ("X_WAIT", "nan", "must be from 0 to 10 seconds"),
        ("X_WAIT", "inf", "must be from 0 to 10 seconds"),
        ("X_MODE", "fast", "must be one of auto, native"),
        ("X_QUICK", "perhaps", "must be yes or no"),
    ],
)
def test_error_names_key_value_and_range(key: str, value: str, expected: str) -> None:
    """An error names the key, the value and the valid values."""
    with pytest.raises(SettingsError) as caught:
        settings.read(Example, "X_", {key: value})
    assert str(caught.value) == f"{key}={value!r}: {expected}"


@given(st.dictionaries(st.sampled_from(["X_PORT", "X_WAIT", "X_MODE", "X_QUICK"]), st.text()))
def test_any_environment_is_valid_or_rejected(environ: dict[str, str]) -> None:
    """Any environment gives valid settings, or SettingsError and nothing else."""
    try:
        example = settings.read(Example, "X_", environ)
    except SettingsError:
        return
    assert 0 <= example.port <= 65535
    assert 0 <= example.wait <= 10


def test_misspelt_key_is_unknown() -> None:
    """A misspelt key with the prefix is reported as unknown."""
    assert settings.unknown(Example, "X_", {"X_PROT": "1", "X_PORT": "1", "Y_PORT": "1"}) == ["X_PROT"]


def test_env_file_syntax(tmp_path: Path) -> None:
    """An env file has the comments and quotes of systemd's."""
    file = tmp_path / "env"
    file.write_text(
        '# a comment\n; another\n\nA=1\nB = two words \nC="quoted \\" "\nD=\'single\'\nE=\n', encoding="utf-8"
    )
    assert settings.read_env_file(file) == {"A": "1", "B": "two words", "C": 'quoted " ', "D": "single", "E": ""}


@pytest.mark.parametrize("line", ["A", "A B=1", "=1", "A='open"])
def test_malformed_line_has_a_number(tmp_path: Path, line: str) -> None:
    """A malformed line of an env file is reported with its number."""
    file = tmp_path / "env"
    file.write_text(f"GOOD=1\n{line}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"env:2: "):
        settings.read_env_file(file)


def test_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """A byte order mark at the start of an env file is ignored."""
    (tmp_path / "env").write_text("\ufeffX_PORT=7\n", encoding="utf-8")
    assert settings.read_env_file(tmp_path / "env") == {"X_PORT": "7"}


def test_missing_env_file_is_rejected(tmp_path: Path) -> None:
    """A missing env file raises SettingsError."""
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.read_env_file(tmp_path / "none")
