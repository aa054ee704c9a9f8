"""Flags of commands."""

import argparse
from dataclasses import dataclass

import pytest

from frota.core import commands
from frota.core.settings import SettingsError, setting


@dataclass(frozen=True)
class Example:
    """Settings, one of which has a former name."""

    timeout: float = setting(30.0, "timeout of a request", low=1, former="patience")


def read(*words: str) -> Example:
    """Read the settings of a command line."""
    parser = argparse.ArgumentParser()
    commands.configurable(parser, Example, "TEST_")
    return commands.read(Example, "TEST_", parser.parse_args(words))


def test_former_flags_work() -> None:
    """The flag of an earlier release sets the same setting."""
    assert read("--patience", "7") == read("--timeout", "7") == Example(7)


def test_former_flags_are_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help shows the present flag only."""
    with pytest.raises(SystemExit):
        read("--help")
    help_text = capsys.readouterr().out
    assert "--timeout TIMEOUT" in help_text
    assert "--patience" not in help_text


def test_errors_name_the_flag() -> None:
    """An invalid value is reported with the flag."""
    with pytest.raises(SettingsError, match=r"^--timeout '0': must be from 1"):
        read("--timeout", "0")
