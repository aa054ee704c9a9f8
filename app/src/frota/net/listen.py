"""A TCP server's sockets before anybody is connected: where it listens, and how many connections it can have."""

import errno
import resource
import socket
from contextlib import suppress
from typing import Any

from frota.core import systemd
from frota.logs import log
from frota.net.addresses import endpoint, parse_host, plain

_RECEIVE_BUFFER = 128 * 1024  # bytes of the kernel's per connection: what a thousand floods can make us hold at once
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_TRIES = 5  # to find a port that is free at every address
_OTHER_DESCRIPTORS = 128  # that are no connections: the log's, its readers', the event loop's, and some to spare
_FEWEST_OTHERS = 64  # of them, where there are few: some connections that were just refused included


def listening_sockets(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Return the sockets that systemd handed over, else those at a host. Raises OSError."""
    sockets = systemd.listening_sockets() or sockets_at(host, port, backlog)
    for sock in sockets:
        _tune(sock)
    return sockets


def sockets_at(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Listen at every address of a host, at `::` for IPv4 too; port 0 is one free port for all. Raises OSError.

    Each socket takes connections of its own family alone, so that an IPv4 peer has an IPv4 address everywhere.
    """
    try:
        addresses = _addresses(host, port)
        for _ in range(_TRIES - 1 if port == 0 else 0):
            try:
                return _listen_at(addresses, backlog)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        return _listen_at(addresses, backlog)
    except (OSError, ValueError) as error:  # UnicodeError, too: no host can have such a name
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{endpoint(host, port)}: {reason}") from error


def address_of(sock: socket.socket) -> str:
    """Return where a socket listens, an interface included."""
    return endpoint(*socket.getnameinfo(sock.getsockname(), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))


def _addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Return family and address of each place to listen at. Raises OSError (gaierror), ValueError."""
    kind, passive = socket.SOCK_STREAM, socket.AI_PASSIVE
    host = plain(parse_host(host))
    hosts = ("::", "0.0.0.0") if host == "::" else (host,)  # noqa: S104 -- that is what was asked for
    found = [one for name in hosts for one in socket.getaddrinfo(name, port, type=kind, flags=passive)]
    return list(dict.fromkeys((int(family), address) for family, *_, address in found))


def _listen_at(addresses: list[tuple[int, tuple[Any, ...]]], backlog: int) -> list[socket.socket]:
    """Listen at all of these, or at none; one that this machine lacks is left out. Raises OSError."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, (name, port, *rest) in addresses:
            free = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_listen(family, (name, free, *rest), backlog))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
        if missing and not sockets:
            raise missing
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen(family: int, address: tuple[Any, ...], backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
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
        log.record("WARNING", "descriptor_limit_low", text)
    return max(0, min(connections, soft - connections - _OTHER_DESCRIPTORS))


def bounded(connections: int, setting: str) -> tuple[int, int]:
    """Return how many connections to take at most, and how many refused ones may linger.

    Beyond the limit of open files, a connection could not even be told that it is one too many. `setting` is the name
    of the one that gives `connections`, for the log.
    """
    refused = allow_descriptors(connections)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = min(_FEWEST_OTHERS, soft // 2)
    most = max(1, soft - others)
    if most < connections:
        text = f"{most} connections at most are taken, not {connections} ({setting})"
        log.record(
            "WARNING", "descriptor_limit_low", f"{text}: raise the limit of open files (LimitNOFILE=)", COUNT=most
        )
    return min(connections, most), max(refused, others // 4)
