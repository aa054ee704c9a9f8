"""Addresses."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address


def parse_host(text: str) -> str:
    """Return a host as sockets take it, an IPv6 address without brackets. Raises ValueError saying what is right."""
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
    """Tell whether only this machine can reach a host: a loopback address, or a name with no other addresses."""
    if host == "localhost":
        return True
    try:
        found = {str(address[0]) for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):  # UnicodeError: no host can have such a name
        return False
    addresses = [_address(plain(one)) for one in found]
    return bool(addresses) and all(one is not None and one.is_loopback for one in addresses)


def plain(host: str) -> str:
    """Return an address; the IPv4 one where an IPv6 socket tells it as `::ffff:10.0.0.1`."""
    address = _address(host) if host[:2] == "::" else None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped) if mapped else host


def endpoint(host: str, port: int | str) -> str:
    """Return an address as logs, PEER fields and JSON have it."""
    host = plain(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
