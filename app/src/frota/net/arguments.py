"""Argument types for argparse: hosts and ports."""

import argparse
import re


def host(text: str) -> str:
    """Return a host, an IPv6 address without brackets. Raises ArgumentTypeError that says what is valid."""
    from frota.net.addresses import parse_host  # here: its imports are memory that the agent saves

    try:
        return parse_host(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def port(text: str) -> int:
    """Return a port, 1 to 65535. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text[:40]}: must be from 1 to 65535")
    return int(text)
