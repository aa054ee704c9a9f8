"""Addresses."""

from ipaddress import ip_address


def parse_host(text: str) -> str:
    """Return a host as sockets take it, an IPv6 address without brackets. Raises ValueError saying what is right."""
    host = text[1:-1] if text[:1] == "[" and text[-1:] == "]" else text
    if not host:
        raise ValueError("must be a host, by name or address")
    if ":" in host or host != text:  # an IPv6 address, or a port behind the host
        try:
            ip_address(host)
        except ValueError:
            raise ValueError("must be a host alone, by name or address: its port is a setting of its own") from None
    return host


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def endpoint(host: str, port: int | str) -> str:
    """Return an address as logs, PEER fields and JSON have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
