"""The server's sockets: made, bound to what systemd handed over or to the configured ports, and read."""

import os
import socket as net
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq

from frota.core import systemd
from frota.net.listen import address_of, sockets_at
from frota.remote_list.settings import ServerSettings

Socket = zmq.Socket[bytes]
# Bytes of a frame; a longer one ends its connection. How many frames a message has, ZeroMQ does not limit: there the
# memory that the unit may use is the limit.
_MAX_FRAME_BYTES = 8 * 2**20
_SEND_TIMEOUT_MS = 30_000  # a connection whose other end reads nothing for so long is given up by the kernel
_NOW = int(zmq.NOBLOCK)  # a plain number: ZeroMQ's own type costs some time for each of very many messages
_LINGER_MS = 100  # for the last answers to be written; clients that do not read are waited for no longer
_HANDSHAKE_MS = 5000


@dataclass
class Sockets:
    """The sockets for requests, the one that publishes changes, and those of the kernel that each listens with."""

    requests: list[Socket]
    changes: Socket
    listeners: list[tuple[Socket, list[net.socket]]]
    copies: list[int] = field(default_factory=list)  # descriptors of theirs for ZeroMQ, which closes them

    def __post_init__(self) -> None:
        self.copies = [os.dup(listener.fileno()) for listener in self.listening]

    @property
    def all(self) -> list[Socket]:
        """Return every socket."""
        return [*self.requests, self.changes]

    @property
    def listening(self) -> list[net.socket]:
        """Return every socket of the kernel that listens."""
        return [listener for _, ours in self.listeners for listener in ours]

    @property
    def watch_port(self) -> int:
        """Return the port that changes are published on."""
        return next(_port(ours[0]) for socket, ours in self.listeners if socket is self.changes)

    @property
    def addresses(self) -> list[str]:
        """Return where requests are taken."""
        return [
            address_of(listener) for socket, ours in self.listeners if socket is not self.changes for listener in ours
        ]

    def bind(self) -> None:
        """Let ZeroMQ accept connections, which may take all descriptors that are left."""
        for socket, ours in self.listeners:
            for listener in ours:
                socket.use_fd = self.copies.pop(0)
                socket.bind(f"tcp://*:{_port(listener)}")  # which it does not look at
            socket.use_fd = -1


def open_all(context: "zmq.Context[Socket]", config: ServerSettings, guard: Callable[[Socket], None]) -> Sockets:
    """Open the sockets, to be bound; `guard` secures the ones that are to be. Raises OSError naming the address."""
    inherited = systemd.listening_sockets()
    requests, changes = _router(context, config), context.socket(zmq.PUB)
    # Who watches has nothing to say but what it subscribes to: the name of a list.
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
            raise OSError(f"systemd handed over a socket of {unknown.getsockname()}, which is none of ours")
    return sockets


def has_message(socket: Socket) -> bool:
    """Tell whether a message is there to be received."""
    return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def receive(socket: Socket) -> list[bytes]:
    """Return the frames of a message that is there. Raises zmq.Again where none is."""
    frames = [socket.recv(_NOW), socket.recv(_NOW)]  # a ROUTER socket puts one more in front
    while socket.getsockopt(zmq.RCVMORE):
        frames.append(socket.recv(_NOW))
    return frames


def metadata(frame: zmq.Frame, name: str) -> str:
    """Return what ZeroMQ tells of a message's sender; nothing where it is no text, as a client may have it."""
    try:
        return str(frame.get(name))
    except (zmq.ZMQError, UnicodeDecodeError):
        return ""


def descriptor(socket: Socket) -> int:
    """Return the descriptor that can be read when something has happened to a socket."""
    return int(socket.getsockopt(zmq.FD))


def _router(context: "zmq.Context[Socket]", config: ServerSettings) -> Socket:
    router = context.socket(zmq.ROUTER)
    router.router_mandatory = 1  # say when a client takes no more answers, instead of dropping them
    router.sndhwm = 100
    router.rcvhwm = 32  # messages of one client that are taken in before they are wanted
    _configure(router, config, _MAX_FRAME_BYTES)
    return router


def _configure(socket: Socket, config: ServerSettings, max_frame_bytes: int) -> None:
    socket.linger = _LINGER_MS
    socket.backlog = config.backlog
    socket.maxmsgsize = max_frame_bytes
    socket.handshake_ivl = _HANDSHAKE_MS
    socket.tcp_maxrt = _SEND_TIMEOUT_MS
    socket.tcp_keepalive = 1  # a client whose host is gone holds no descriptor for ever
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = 60, 10, 3


def _listeners(config: ServerSettings, port: int, inherited: list[net.socket]) -> list[net.socket]:
    """Return the sockets of this port that systemd handed over, else those of the configured host."""
    return [listener for listener in inherited if _port(listener) == port] or sockets_at(
        config.host, port, config.backlog
    )


def _port(listener: net.socket) -> int:
    """Return a socket's port, -1 where it has none."""
    return int(listener.getsockname()[1]) if listener.family in (net.AF_INET, net.AF_INET6) else -1
