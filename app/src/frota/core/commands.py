"""What all commands share: a flag for each setting, `--env-file`, `--check`, and an example in the help."""

import argparse
import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from frota.core import settings
from frota.core.settings import SettingsError
from frota.logs import log

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Settings = TypeVar("Settings", bound="DataclassInstance")
Handler = Callable[[argparse.Namespace], int]


def add(commands: Any, name: str, run: Handler, text: str, example: str) -> argparse.ArgumentParser:
    """Add a command; `run` executes it and returns the exit status."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    describe(parser, run, example)
    return parser


def describe(parser: argparse.ArgumentParser, run: Handler, example: str) -> None:
    """Make a parser that of a command; `run` executes it and returns the exit status."""
    parser.epilog, parser.allow_abbrev = f"example: {example}", False
    parser.set_defaults(run=run)


def configurable(parser: argparse.ArgumentParser, cls: type, prefix: str) -> None:
    """Give a command a flag for each setting; a flag overrides the env file and the environment."""
    for key, field in settings.keys(cls, prefix).items():
        unit = f", in {field.metadata['unit']}" if field.metadata["unit"] else ""
        text = f"{field.metadata['text']}{unit} ({_shown(field.default)}; environment: {key})"
        parser.add_argument(_flag(field.name), dest=key, metavar=field.name.upper(), help=text.replace("%", "%%"))
        if former := field.metadata["former"]:
            parser.add_argument(_flag(former), dest=key, help=argparse.SUPPRESS)
    parser.add_argument("--env-file", metavar="FILE", help="KEY=VALUE lines that override the environment")
    text = "check the settings and exit: 0, or 78 with the reason; positional arguments are optional"
    parser.add_argument("--check", action=_Check, help=text)


class _Check(argparse.Action):
    """`--check`: makes positional arguments optional, since a check of settings needs none."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 -- argparse's name
        super().__init__(option_strings, dest, nargs=0, default=False, help=help)

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object) -> None:
        setattr(namespace, self.dest, True)
        for action in parser._actions:
            if not action.option_strings:
                action.required = False


def read(cls: type[T], prefix: str, args: argparse.Namespace, defaults: Mapping[str, Any] | None = None) -> T:
    """Read the settings: the environment, overridden by the env file (--env-file or FROTA_ENV_FILE), then by flags.

    An unknown key fails --check but is only a warning at start: after a rollback, older code must run with a newer
    configuration. Raises SettingsError.
    """
    file = args.env_file or os.environ.get("FROTA_ENV_FILE")
    pairs = settings.read_env_file(Path(file)) if file else {}
    for key, value in pairs.items():
        if (
            os.environ.get(key) == value
        ):  # systemd read it from this file (EnvironmentFile=): a line that was removed must not stay in effect
            del os.environ[key]
    flags = {key: value for key, value in vars(args).items() if key.startswith(prefix) and value is not None}
    environ = {**os.environ, **pairs, **flags}
    try:
        config = settings.read(cls, prefix, environ, defaults)
    except SettingsError as error:
        raise SettingsError(_as_typed(str(error), flags, prefix)) from None
    unknown = ", ".join(settings.unknown(cls, prefix, environ))
    if unknown and args.check:
        raise SettingsError(f"{unknown}: no such setting; known are {', '.join(settings.keys(cls, prefix))}")
    if unknown:
        log.record("WARNING", "setting_unknown", f"{unknown}: no such setting, ignored")
    return config


def read_for_people(cls: type[Settings], prefix: str, args: argparse.Namespace, fleet_file: Path) -> Settings:
    """Read the settings of a command for people, with the fleet's own file as defaults where it exists.

    It is ignored where another file is named. Raises SettingsError.
    """
    if args.env_file or os.environ.get("FROTA_ENV_FILE") or not os.access(fleet_file, os.R_OK):
        return read(cls, prefix, args)
    try:
        defaults = settings.read(cls, prefix, settings.read_env_file(fleet_file))
    except SettingsError as error:
        raise SettingsError(f"{fleet_file}: {error}") from None
    return read(cls, prefix, args, vars(defaults))


def serve(args: argparse.Namespace, system: str, unit: str, read_settings: Callable[[], Any], service: str) -> int:
    """Run a service until it ends: `service` is MODULE:CLASS, imported on start and called with settings and `end`.

    `read_settings` is called now and at each reload. With --check nothing is started. Raises SettingsError.
    """
    log.configure(system, unit)
    config = read_settings()
    if args.check:
        return 0
    from frota.core import service as runner  # here: other commands do without its memory

    log.configure(system, unit, config.log_level)
    module, _, name = service.partition(":")
    return runner.run(partial(getattr(importlib.import_module(module), name), config, read_settings))


def take_live(old: Settings, new: Settings, prefix: str) -> Settings:
    """Return the old settings with the live ones taken from the new; log a warning for each that needs a restart."""
    changes = {}
    for field in dataclasses.fields(old):
        value = getattr(new, field.name)
        if value == getattr(old, field.name):
            continue
        if field.metadata["live"]:
            changes[field.name] = value
        else:
            key = prefix + field.name.upper()
            log.record("WARNING", "restart_required", f"{key} has changed; it takes effect at the next restart")
    return dataclasses.replace(old, **changes)


def _as_typed(reason: str, flags: Mapping[str, str], prefix: str) -> str:
    """Replace the key in a reason by the flag, where the value came from a flag."""
    key, equals, rest = reason.partition("=")
    if not equals or key not in flags:
        return reason
    return f"{_flag(key.removeprefix(prefix).lower())} {rest}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(default: object) -> str:
    if default is None or default in ("", ()):
        return "not set"
    return "default " + _joined(default, ",")


def _joined(value: object, by: str) -> str:
    """Return a value as a user types it; a tuple of pairs as HOST:PORT,HOST:PORT."""
    return by.join(_joined(one, ":") for one in value) if isinstance(value, tuple) else str(value)
