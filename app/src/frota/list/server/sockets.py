"""The server's sockets: bound to what systemd passes, or to the configured ports, and read."""

import os
import socket as net
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq

from frota.core import systemd
from frota.list.settings import ServerSettings
from frota.net.listen import address_of, sockets_at

Socket = zmq.Socket[bytes]
# A longer frame ends its connection. ZeroMQ does not limit the frames of a message; the unit's memory limit does.
_MAX_FRAME_BYTES = 8 * 2**20
_SEND_TIMEOUT_MS = 30_000  # the kernel aborts a connection whose peer acknowledges nothing for so long
_NOW = int(zmq.NOBLOCK)  # a plain int: zmq.Flag costs time for every message
_LINGER_MS = 100  # for the last responses, after which slow clients lose theirs
_HANDSHAKE_MS = 5000


@dataclass
class Sockets:
    """The sockets for requests, the one that publishes changes, and the listening sockets of each."""

    requests: list[Socket]
    changes: Socket
    listeners: list[tuple[Socket, list[net.socket]]]
    copies: list[int] = field(default_factory=list)  # duplicate descriptors for ZeroMQ, which closes them

    def __post_init__(self) -> None:
        self.copies = [os.dup(listener.fileno()) for listener in self.listening]

    @property
    def all(self) -> list[Socket]:
        """Return every ZeroMQ socket."""
        return [*self.requests, self.changes]

    @property
    def listening(self) -> list[net.socket]:
        """Return every listening socket."""
        return [listener for _, own in self.listeners for listener in own]

    @property
    def watch_port(self) -> int:
        """Return the port on which changes are published."""
        return next(_port(own[0]) for socket, own in self.listeners if socket is self.changes)

    @property
    def addresses(self) -> list[str]:
        """Return the addresses that take requests."""
        return [
            address_of(listener) for socket, own in self.listeners if socket is not self.changes for listener in own
        ]

    def bind(self) -> None:
        """Let ZeroMQ accept connections; it may use all remaining descriptors."""
        for socket, own in self.listeners:
            for listener in own:
                socket.use_fd = self.copies.pop(0)
                socket.bind(f"tcp://*:{_port(listener)}")  # ignored: use_fd is set
            socket.use_fd = -1


def open_all(context: "zmq.Context[Socket]", config: ServerSettings, guard: Callable[[Socket], None]) -> Sockets:
    """Open the sockets without binding them; `guard` secures the ones that need it.

    Raises OSError that names the address.
    """
    inherited = systemd.listening_sockets()
    requests, changes = _router(context, config), context.socket(zmq.PUB)
    # Subscribers send only subscriptions: the name of a list.
    _configure(changes, config, max_frame_bytes=512)
    guard(requests)
    guard(changes)
    ports = [(requests, config.port), (changes, config.watch_port)]
    if config.clear_port:
        ports.append((_router(context, config), config.clear_port))
    listeners = [(socket, _listeners(config, port, inherited)) for socket, port in ports]
    sockets = Sockets([socket for socket, _ in ports if socket is not changes], changes, listeners)
    for unknown in inherited:
        if unknown not in sockets.listening:
            raise OSError(f"systemd passed a socket of {unknown.getsockname()}, which no setting names")
    return sockets


def has_message(socket: Socket) -> bool:
    """Tell whether a message can be received."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def receive(socket: Socket) -> list[bytes]:
    """Return the frames of a received message. Raises zmq.Again if there is none."""
    frames = [socket.recv(_NOW), socket.recv(_NOW)]  # a ROUTER socket prepends the routing id
    while socket.getsockopt(zmq.RCVMORE):
        frames.append(socket.recv(_NOW))
    return frames


def metadata(frame: zmq.Frame, name: str) -> str:
    """Return metadata of a message's sender, "" if it is not UTF-8, which a client can send."""
    try:
        return str(frame.get(name))
    except (zmq.ZMQError, UnicodeDecodeError):
        return ""


def descriptor(socket: Socket) -> int:
    """Return the descriptor that becomes readable when the socket has an event."""
    return int(socket.getsockopt(zmq.FD))


def _router(context: "zmq.Context[Socket]", config: ServerSettings) -> Socket:
    router = context.socket(zmq.ROUTER)
    router.router_mandatory = 1  # raise EAGAIN for a client whose queue is full, instead of dropping
    router.sndhwm = 100
    router.rcvhwm = 32  # messages of one client that ZeroMQ reads ahead
    _configure(router, config, _MAX_FRAME_BYTES)
    return router


def _configure(socket: Socket, config: ServerSettings, max_frame_bytes: int) -> None:
    socket.linger = _LINGER_MS
    socket.backlog = config.backlog
    socket.maxmsgsize = max_frame_bytes
    socket.handshake_ivl = _HANDSHAKE_MS
    socket.tcp_maxrt = _SEND_TIMEOUT_MS
    socket.tcp_keepalive = 1  # frees the descriptors of half-open connections
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = 60, 10, 3


def _listeners(config: ServerSettings, port: int, inherited: list[net.socket]) -> list[net.socket]:
    """Return the sockets that systemd passed for this port, else sockets of the configured host."""
    return [listener for listener in inherited if _port(listener) == port] or sockets_at(
        config.host, port, config.backlog
    )


def _port(listener: net.socket) -> int:
    """Return the port of a socket, -1 for another family."""
    return int(listener.getsockname()[1]) if listener.family in (net.AF_INET, net.AF_INET6) else -1
