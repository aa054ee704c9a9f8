"""`frota list watch`: every change of a list, once and in order, as it is made; for ever."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from frota.core.errors import ServerUnavailable
from frota.core.settings import SettingsError
from frota.logs.log import printable
from frota.remote_list.client import connection, legacy
from frota.remote_list.client.client import Client, Response, warn
from frota.remote_list.client.commands import write

_FIRST_POLL_S, _MAX_POLL_S = 0.1, 3.0  # seconds without a change after which the server is asked whether there was none
_FIELDS = {"version": int, "time": str, "text": str}  # of a change, the ones that are relied on
Change = dict[str, Any]


class ChangeSequence:
    """How far a watcher has got: to a version, which is how often the list was changed before."""

    def __init__(self, version: int, warn: Callable[[str], None]) -> None:
        self.version = version
        self._warn = warn

    def apply_published(self, change: Change) -> Iterator[Change] | None:
        """Return what is to be shown of one published change; None when others are missing before it."""
        if change["version"] > self.version + 1:
            return None
        return self._newer([change])

    def apply_response(self, response: Response) -> Iterator[Change]:
        """Yield what is to be shown of an answer to `changes`, and say what can no longer be."""
        yield from self._newer(sorted(filter(_is_change, response.fields["changes"]), key=lambda one: one["version"]))
        if not response.fields.get("more"):
            self._skip_to(response.version)

    def restarted(self, response: Response) -> bool:
        """Tell whether the list is another one by the same name, whose versions began anew; then begin anew, too."""
        if response.version >= self.version:
            return False
        self._warn(f"the list began anew: it is at version {response.version}, and was at {self.version}")
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
            self._warn(f"the server no longer remembers {missing} change{'s'[: missing > 1]}")
            self.version = version


def watch(client: Client, last: int, as_json: bool) -> int:
    """Show the last changes, then new ones, for ever; Ctrl-C is the way to end it."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sequence: ChangeSequence | None = None
    try:
        while True:
            info = _request(client, "info")
            sequence = sequence or ChangeSequence(max(0, info.version - last), warn)
            try:
                subscription = _subscribed(context, client, info)
            except (SettingsError, socket.gaierror) as error:  # both were right for the question before
                warn(f"{error}; trying again")
                time.sleep(1)  # nothing tells when a key file or a name is there again
                continue
            with subscription:
                _follow(client, subscription, sequence, as_json)
    except KeyboardInterrupt:
        return 0
    finally:
        context.destroy(0)


def _follow(client: Client, subscription: "zmq.Socket[bytes]", sequence: ChangeSequence, as_json: bool) -> None:
    """Show changes until the subscription may have ended: it says nothing of that itself.

    Subscribed first, asked then: what is published meanwhile waits, and is known by its version. Nothing tells when a
    subscription has reached the server either, so at first it is asked again soon.
    """
    connections, poll_s = client.connections, _FIRST_POLL_S
    _show(_missing(client, sequence), as_json)
    shown = time.monotonic()
    while client.connections == connections:
        left = max(0, shown + poll_s - time.monotonic())
        change = _received(subscription) if subscription.poll(int(left * 1000)) else None
        found = sequence.apply_published(change) if change else None
        count = _show(_missing(client, sequence) if found is None else found, as_json)
        if change is None:
            if count and poll_s == _MAX_POLL_S:
                return  # it was made, and did not come
            poll_s = min(_MAX_POLL_S, poll_s * 2)
        if count or change is None:
            shown = time.monotonic()


def _missing(client: Client, sequence: ChangeSequence) -> Iterator[Change]:
    response = _request(client, "changes", since=sequence.version)
    if sequence.restarted(response):
        response = _request(client, "changes", since=0)
    yield from sequence.apply_response(response)
    while response.fields.get("more"):  # so many that one answer does not hold them
        response = _request(client, "changes", since=sequence.version)
        yield from sequence.apply_response(response)


def _request(client: Client, op: str, **fields: Any) -> Response:
    """Ask until there is an answer."""
    while True:
        try:
            response = client.ask(op, **fields)
        except ServerUnavailable as error:
            warn(f"{error}; trying again")
            continue
        if not response.ok:
            raise OSError(response.text)
        return response


def _subscribed(context: "zmq.Context[zmq.Socket[bytes]]", client: Client, info: Response) -> "zmq.Socket[bytes]":
    port = info.fields.get("watch_port", 0)
    if not port:
        raise legacy.Unsupported(f"the server at {client.access.address} has no port for those who watch")
    endpoint, family = connection.resolve(client.access, port, client.address_index)
    one = context.socket(zmq.SUB)
    connection.secure(one, client.access)
    one.ipv6 = family == socket.AF_INET6
    one.linger = 0
    # Here ZeroMQ connects again by itself, since nobody waits for anything: what was missed, the server is asked for.
    one.reconnect_ivl, one.reconnect_ivl_max = 100, 2000
    # Who only listens would never know that the other end is gone, and with it the subscription.
    one.tcp_keepalive = 1
    one.tcp_keepalive_idle, one.tcp_keepalive_intvl, one.tcp_keepalive_cnt = 30, 10, 3
    one.subscribe(info.fields["list"].encode() + b"\0")
    one.connect(endpoint)
    return one


def _received(subscription: "zmq.Socket[bytes]") -> Change | None:
    """Return a published change; None for what is none, so that the server is asked what was meant."""
    try:
        change = json.loads(subscription.recv_multipart()[-1])
    except (ValueError, RecursionError):
        return None
    return change if _is_change(change) else None


def _is_change(found: object) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in _FIELDS.items())


def _show(changes: Iterator[Change], as_json: bool) -> int:
    """Print changes; return how many there were."""
    count = 0
    for change in changes:
        line = f"{change['time']}  {change['version']:>6}  {printable(change['text'])}"
        write(change if as_json else None, [line])
        count += 1
    return count
