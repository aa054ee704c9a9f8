"""Settings are read once, strictly, and their errors say what would be right."""

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


def test_every_key_is_the_prefix_and_the_fields_name_in_capitals() -> None:
    assert list(settings.keys(Example, "X_")) == ["X_PORT", "X_WAIT", "X_MODE", "X_QUICK", "X_HOME"]


def test_the_environment_replaces_defaults_and_is_cast() -> None:
    environ = {"X_PORT": "1", "X_WAIT": "2", "X_MODE": "native", "X_QUICK": "yes", "X_HOME": "/a", "PORT": "9"}
    assert settings.read(Example, "X_", environ) == Example(1, 2.0, "native", True, Path("/a"))
    assert settings.read(Example, "X_", {}) == Example()


@pytest.mark.parametrize(
    ("key", "value", "right"),
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
def test_an_error_names_the_key_the_value_and_what_would_be_right(key: str, value: str, right: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.read(Example, "X_", {key: value})
    assert str(caught.value) == f"{key}={value!r}: {right}"


@given(st.dictionaries(st.sampled_from(["X_PORT", "X_WAIT", "X_MODE", "X_QUICK"]), st.text()))
def test_whatever_the_environment_holds_there_are_settings_or_a_settings_error(environ: dict[str, str]) -> None:
    try:
        found = settings.read(Example, "X_", environ)
    except SettingsError:
        return
    assert 0 <= found.port <= 65535
    assert 0 <= found.wait <= 10


def test_a_key_with_a_typing_error_is_found() -> None:
    assert settings.unknown(Example, "X_", {"X_PROT": "1", "X_PORT": "1", "Y_PORT": "1"}) == ["X_PROT"]


def test_an_env_file_has_comments_and_quotes_as_systemds_has(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(
        '# a comment\n; another\n\nA=1\nB = two words \nC="quoted \\" "\nD=\'single\'\nE=\n', encoding="utf-8"
    )
    assert settings.read_env_file(file) == {"A": "1", "B": "two words", "C": 'quoted " ', "D": "single", "E": ""}


@pytest.mark.parametrize("line", ["A", "A B=1", "=1", "A='open"])
def test_a_line_of_an_env_file_that_is_none_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    file = tmp_path / "env"
    file.write_text(f"GOOD=1\n{line}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"env:2: "):
        settings.read_env_file(file)


def test_an_env_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("\ufeffX_PORT=7\n", encoding="utf-8")
    assert settings.read_env_file(tmp_path / "env") == {"X_PORT": "7"}


def test_an_env_file_that_is_not_there_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        settings.read_env_file(tmp_path / "none")
