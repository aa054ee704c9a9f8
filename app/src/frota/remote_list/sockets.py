"""The server's sockets: made, bound to what systemd handed over or to the configured ports, and read."""

import socket as net
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from frota.core import systemd
from frota.remote_list.settings import ServerSettings

Socket = zmq.Socket[bytes]
# Bytes of a frame; a longer one ends its connection. How many frames a message has, ZeroMQ does not limit: there the
# memory that the unit may use is the limit.
_MOST_BYTES = 8 * 2**20
_UNREAD_MS = 30_000  # a connection whose other end reads nothing for so long is given up by the kernel
_NOW = int(zmq.NOBLOCK)  # a plain number: ZeroMQ's own type costs some time for each of very many messages
_LINGER_MS = 100  # for the last answers to be written; clients that do not read are waited for no longer
_HANDSHAKE_MS = 5000


@dataclass
class Sockets:
    """The sockets for requests, the one that publishes changes, and where all of them listen."""

    requests: list[Socket]
    changes: Socket
    watch_port: int
    addresses: list[str]

    @property
    def all(self) -> list[Socket]:
        """Return every socket."""
        return [*self.requests, self.changes]


def open_all(context: "zmq.Context[Socket]", config: ServerSettings, guard: Callable[[Socket], None]) -> Sockets:
    """Open the sockets; `guard` secures the ones that are to be. Raises OSError naming the address."""
    handed = systemd.listening_sockets()
    requests, changes = _router(context, config), context.socket(zmq.PUB)
    # Who watches has nothing to say but what it subscribes to: the name of a list.
    _common(changes, config, most_bytes=512)
    guard(requests)
    guard(changes)
    addresses = _bind(requests, config.host, config.port, handed)
    watched = _bind(changes, config.host, config.watch_port, handed)
    sockets = Sockets([requests], changes, int(watched[0].rpartition(":")[2]), addresses)
    if config.clear_port:
        clear = _router(context, config)
        sockets.requests.append(clear)
        addresses += _bind(clear, config.host, config.clear_port, handed)
    for unknown in handed:
        if unknown.fileno() >= 0:
            raise OSError(f"systemd handed over a socket of port {unknown.getsockname()[1]}, which is none of ours")
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


def told(frame: zmq.Frame, name: str) -> str:
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
    _common(router, config, _MOST_BYTES)
    return router


def _common(socket: Socket, config: ServerSettings, most_bytes: int) -> None:
    socket.linger = _LINGER_MS
    socket.backlog = config.backlog
    socket.maxmsgsize = most_bytes
    socket.handshake_ivl = _HANDSHAKE_MS
    socket.tcp_maxrt = _UNREAD_MS
    socket.tcp_keepalive = 1  # a client whose host is gone holds no descriptor for ever
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = 60, 10, 3


def _bind(socket: Socket, host: str, port: int, handed: list[net.socket]) -> list[str]:
    """Listen, and return where: on the sockets of this port that systemd handed over, else at host and port."""
    ours = [one for one in handed if one.fileno() >= 0 and one.getsockname()[1] == port]
    if not ours:
        try:
            socket.bind(f"tcp://{net.gethostbyname(host)}:{port}")
        except (zmq.ZMQError, OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
            raise OSError(f"{host}:{port}: {getattr(error, 'strerror', None) or error}") from error
        return [socket.getsockopt_string(zmq.LAST_ENDPOINT).rstrip("\0").removeprefix("tcp://")]
    addresses = []
    for one in ours:
        address = "{}:{}".format(*one.getsockname()[:2])
        socket.use_fd = one.detach()  # ZeroMQ closes it
        socket.bind(f"tcp://{address}")
        addresses.append(address)
    socket.use_fd = -1
    return addresses
