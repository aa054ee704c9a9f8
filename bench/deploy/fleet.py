"""The fleet that is up in this checkout, over the SSH configuration that its playbooks write."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.core.errors import CannotRunError, InvalidRunError

ROOT = Path(__file__).parents[2]
SSH_CONFIG = ROOT / ".local/ssh/config"
STATE = Path(__file__).with_name("state.py")
EMBEDDED_AWS = "embedded-aws"  # part of this machine's cloud, not of what is deployed

State = Mapping[str, Any]
"""What a host has (see state.py)."""


def require() -> None:
    """Raise CannotRunError where no fleet answers."""
    asked = subprocess.run([ROOT / "tools/answers"], check=False, capture_output=True, text=True)
    if asked.returncode != 0:
        raise CannotRunError(
            f"deploy measures the fleet of this checkout, and none is up: make up {asked.stderr.strip()}"
        )


def hosts() -> list[str]:
    """Return the names of the hosts that are deployed to."""
    names = re.findall(r"^Host ([^*\s]+)$", SSH_CONFIG.read_text(encoding="utf-8"), re.MULTILINE)
    return sorted(set(names) - {EMBEDDED_AWS})


def embedded_aws_address() -> str:
    """Return the address of the AWS that knows the fleet's instances."""
    network = ROOT.joinpath(".local/fleet.cidr").read_text(encoding="utf-8")
    return network.strip().replace(".0.0/16", ".255.250")


def on(host: str, command: str, script: str = "") -> str:
    """Return what a command prints as root on a host; `script` is its standard input.

    Raises InvalidRunError where it fails.
    """
    words = ["ssh", "-F", str(SSH_CONFIG), host, f"sudo {command}"]
    done = subprocess.run(words, check=False, input=script, capture_output=True, text=True)
    if done.returncode != 0:
        raise InvalidRunError(f"{host}: {command} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def on_all(names: Sequence[str], command: str, script: str = "") -> dict[str, str]:
    """Return what a command prints on each host."""
    with ThreadPoolExecutor(len(names)) as threads:
        return dict(zip(names, threads.map(lambda host: on(host, command, script), names), strict=True))


def states() -> dict[str, State]:
    """Return what each host has now."""
    printed = on_all(hosts(), "python3 -", STATE.read_text(encoding="utf-8"))
    return {host: json.loads(text) for host, text in printed.items()}


def releases() -> set[str]:
    """Return the names of the releases in use; on a whole fleet it is one."""
    return {Path(target).name for target in on_all(hosts(), "readlink /opt/frota/current").values()}
