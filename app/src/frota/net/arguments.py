"""Types for argparse: host and port."""

import argparse
import re


def host(text: str) -> str:
    """Return a host, an IPv6 address without brackets. Raises ArgumentTypeError saying what is right."""
    from frota.net.addresses import parse_host  # here: most agents do without the memory of ipaddress

    try:
        return parse_host(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def port(text: str) -> int:
    """Return a port. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text[:40]}: must be from 1 to 65535")
    return int(text)
