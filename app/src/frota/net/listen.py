"""Listening sockets: handed over by systemd, or opened here."""

import errno
import socket
from collections.abc import Sequence
from typing import Any

from frota.core import systemd
from frota.net.addresses import endpoint, parse_host, plain

_RECEIVE_BUFFER_BYTES = 128 * 1024  # of the kernel, per connection: bounds what a thousand floods can make it hold
_ADDRESS_MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_PORT_ATTEMPTS = 5  # to find a port that is free at every address


def listening_sockets(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Return the sockets that systemd handed over, else those at a host. Raises OSError."""
    sockets = systemd.listening_sockets() or sockets_at(host, port, backlog)
    for sock in sockets:
        _tune(sock)
    return sockets


def sockets_of_ports(host: str, ports: Sequence[int], backlog: int) -> list[list[socket.socket]]:
    """Return the sockets of each port: those that systemd handed over for it, else those at a host. Raises OSError."""
    inherited = systemd.listening_sockets()
    by_port = []
    for port in ports:
        by_port.append([sock for sock in inherited if _port(sock) == port] or sockets_at(host, port, backlog))
        for sock in by_port[-1]:
            _tune(sock)
    if unknown := [sock for sock in inherited if _port(sock) not in ports]:
        raise OSError(f"systemd passed a socket of {unknown[0].getsockname()}, which no setting names")
    return by_port


def _port(sock: socket.socket) -> int:
    """Return the port of a socket, -1 for another family."""
    return int(sock.getsockname()[1]) if sock.family in (socket.AF_INET, socket.AF_INET6) else -1


def sockets_at(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Listen at every address of a host, at `::` for IPv4 too; port 0 is one free port for all. Raises OSError.

    Each socket takes connections of its own family alone, so that an IPv4 peer has an IPv4 address everywhere.
    """
    try:
        addresses = _addresses(host, port)
        for _ in range(_PORT_ATTEMPTS - 1 if port == 0 else 0):
            try:
                return _listen_at(addresses, backlog)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        return _listen_at(addresses, backlog)
    except (OSError, ValueError) as error:  # UnicodeError, too: the name cannot be a host's
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"{endpoint(host, port)}: {reason}") from error


def address_of(sock: socket.socket) -> str:
    """Return the address of a socket as HOST:PORT, an interface included."""
    return endpoint(*socket.getnameinfo(sock.getsockname(), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))


def _addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Return family and address of each place to listen at. Raises OSError (gaierror), ValueError."""
    kind, passive = socket.SOCK_STREAM, socket.AI_PASSIVE
    host = plain(parse_host(host))
    hosts = ("::", "0.0.0.0") if host == "::" else (host,)  # noqa: S104 -- the setting says so
    infos = [info for name in hosts for info in socket.getaddrinfo(name, port, type=kind, flags=passive)]
    return list(dict.fromkeys((int(family), address) for family, *_, address in infos))


def _listen_at(addresses: list[tuple[int, tuple[Any, ...]]], backlog: int) -> list[socket.socket]:
    """Listen at all addresses that this machine has, or at none. Raises OSError."""
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, (name, port, *rest) in addresses:
            free = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_listen(family, (name, free, *rest), backlog))
            except OSError as error:
                if error.errno not in _ADDRESS_MISSING:
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
    """Set the receive buffer and the keepalive of future connections: a half-open one ends after 90 s."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
