"""Addresses."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address


def parse_host(text: str) -> str:
    """Return a host for sockets, an IPv6 address without brackets. Raises ValueError saying what is right."""
    host = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    if not host:
        raise ValueError("must be a host, by name or address")
    address = _address(host)
    if address is None and (":" in host or host != text):
        raise ValueError("must be a host alone, by name or address: its port is a setting of its own")
    if isinstance(address, IPv6Address) and address.is_link_local and not address.scope_id:
        raise ValueError(f"must name the interface, too: {host}%eth0")
    return host


def is_loopback(host: str) -> bool:
    """Tell whether a host is a loopback address, or a name with such addresses only."""
    if host == "localhost":
        return True
    try:
        resolved = {str(address[0]) for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):  # UnicodeError: no host can have such a name
        return False
    addresses = [_address(plain(text)) for text in resolved]
    return bool(addresses) and all(address is not None and address.is_loopback for address in addresses)


def plain(host: str) -> str:
    """Return an address, an IPv4-mapped one (`::ffff:10.0.0.1`) as plain IPv4."""
    address = _address(host) if host[:2] == "::" else None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped) if mapped else host


def endpoint(host: str, port: int | str) -> str:
    """Return HOST:PORT, an IPv6 address in brackets, as in logs, PEER fields and JSON."""
    host = plain(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
