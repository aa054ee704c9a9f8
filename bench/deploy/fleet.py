"""The running fleet of this checkout, over the SSH configuration that its playbooks write."""

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
EMBEDDED_AWS = "embedded-aws"  # the host of the cloud, which the playbooks do not deploy to

State = Mapping[str, Any]
"""The state of a host (see state.py)."""


def require() -> None:
    """Raise CannotRunError if no fleet responds."""
    result = subprocess.run([ROOT / "tools/is_up"], check=False, capture_output=True, text=True)
    if result.returncode != 0:
        raise CannotRunError(
            f"deploy measures the fleet of this checkout, and none is running: make up {result.stderr.strip()}"
        )


def hosts() -> list[str]:
    """Return the names of the hosts that the playbooks deploy to."""
    names = re.findall(r"^Host ([^*\s]+)$", SSH_CONFIG.read_text(encoding="utf-8"), re.MULTILINE)
    return sorted(set(names) - {EMBEDDED_AWS})


def embedded_aws_address() -> str:
    """Return the address of the embedded AWS."""
    network = ROOT.joinpath(".local/fleet.cidr").read_text(encoding="utf-8")
    return network.strip().replace(".0.0/16", ".255.250")


def run_on(host: str, command: str, script: str = "") -> str:
    """Run a command as root on a host, with `script` as standard input; return its output.

    Raises InvalidRunError if it fails.
    """
    ssh = ["ssh", "-F", str(SSH_CONFIG), host, f"sudo {command}"]
    result = subprocess.run(ssh, check=False, input=script, capture_output=True, text=True)
    if result.returncode != 0:
        raise InvalidRunError(f"{host}: {command} failed: {result.stderr.strip()}")
    return result.stdout.strip()


def run_on_all(names: Sequence[str], command: str, script: str = "") -> dict[str, str]:
    """Run a command on all hosts; return its output by host."""
    with ThreadPoolExecutor(len(names)) as threads:
        return dict(zip(names, threads.map(lambda host: run_on(host, command, script), names), strict=True))


def states() -> dict[str, State]:
    """Return the current state of each host."""
    outputs = run_on_all(hosts(), "python3 -", STATE.read_text(encoding="utf-8"))
    return {host: json.loads(text) for host, text in outputs.items()}


def releases() -> set[str]:
    """Return the names of the releases that the hosts run, normally one."""
    return {Path(target).name for target in run_on_all(hosts(), "readlink /opt/frota/current").values()}
