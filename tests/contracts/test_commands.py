"""Every command says how it is used, with an example that works; every service command is deployed, once."""

import argparse
import importlib
import re
import shlex
from collections import Counter

import pytest

from frota import cli

from .checkout import ROOT, load, mappings, task_files


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    choices: list[dict[str, argparse.ArgumentParser]] = [
        dict(action.choices) for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return {name: command for group in choices for name, command in group.items()}


def _below(name: str, parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the commands of a parser by their whole name, those of groups included."""
    commands: dict[str, argparse.ArgumentParser] = {}
    for word, command in _commands(parser).items():
        commands |= _below(f"{name} {word}", command) or {f"{name} {word}": command}
    return commands


def _all_commands() -> dict[str, argparse.ArgumentParser]:
    commands: dict[str, argparse.ArgumentParser] = {}
    for name, system in (cli.SYSTEMS | cli.FLEET_COMMANDS).items():
        parser = argparse.ArgumentParser()
        importlib.import_module(f"frota.{system.package}.cli").add_commands(parser)
        commands |= _below(name, parser) or {name: parser}
    return commands


COMMANDS = _all_commands()
# A service has settings and keeps something; what only asks a service has settings too. A migration ends.
SERVICES = {
    name for name, command in COMMANDS.items() if {"--env-file", "--state-dir"} <= set(command._option_string_actions)
} - {"peers migrate"}
each_command = pytest.mark.parametrize("command", COMMANDS)


def _deployed() -> list[tuple[str, str]]:
    """Return the role and the command of every service that a role deploys."""
    return [
        (path.parts[-3], " ".join(mapping["python_service_arguments"].split()[:2]))
        for path in task_files()
        for mapping in mappings(load(path))
        if "python_service_arguments" in mapping and "python_service_executable" not in mapping
    ]


def test_commands_are_deployed_once() -> None:
    """Every service command is deployed by exactly one role entry point."""
    assert Counter(command for _, command in _deployed()) == Counter(SERVICES)


def test_role_has_the_name_of_the_package() -> None:
    """A service is deployed by the role with the name of its package."""
    assert {role: cli.SYSTEMS[command.split()[0]].package for role, command in _deployed()} == {
        role: role for role, _ in _deployed()
    }


@each_command
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command prints its help."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: frota {command}")


@each_command
def test_help_examples_are_valid(command: str) -> None:
    """The example in the help of a command is a valid call of that command."""
    example = re.fullmatch(rf"example: frota {command}( .+)?", COMMANDS[command].epilog or "")
    assert example, f"frota {command} --help shows no example"
    COMMANDS[command].parse_args(shlex.split(example[1] or ""))


def test_core_names_no_system() -> None:
    """The core contains the name of no system."""
    core = ROOT / "app" / "src" / "frota" / "core"
    systems = "|".join([*(system.package for system in cli.SYSTEMS.values()), "sensor", "logbook"])
    telling = [path.name for path in core.glob("*.py") if re.search(rf"\bfrota\.({systems})\b", path.read_text())]
    assert any(core.glob("*.py"))
    assert telling == []
