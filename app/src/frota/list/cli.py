"""`frota list serve`, and the client commands."""

import argparse
import re
from functools import partial
from pathlib import Path

from frota.core import commands
from frota.list.client_settings import ClientSettings
from frota.list.messages import ORDERS, parse_integer
from frota.list.settings import PREFIX, SERVER_UNIT, SYSTEM, ServerSettings

_EXAMPLE = "frota list {} --host 127.0.0.1 --port 1234"


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add this system's commands to its parser."""
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    example = "frota list serve --host 127.0.0.1 --port 1234 --state-dir lists"
    serve = commands.add(group, "serve", _serve, "serve lists to many clients", example)
    commands.configurable(serve, ServerSettings, PREFIX)
    example = "frota list keygen client.key"
    keygen = commands.add(group, "keygen", _keygen, "make a secret key and print its public key", example)
    keygen.add_argument("file", type=Path, metavar="FILE", help="where the secret key is written; never overwritten")
    keygen.add_argument("--public", action="store_true", help="only print the public key of an existing FILE")
    menu = commands.add(group, "menu", _menu, "the menu of the legacy client, in Portuguese", _EXAMPLE.format("menu"))
    commands.configurable(menu, ClientSettings, PREFIX)
    watch = commands.add(group, "watch", _watch, "print changes as they are made", "frota list watch --last 10")
    watch.add_argument(
        "--last", default=0, type=_count, metavar="N", help="print the last N changes first (%(default)s)"
    )
    _add_client_options(watch)
    _add_queries(group)
    _add_changes(group)


def _add_queries(group: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = _add_request(group, "show", "print the elements, one a line", "frota list show -3: --json")
    show._negative_number_matcher = re.compile(r"-\d+(:(-\d+|\d*))?$")  # argparse would take "-3:" for a flag
    text = "a Python slice of the elements: 0:10, -3: (all)"
    show.add_argument("slice", nargs="?", default=(None, None), type=_slice, metavar="START:STOP", help=text)
    search = _add_request(group, "search", "print the positions of an element", "frota list search 'two words'")
    search.add_argument("value", type=_value, metavar="VALUE", help="the whole element")
    _add_request(group, "lists", "print all lists of the server with their lengths", "frota list lists --json")


def _add_changes(group: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    append = _add_request(group, "append", "add elements at the end", "frota list append 3 'two words' -- -x")
    text = "elements; - reads lines of standard input; put -- before elements that begin with -"
    append.add_argument("values", nargs="+", type=_value, metavar="VALUE", help=text)
    insert = _add_request(group, "insert", "insert an element before a position", "frota list insert -1 'two words'")
    insert.add_argument("position", type=_position, metavar="POSITION", help="from 0; negative: from the end")
    insert.add_argument("value", type=_value, metavar="VALUE", help="the element")
    remove = _add_request(group, "remove", "remove the first element equal to VALUE", "frota list remove 'two words'")
    remove.add_argument("value", type=_value, metavar="VALUE", help="the whole element")
    sort = _add_request(group, "sort", "sort the list", "frota list sort --by number --descending")
    sort.add_argument("--by", choices=ORDERS, default=ORDERS[0], help="order (%(default)s)")
    sort.add_argument("--descending", action="store_true", help="largest first")
    _add_request(group, "clear", "remove all elements", "frota list clear --list shopping")
    _add_request(group, "undo", "undo the last change", "frota list undo --list shopping")


def _add_request(
    group: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str, example: str
) -> argparse.ArgumentParser:
    """Add a command that sends requests and prints the responses."""
    parser = commands.add(group, name, _request, text, example)
    parser.set_defaults(command=name)
    _add_client_options(parser)
    return parser


def _add_client_options(parser: argparse.ArgumentParser) -> None:
    commands.configurable(parser, ClientSettings, PREFIX)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")


def _slice(text: str) -> tuple[int | None, int | None]:
    match = re.fullmatch(r"(-?\d{1,18})?:(-?\d{1,18})?", text, re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: must be START:STOP, either of which may be omitted")
    start, stop = (int(part) if part else None for part in match.groups())
    return start, stop


def _value(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!a}: no UTF-8") from None
    return text


def _position(text: str) -> int:
    try:
        return parse_integer(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:40]!a}: must be a whole number") from None


def _count(text: str) -> int:
    count = _position(text)
    if count < 0:
        raise argparse.ArgumentTypeError(f"{count}: must not be negative")
    return count


def _serve(args: argparse.Namespace) -> int:
    reread = partial(_server_settings, args)
    if not args.check:
        from frota.list.server.admission import require_descriptors

        require_descriptors()
    return commands.serve(args, SYSTEM, SERVER_UNIT, reread, "frota.list.server.server:ListServer")


def _server_settings(args: argparse.Namespace) -> ServerSettings:
    """Read the server's settings. Raises SettingsError, with --check also for an unusable key."""
    config = commands.read(ServerSettings, PREFIX, args)
    if args.check and config.key_file:  # a systemd credential exists only once the unit has started
        from frota.list.server import authentication

        authentication.secret_key(config)
    return config


def _keygen(args: argparse.Namespace) -> int:
    from frota.list import keys

    print(keys.public_key(keys.read_secret(args.file)).hex() if args.public else keys.generate(args.file))
    return 0


def _request(args: argparse.Namespace) -> int:
    from frota.list.client import commands

    return commands.run(args)


def _menu(args: argparse.Namespace) -> int:
    from frota.list.client import commands, menu

    return commands.with_client(args, menu.run)


def _watch(args: argparse.Namespace) -> int:
    from frota.list.client import commands
    from frota.list.client.watch import watch

    return commands.with_client(args, lambda client: watch(client, args.last, args.json))
