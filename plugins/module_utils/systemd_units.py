"""Properties and journals of systemd units, for modules that run on a host."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

TIMESTAMP_FORMAT = "%Y-%m-%d %H:%M:%S.%f UTC"  # `systemctl show --timestamp=us+utc`, after the day of the week


def parse_properties(output: str) -> dict[str, dict[str, str]]:
    """Return each unit's properties from the output of `systemctl show`, a block of KEY=VALUE lines per unit."""
    blocks = (dict(line.split("=", 1) for line in block.splitlines()) for block in output.strip().split("\n\n"))
    return {block["Id"]: block for block in blocks if block}


def properties(module: Any, units: Iterable[str], names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Query properties of units with one command; times are in UTC with microseconds. Fails the module on errors."""
    units = list(units)
    if not units:
        return {}
    listed = ",".join(["Id", *names])
    command = ["systemctl", "show", "--timestamp=us+utc", f"--property={listed}", *units]
    return parse_properties(module.run_command(command, check_rc=True)[1])


def seconds(timestamp: str) -> float:
    """Return systemd's timestamp (`Fri 2026-11-27 13:34:55.123456 UTC`) in seconds since 1970, 0 for an empty one."""
    _, _, date_and_time = timestamp.partition(" ")  # without the day of the week
    return datetime.strptime(date_and_time, TIMESTAMP_FORMAT).replace(tzinfo=UTC).timestamp() if date_and_time else 0.0


def journal(module: Any, pattern: str, lines: int) -> str:
    """Return the last lines of the journals of units."""
    module.run_command(["journalctl", "--sync"])  # records of a process that just ended may not be written yet
    options = ["--no-pager", "--output=short", f"--lines={lines}", f"--unit={pattern}"]
    return str(module.run_command(["journalctl", *options])[1])
