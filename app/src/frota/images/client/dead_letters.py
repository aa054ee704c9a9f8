"""`frota images dead`: lists, retries and drops dead-lettered images, directly on the broker.

A retried image leaves the dead letter queue only after the confirm of the work queue. An interruption in between may
duplicate it, or leave its status at queued until the next retry, but loses nothing.
"""

import argparse
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pika
from pika import exceptions
from pika.adapters.blocking_connection import BlockingChannel

from frota.core.errors import MalformedMessage
from frota.core.trace import trace_of
from frota.images import client_settings
from frota.images.broker import session
from frota.images.broker.session import BrokerUnavailable
from frota.images.client import diagnosis
from frota.images.client.client import warn
from frota.images.client.output import write
from frota.images.client_settings import OperatorSettings
from frota.images.messages import DEAD, EVENTS, QUEUE, QueuedImage, StatusEvent, dead_letter_reason
from frota.images.settings import PREFIX, SYSTEM
from frota.logs import log
from frota.logs.log import printable

_UNIT = "frota-image-operator"
_CONFIRM_DELETE = "delete {} for ever? [y/N] "
_DEAD_LETTER_HEADERS = ("reason", "reason-code")  # added by the worker, beside the broker's own (x-…)


@dataclass(frozen=True)
class DeadLetter:
    """A dead letter that the broker delivered and that is not acknowledged yet."""

    tag: int
    id: str
    properties: pika.BasicProperties
    body: bytes

    def fields(self) -> dict[str, Any]:
        """Return the fields of the output."""
        headers = self.properties.headers or {}
        code, reason = dead_letter_reason(headers)
        size = headers.get("size")
        return {
            "id": self.id,
            "filename": str(headers.get("filename", "")),
            "size": size if isinstance(size, int) else len(self.body),
            "time": _died_at(self.properties),
            "code": code,
            "reason": reason,
            "trace_id": trace_of(str(headers.get("traceparent", ""))),
        }


def run(args: argparse.Namespace) -> int:
    """Run a command; return 0, or 1 if a named image is not in the dead letter queue. Raises SettingsError."""
    log.configure(SYSTEM, _UNIT)
    config = client_settings.read_operator(args)
    diagnosis.tls_context(config.ca_file, config.cert_file, config.secret_key_file)
    if args.check:
        return 0
    if args.command != "list" and bool(args.ids) == args.all:
        args.usage("which images: ID…, or --all")
    if args.command == "drop" and not args.yes and not _confirmed(args):
        return 1
    with _channel(config) as channel:
        return _list(channel, args) if args.command == "list" else _retry_or_drop(channel, args)


def _confirmed(args: argparse.Namespace) -> bool:
    if not (sys.stdin and sys.stdin.isatty()):
        args.usage("standard input is no terminal to confirm on: give --yes")
    what = "all dead images" if args.all else f"{len(args.ids)} dead image{'s' if len(args.ids) > 1 else ''}"
    return input(_CONFIRM_DELETE.format(what)).strip().lower() in ("y", "yes", "s", "sim")


def _list(channel: BlockingChannel, args: argparse.Namespace) -> int:
    for dead in _dead_letters(channel):  # unacknowledged: the broker requeues all when the channel closes
        fields = dead.fields()
        if args.json:
            write(fields)
        else:
            print(printable("{id}  {size:>10}  {time}  {filename}  {code}: {reason}".format(**fields)), flush=True)
    return 0


def _retry_or_drop(channel: BlockingChannel, args: argparse.Namespace) -> int:
    """Retry or drop images, one at a time."""
    left = dict.fromkeys(args.ids)
    channel.confirm_delivery()
    count = 0
    try:
        for dead in _dead_letters(channel):
            if not args.all and dead.id not in left:
                continue
            if args.command == "retry":
                _retry(channel, dead)
            channel.basic_ack(dead.tag)
            left.pop(dead.id, None)
            count += 1
            _print_result(args, dead)
            if not args.all and not left:
                break
    except exceptions.NackError:
        raise BrokerUnavailable(f"queue {QUEUE!r} is full; {count} were put back, the others are still dead") from None
    except exceptions.UnroutableError:
        raise BrokerUnavailable(
            f"there is no queue {QUEUE!r}; {count} were put back, the others are still dead"
        ) from None
    for image in left:
        warn(f"{image}: no dead image has this id")
    return 1 if left else 0


def _retry(channel: BlockingChannel, dead: DeadLetter) -> None:
    """Requeue an image. Its status `queued` is published first, before a worker can publish another."""
    _publish_status(channel, dead, "queued")
    try:
        _requeue(channel, dead)
    except (exceptions.NackError, exceptions.UnroutableError):
        _publish_status(channel, dead, "dead")
        raise


def _publish_status(channel: BlockingChannel, dead: DeadLetter, state: str) -> None:
    """Publish the status of an image; a foreign message has none."""
    try:
        image = QueuedImage.read(dead.id, dead.properties.headers)
    except MalformedMessage:
        return
    reason = dead.fields()["reason"] if state == "dead" else ""
    event = StatusEvent(image.id, state, image.filename, image.trace, image.sha256, "", reason=reason)
    properties = pika.BasicProperties(
        message_id=f"{event.id}-{state}", delivery_mode=2, content_type="application/json"
    )
    channel.basic_publish(EVENTS, "", event.encode(), properties)  # unroutable without a producer: dropped


def _requeue(channel: BlockingChannel, dead: DeadLetter) -> None:
    """Publish an image with the headers of its first delivery to the queue; return when the broker confirmed it."""
    headers = dead.properties.headers or {}
    first_headers = {
        name: value for name, value in headers.items() if name not in _DEAD_LETTER_HEADERS and not name.startswith("x-")
    }
    properties = pika.BasicProperties(
        message_id=dead.properties.message_id,
        timestamp=dead.properties.timestamp,
        headers=first_headers,
        delivery_mode=2,
    )
    channel.basic_publish("", QUEUE, dead.body, properties, mandatory=True)


def _print_result(args: argparse.Namespace, dead: DeadLetter) -> None:
    state = {"retry": "queued", "drop": "dropped"}[args.command]
    fields = dead.fields()
    if args.json:
        write({"id": fields["id"], "filename": fields["filename"], "state": state})
    else:
        print(printable(f"{fields['id']}  {fields['filename']}  {state}"), flush=True)


def _dead_letters(channel: BlockingChannel) -> Iterator[DeadLetter]:
    """Yield the dead letters there are now, one at a time: a body may have 15 MiB."""
    left = 1
    while left:
        got, properties, body = channel.basic_get(DEAD)
        if got is None or properties is None or body is None:
            return
        # Dead letters that arrive after the first delivery are left for the next run.
        left = got.message_count if left == 1 and got.delivery_tag == 1 else left - 1
        yield DeadLetter(got.delivery_tag, properties.message_id or "-", properties, body)


def _died_at(properties: pika.BasicProperties) -> str:
    """Return the time of death, or -: the broker's, else the publisher's timestamp."""
    deaths = (properties.headers or {}).get("x-death")
    time = deaths[0].get("time") if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else None
    if not isinstance(time, datetime):
        time = None
        with suppress(ValueError, OverflowError, OSError, TypeError):  # a foreign timestamp may be in milliseconds
            time = datetime.fromtimestamp(properties.timestamp, UTC) if properties.timestamp else None
    return time.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z") if time else "-"


@contextmanager
def _channel(config: OperatorSettings) -> Iterator[BlockingChannel]:
    """Open a channel to any node that answers. Raises BrokerUnavailable, also for errors inside the block."""
    where = ",".join(f"{host}:{port}" for host, port in config.brokers)
    nodes = session.parameters(config)
    for node in nodes:
        node.blocked_connection_timeout = config.timeout
    try:
        connection = pika.BlockingConnection(nodes)
    except (exceptions.AMQPError, OSError) as error:
        raise BrokerUnavailable(f"no broker at {where}: {_error_text(error, config)}") from None
    try:
        yield connection.channel()
        connection.close()  # waits until the broker has read all acknowledgements
    except exceptions.AMQPError as error:
        raise BrokerUnavailable(f"{where}: {_error_text(error, config)}") from None
    finally:
        if connection.is_open:
            connection.close()


def _error_text(error: BaseException, config: OperatorSettings) -> str:
    """Return what is wrong and whose fault it is. pika nests the cause in other errors."""
    inner = _innermost(error)
    cause = f"does not accept {config.cert_file}" if config.cert_file else "wants TLS (--cert-file, --ca-file)"
    match inner:
        case ssl.SSLCertVerificationError():
            text = f"its certificate is not to be trusted ({PREFIX}CA_FILE={config.ca_file}): {inner.verify_message}"
        case ssl.SSLError():
            text = f"the TLS handshake failed: {inner.reason}"
        case exceptions.ProbableAuthenticationError() | exceptions.AuthenticationError():
            text = f"it does not let {config.cert_file or config.user} in"
        case exceptions.ProbableAccessDeniedError():
            text = f"no virtual host {config.vhost!r}, or not for us"
        case exceptions.ChannelClosedByBroker() | exceptions.ConnectionClosedByBroker():
            text = inner.reply_text
        case exceptions.ConnectionBlockedTimeout():
            text = f"it has no room, and took nothing for {config.timeout:g} s; what was not put back is still dead"
        case exceptions.StreamLostError() | exceptions.IncompatibleProtocolError():
            text = f"it hangs up: it {cause}, or speaks no AMQP"
        case _:
            text = getattr(inner, "strerror", None) or str(inner) or repr(inner)
    return str(text)


def _innermost(error: BaseException) -> BaseException:
    for inner in (*error.args, getattr(error, "exception", None), *getattr(error, "exceptions", ())):
        if isinstance(inner, BaseException):
            return _innermost(inner)
    return error
