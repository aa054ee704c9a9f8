"""What systemd says of units, for modules that run on a host."""

from collections.abc import Iterable
from typing import Any


def read_properties(shown: str) -> dict[str, dict[str, str]]:
    """Return each unit's properties from what `systemctl show` prints: a block of KEY=VALUE lines for each."""
    blocks = (dict(line.split("=", 1) for line in block.splitlines()) for block in shown.strip().split("\n\n"))
    return {block["Id"]: block for block in blocks if block}


def properties(module: Any, units: Iterable[str], names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Ask systemd once for properties of all units; times are in UTC, with microseconds. Fails the module."""
    units = list(units)
    if not units:
        return {}
    wanted = ",".join(["Id", *names])
    command = ["systemctl", "show", "--timestamp=us+utc", f"--property={wanted}", *units]
    return read_properties(module.run_command(command, check_rc=True)[1])


def journal(module: Any, pattern: str, lines: int) -> str:
    """Return the last lines of the journals of units."""
    shown = ["--no-pager", "--output=short", f"--lines={lines}", f"--unit={pattern}"]
    return str(module.run_command(["journalctl", *shown])[1])
