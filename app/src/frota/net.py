"""Addresses."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Tell whether nobody but this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
