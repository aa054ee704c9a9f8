"""What the commands of all systems share: one flag per setting, `--env-file`, `--check`, and an example in the help."""

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
    """Add a command that `run` carries out."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, epilog=f"example: {example}", allow_abbrev=False
    )
    parser.set_defaults(run=run)
    return parser


def configurable(parser: argparse.ArgumentParser, cls: type, prefix: str) -> None:
    """Give a command one flag per setting; a flag that is used wins over the env file and the environment."""
    for key, field in settings.keys(cls, prefix).items():
        unit = f", in {field.metadata['unit']}" if field.metadata["unit"] else ""
        text = f"{field.metadata['text']}{unit} ({_shown(field.default)}; environment: {key})"
        flag = "--" + field.name.replace("_", "-")
        parser.add_argument(flag, dest=key, metavar=field.name.upper(), help=text.replace("%", "%%"))
    parser.add_argument("--env-file", metavar="FILE", help="KEY=VALUE lines that win over the environment")
    text = "only check the settings: exit 0, or 78 with the reason; positional arguments are optional then"
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
    """Read the settings, the later winning: environment, env file (--env-file or FROTA_ENV_FILE), flags.

    An unknown key is an error to --check, to a start only worth a warning: after a rollback, older code must run with
    a newer configuration. Raises SettingsError.
    """
    file = args.env_file or os.environ.get("FROTA_ENV_FILE")
    pairs = settings.read_env_file(Path(file)) if file else {}
    for key, value in pairs.items():
        if os.environ.get(key) == value:  # it comes from this file (EnvironmentFile=), so it goes when its line goes
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


def read_as_people(cls: type[Settings], prefix: str, args: argparse.Namespace, fleet_file: Path) -> Settings:
    """Read the settings of a command for people; the fleet's own file, where it is there, is the weakest of all.

    It is read only where no other file is named. Raises SettingsError.
    """
    if args.env_file or os.environ.get("FROTA_ENV_FILE") or not os.access(fleet_file, os.R_OK):
        return read(cls, prefix, args)
    try:
        found = settings.read(cls, prefix, settings.read_env_file(fleet_file))
    except SettingsError as error:
        raise SettingsError(f"{fleet_file}: {error}") from None
    return read(cls, prefix, args, vars(found))


def serve(args: argparse.Namespace, system: str, unit: str, read_settings: Callable[[], Any], service: str) -> int:
    """Run a service until it ends: `service` is MODULE:CLASS, imported only then, and called with settings and `end`.

    `read_settings` is called now, and again by each reload. With --check nothing is started. Raises SettingsError.
    """
    log.configure(system, unit)
    config = read_settings()
    if args.check:
        return 0
    from frota.core import service as runner  # here: what runs a service is memory that other commands do without

    log.configure(system, unit, config.log_level)
    module, _, name = service.partition(":")
    return runner.run(partial(getattr(importlib.import_module(module), name), config, read_settings))


def take_live(old: Settings, new: Settings, prefix: str) -> Settings:
    """Return the old settings with what may change live taken from the new; name, in the log, what needs a restart."""
    changes = {}
    for field in dataclasses.fields(old):
        value = getattr(new, field.name)
        if value == getattr(old, field.name):
            continue
        if field.metadata["live"]:
            changes[field.name] = value
        else:
            key = prefix + field.name.upper()
            log.record("WARNING", "restart_required", f"{key} has changed, but takes effect only at the next restart")
    return dataclasses.replace(old, **changes)


def _as_typed(reason: str, flags: Mapping[str, str], prefix: str) -> str:
    """Return the reason with the flag in place of its key, where it is about a flag."""
    key, equals, rest = reason.partition("=")
    if not equals or key not in flags:
        return reason
    return f"--{key.removeprefix(prefix).lower().replace('_', '-')} {rest}"


def _shown(default: object) -> str:
    if default is None or default in ("", ()):
        return "not set"
    return "default " + _joined(default, ",")


def _joined(value: object, by: str) -> str:
    """Return a value as it is typed: of a tuple its members, of tuples in it theirs, as HOST:PORT,HOST:PORT."""
    return by.join(_joined(one, ":") for one in value) if isinstance(value, tuple) else str(value)
