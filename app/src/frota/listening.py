"""A TCP server's sockets before anybody is connected: where it listens, and how many connections it can have."""

import resource
import socket
from contextlib import suppress

from frota.core import log, systemd
from frota.net import endpoint

_RECEIVE_BUFFER = 128 * 1024  # bytes of the kernel's per connection: what a thousand floods can make us hold at once
_OTHER_DESCRIPTORS = 128  # that are no connections: the log's, its readers', the event loop's, and some to spare


def listening_sockets(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Return the sockets that systemd handed over, else one at this address. Raises OSError."""
    sockets = systemd.listening_sockets() or [_listen(host, port, backlog)]
    for sock in sockets:
        _tune(sock)
    return sockets


def _listen(host: str, port: int, backlog: int) -> socket.socket:
    kind, passive = socket.SOCK_STREAM, socket.AI_PASSIVE
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, flags=passive)[0]
        # Any address is one of IPv4 too, and ::ffff:10.0.0.1 is nothing else.
        both = (address[0] == "::" or str(address[0]).startswith("::ffff:")) and socket.has_dualstack_ipv6()
        sock = socket.create_server(address[:2], family=family, backlog=backlog, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:  # UnicodeError: no host can have such a name
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{endpoint(host, port)}: {reason}") from error
    sock.setblocking(False)
    return sock


def _tune(sock: socket.socket) -> None:
    """Set, for all connections to come, how much the kernel buffers and when it gives a vanished peer up."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)


def allow_descriptors(connections: int) -> int:
    """Raise the limit of descriptors as far as needed or possible; return how many refused connections may linger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + _OTHER_DESCRIPTORS
    if soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < connections + _OTHER_DESCRIPTORS:
        text = f"{soft} open files are allowed, too few for {connections} connections: raise the limit (LimitNOFILE=)"
        log.record("WARNING", "few_descriptors", text)
    return max(0, min(connections, soft - connections - _OTHER_DESCRIPTORS))
