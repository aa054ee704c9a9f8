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
