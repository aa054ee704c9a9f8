"""Programs that make load and print their account of it as one JSON object."""

import json
import subprocess
from collections.abc import Collection, Sequence
from typing import Any

from bench.core.errors import InvalidRunError
from bench.core.machine import load_cpus
from bench.core.process import on_cpus

OVERTIME_SECONDS = 60.0


def run_pinned(command: Sequence[str], seconds: float, cpus: Collection[int] | None = None) -> tuple[str, str]:
    """Return what a load of `seconds` wrote to both its outputs; it runs on the CPU for loads, or on these.

    Raises InvalidRunError where it could not be made.
    """
    timeout = 2 * seconds + OVERTIME_SECONDS
    try:
        done = subprocess.run(
            on_cpus(command, cpus or load_cpus()), check=False, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        raise InvalidRunError(f"the load did not end within {timeout:.0f} s") from error
    if done.returncode != 0:
        raise InvalidRunError(f"the load could not be made: {done.stderr.strip()}")
    return done.stdout, done.stderr.strip()


def account_of(command: Sequence[str], seconds: float, cpus: Collection[int] | None = None) -> dict[str, Any]:
    """Return the account of a load (see load.c). Raises InvalidRunError where the server broke the contract."""
    output, complaint = run_pinned(command, seconds, cpus)
    account: dict[str, Any] = json.loads(output)
    if account["errors"] or account["unanswered"]:
        raise InvalidRunError(f"errors: {account['errors']}, unanswered: {account['unanswered']} {complaint}")
    if account["count"] == 0:
        raise InvalidRunError("not one answer arrived in the time measured")
    return account
