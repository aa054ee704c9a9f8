"""`frota list watch`: prints every change of a list once and in order, until Ctrl-C."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from frota.core.errors import ServerUnavailable, UnsupportedByServer
from frota.core.settings import SettingsError
from frota.list.client import connection
from frota.list.client.client import Client, Response, warn
from frota.list.client.commands import write
from frota.logs.log import printable

_FIRST_POLL_S, _MAX_POLL_S = 0.1, 3.0  # without a published change, until the server is polled
_FIELDS = {"version": int, "time": str, "text": str}  # that a change must have
Change = dict[str, Any]


class ChangeSequence:
    """The version up to which changes were shown; a list's version is its number of changes."""

    def __init__(self, version: int, warn: Callable[[str], None]) -> None:
        self.version = version
        self._warn = warn

    def apply_published(self, change: Change) -> Iterator[Change] | None:
        """Return what to show of a published change; None if changes before it are missing."""
        if change["version"] > self.version + 1:
            return None
        return self._newer([change])

    def apply_response(self, response: Response) -> Iterator[Change]:
        """Yield what to show of a response to `changes`; warn of changes that are no longer there."""
        yield from self._newer(
            sorted(filter(_is_change, response.fields["changes"]), key=lambda change: change["version"])
        )
        if not response.fields.get("more"):
            self._skip_to(response.version)

    def restarted(self, response: Response) -> bool:
        """Tell whether the list lost its versions (the server's state was deleted); then restart at 0."""
        if response.version >= self.version:
            return False
        self._warn(f"the list was reset: it is at version {response.version}, was at {self.version}")
        self.version = 0
        return True

    def _newer(self, changes: list[Change]) -> Iterator[Change]:
        for change in changes:
            if change["version"] > self.version:
                self._skip_to(change["version"] - 1)
                self.version = change["version"]
                yield change

    def _skip_to(self, version: int) -> None:
        if missing := max(0, version - self.version):
            self._warn(f"{missing} change{'s'[: missing > 1]} skipped, the server no longer has them")
            self.version = version


def watch(client: Client, last: int, as_json: bool) -> int:
    """Show the last changes, then new ones, until Ctrl-C."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sequence: ChangeSequence | None = None
    try:
        while True:
            info = _request(client, "info")
            sequence = sequence or ChangeSequence(max(0, info.version - last), warn)
            try:
                subscription = _subscribe(context, client, info)
            except (SettingsError, socket.gaierror) as error:  # both were valid for the request before
                warn(f"{error}; trying again")
                time.sleep(1)  # no event tells that they are valid again
                continue
            with subscription:
                _follow(client, subscription, sequence, as_json)
    except KeyboardInterrupt:
        return 0
    finally:
        context.destroy(0)


def _follow(client: Client, subscription: "zmq.Socket[bytes]", sequence: ChangeSequence, as_json: bool) -> None:
    """Show changes until the subscription may have ended, which ZeroMQ does not report.

    Subscribe first, then request the missing changes: what is published in between waits in the socket, and its
    version tells whether it was shown. ZeroMQ does not report either when the subscription reaches the server, so the
    first polls are short.
    """
    connections, poll_s = client.connections, _FIRST_POLL_S
    _show(_missing(client, sequence), as_json)
    shown = time.monotonic()
    while client.connections == connections:
        remaining_s = max(0, shown + poll_s - time.monotonic())
        change = _received(subscription) if subscription.poll(int(remaining_s * 1000)) else None
        changes = sequence.apply_published(change) if change else None
        count = _show(_missing(client, sequence) if changes is None else changes, as_json)
        if change is None:
            if count and poll_s == _MAX_POLL_S:
                return  # a change was made but not received
            poll_s = min(_MAX_POLL_S, poll_s * 2)
        if count or change is None:
            shown = time.monotonic()


def _missing(client: Client, sequence: ChangeSequence) -> Iterator[Change]:
    response = _request(client, "changes", since=sequence.version)
    if sequence.restarted(response):
        response = _request(client, "changes", since=0)
    yield from sequence.apply_response(response)
    while response.fields.get("more"):  # one response did not hold all
        response = _request(client, "changes", since=sequence.version)
        yield from sequence.apply_response(response)


def _request(client: Client, op: str, **fields: Any) -> Response:
    """Send a request until there is a response."""
    while True:
        try:
            response = client.ask(op, **fields)
        except ServerUnavailable as error:
            warn(f"{error}; trying again")
            continue
        if not response.ok:
            raise OSError(response.text)
        return response


def _subscribe(context: "zmq.Context[zmq.Socket[bytes]]", client: Client, info: Response) -> "zmq.Socket[bytes]":
    port = info.fields.get("watch_port", 0)
    if not port:
        raise UnsupportedByServer(f"the server at {client.access.address} publishes no changes")
    endpoint, family = connection.resolve(client.access, port, client.address_index)
    zmq_socket = context.socket(zmq.SUB)
    connection.secure(zmq_socket, client.access)
    zmq_socket.ipv6 = family == socket.AF_INET6
    zmq_socket.linger = 0
    # Here ZeroMQ may reconnect by itself: the server is asked for missed changes.
    zmq_socket.reconnect_ivl, zmq_socket.reconnect_ivl_max = 100, 2000
    # A subscriber sends nothing, so only a keepalive detects a half-open connection.
    zmq_socket.tcp_keepalive = 1
    zmq_socket.tcp_keepalive_idle, zmq_socket.tcp_keepalive_intvl, zmq_socket.tcp_keepalive_cnt = 30, 10, 3
    zmq_socket.subscribe(info.fields["list"].encode() + b"\0")
    zmq_socket.connect(endpoint)
    return zmq_socket


def _received(subscription: "zmq.Socket[bytes]") -> Change | None:
    """Return a published change; None for a malformed one, so that the server is asked."""
    try:
        change = json.loads(subscription.recv_multipart()[-1])
    except (ValueError, RecursionError):
        return None
    return change if _is_change(change) else None


def _is_change(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name), kind) for name, kind in _FIELDS.items())


def _show(changes: Iterator[Change], as_json: bool) -> int:
    """Print changes; return their number."""
    count = 0
    for change in changes:
        line = f"{change['time']}  {change['version']:>6}  {printable(change['text'])}"
        write(change if as_json else None, [line])
        count += 1
    return count
