"""The commands of `frota images`: the services, and those of users and operators."""

import argparse
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv6Address
from typing import Any

from frota.core import commands
from frota.core.settings import SettingsError
from frota.images import settings
from frota.images.client_settings import ClientSettings, OperatorSettings
from frota.images.messages import check_id
from frota.images.settings import PREFIX, PRODUCER_UNIT, SYSTEM, WORKER_UNIT, ProducerSettings, WorkerSettings

_AMQP_PORT = 5672
_ID = "0123456789abcdef0123456789abcdef"  # in examples
Group = Any  # argparse has no public name for what add_subparsers returns


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add this system's commands to its parser."""
    group = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    example = "frota images serve --port 50051 --brokers 127.0.0.1:5672 --state-dir images"
    serve = commands.add(group, "serve", _serve, "accept images from clients and queue them", example)
    commands.configurable(serve, ProducerSettings, PREFIX)
    example = "frota images work --brokers 127.0.0.1:5672 --bucket results"
    text = "turn queued images grey and store them in S3; reads RABBIT_HOST and BUCKET_NAME of the environment, too"
    work = commands.add(group, "work", _work, text, example)
    commands.configurable(work, WorkerSettings, PREFIX)
    _add_send(group)
    _add_status(group)
    _add_dead(group)


def _add_send(group: Group) -> None:
    text = "send images, wait until each is done or dead; exit 0 only if all are done"
    example = "frota images send a.jpg b.png holidays/ 127.0.0.1:50051"
    send = commands.add(group, "send", _send, text, example)
    text = "images, and folders (all images below, no hidden ones); the last argument may be the server, HOST:PORT"
    send.add_argument("files", nargs="+", metavar="FILE", help=text)
    text = "images sent in parallel, 1 to 64 (%(default)s)"
    send.add_argument("--parallel", type=_parallel, default=8, metavar="N", help=text)
    text = "exit when all are accepted, and print their ids; exit 0 only if all were"
    send.add_argument("--no-wait", action="store_true", help=text)
    _add_client_options(send)


def _add_status(group: Group) -> None:
    text = "print the status of images; exit 1 if one is dead or unknown, with --watch also if one has no final status"
    example = f"frota images status {_ID} --json"
    status = commands.add(group, "status", _ask_status, text, example)
    status.add_argument("ids", nargs="+", type=_id, metavar="ID", help="as `frota images send` printed it")
    text = "print every change, until all are done or dead"
    status.add_argument("--watch", action="store_true", help=text)
    _add_client_options(status)


def _add_dead(group: Group) -> None:
    text = "list, retry or drop dead-lettered images (operators only)"
    group = group.add_parser("dead", help=text, description=text, allow_abbrev=False)
    group = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = commands.add(
        group, "list", _operate, "print the dead images and their reasons", "frota images dead list --json"
    )
    retry = commands.add(
        group, "retry", _operate, "put dead images back into the queue", f"frota images dead retry {_ID}"
    )
    drop = commands.add(group, "drop", _operate, "delete dead images for ever", "frota images dead drop --all --yes")
    for name, parser in ("retry", retry), ("drop", drop):
        parser.add_argument("ids", nargs="*", type=_id, metavar="ID", help="as `frota images dead list` prints it")
        _allow_intermixed(parser)
        parser.add_argument("--all", action="store_true", help=f"{name} every image that is dead now")
    drop.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    for name, parser in ("list", listing), ("retry", retry), ("drop", drop):
        parser.set_defaults(command=name, usage=parser.error)
        commands.configurable(parser, OperatorSettings, PREFIX)
        parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")


def _allow_intermixed(parser: argparse.ArgumentParser) -> None:
    """Accept options between positional arguments: `send a.jpg --no-wait HOST:PORT`."""
    plain = parser.parse_known_args

    def parse(args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        setattr(parser, name, plain)  # which argparse calls in its turn
        try:
            return parser.parse_known_intermixed_args(args, namespace)
        finally:
            setattr(parser, name, parse)

    name = "parse_known_args"
    setattr(parser, name, parse)


def _add_client_options(parser: argparse.ArgumentParser) -> None:
    _allow_intermixed(parser)
    commands.configurable(parser, ClientSettings, PREFIX)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for machines")


def _id(text: str) -> str:
    try:
        return check_id(text.lower())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text[:80]!a}: must be 32 hexadecimal digits") from None


def _parallel(text: str) -> int:
    if not re.fullmatch(r"\d{1,2}", text, re.ASCII) or not 0 < int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text[:80]!a}: must be from 1 to 64")
    return int(text)


def _serve(args: argparse.Namespace) -> int:
    reread = partial(_producer_settings, args)
    return commands.serve(args, SYSTEM, PRODUCER_UNIT, reread, "frota.images.producer.producer:Producer")


def _work(args: argparse.Namespace) -> int:
    reread = partial(worker_settings, args)
    return commands.serve(args, SYSTEM, WORKER_UNIT, reread, "frota.images.worker.worker:Worker")


def _producer_settings(args: argparse.Namespace) -> ProducerSettings:
    """Read the producer's settings. Raises SettingsError."""
    config = commands.read(ProducerSettings, PREFIX, args)
    config.check_secrets()
    return config


def worker_settings(args: argparse.Namespace) -> WorkerSettings:
    """Read the worker's settings. The environment variables of the legacy worker have the lowest precedence.

    Raises SettingsError.
    """
    fallback: dict[str, Any] = {"bucket": os.environ.get("BUCKET_NAME", "")}
    if host := os.environ.get("RABBIT_HOST"):
        try:
            fallback["brokers"] = settings.parse_brokers(with_port(host))
        except ValueError:
            raise SettingsError(f"RABBIT_HOST={host!r}: must be the broker's host") from None
    config = commands.read(WorkerSettings, PREFIX, args, fallback)
    if not config.bucket:
        raise SettingsError(f"{PREFIX}BUCKET (--bucket) is missing: a worker needs a bucket for its results")
    config.check_secrets()
    return config


def with_port(host: str) -> str:
    """Return RABBIT_HOST as HOST:PORT; a bare IPv6 address has no port."""
    with suppress(ValueError):
        return f"[{IPv6Address(host.strip('[]'))}]:{_AMQP_PORT}"
    return host if re.search(r":\d+$", host) else f"{host}:{_AMQP_PORT}"


def _send(args: argparse.Namespace) -> int:
    from frota.images.client.send import run

    return run(args)


def _ask_status(args: argparse.Namespace) -> int:
    from frota.images.client.status import run

    return run(args)


def _operate(args: argparse.Namespace) -> int:
    from frota.images.client import dead_letters

    return dead_letters.run(args)
