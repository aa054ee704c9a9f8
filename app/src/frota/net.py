"""Addresses."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def endpoint(host: str, port: int | str) -> str:
    """Return an address as logs, PEER fields and JSON have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bare(host: str) -> str:
    """Return a host without the brackets that an IPv6 address has in front of a port."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") and ":" in host else host


def unmapped(host: str) -> str:
    """Return the IPv4 address of a peer that a socket for both kinds sees as ::ffff:10.0.0.1; any other as it is."""
    return host.removeprefix("::ffff:") if "." in host else host
