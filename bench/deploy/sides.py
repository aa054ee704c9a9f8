"""The two sides: a playbook, and pyinfra with the state of the same hosts."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.core.build import BASELINES
from bench.core.compare import Figures
from bench.core.errors import CannotRunError, InvalidRunError
from bench.core.process import children_cpu_seconds
from bench.deploy import fleet

BASELINE = Path(__file__).with_name("baseline")


def require_pyinfra() -> None:
    """Raise CannotRunError if pyinfra is missing."""
    if not (BASELINES / "pyinfra").exists():
        raise CannotRunError("there is no pyinfra to compare with: run tools/baselines, which fetches it")


def playbook(name: str, *arguments: str) -> tuple[Figures, str]:
    """Run a playbook; return its figures and its output. Raises InvalidRunError if it fails."""
    return measure([str(fleet.ROOT / "tools/play"), name, *arguments], fleet.ROOT, {})


def pyinfra(
    folder: Path, states: Mapping[str, fleet.State], release: Mapping[str, str] | None = None
) -> tuple[Figures, str]:
    """Run pyinfra to bring each host into its state; return its figures and its output."""
    # pyinfra does not support HostKeyAlias, and would add the addresses of the hosts to the list of the fleet.
    option = "UserKnownHostsFile"
    config = re.sub(rf"{option} .*", f"{option} {folder}/known_hosts", fleet.SSH_CONFIG.read_text(encoding="utf-8"))
    (folder / "ssh_config").write_text(config, encoding="utf-8")
    data = folder / "deploy.json"
    data.write_text(json.dumps({"hosts": states, "release": release, "ssh_config": f"{folder}/ssh_config"}))
    command = [sys.executable, "-m", "pyinfra", "--yes", "inventory.py", "deploy.py"]
    return measure(command, BASELINE, {"PYTHONPATH": str(BASELINES), "BENCH_DEPLOY": str(data)})


def measure(command: list[str], folder: Path, environ: Mapping[str, str]) -> tuple[Figures, str]:
    """Run a command; return its time and CPU time (s), including its children, and its output.

    Raises InvalidRunError, with the end of the output, if it fails.
    """
    before, start = children_cpu_seconds(), time.monotonic()
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)  # tools/play is a shell script, whose children would continue
            raise
    figures = {"wall_s": time.monotonic() - start, "cpu_s": children_cpu_seconds() - before}
    if process.returncode != 0:
        end = "\n".join(output.splitlines()[-20:])
        raise InvalidRunError(f"{command[0]} exited with status {process.returncode}:\n{end}")
    return figures, output


def require_unchanged(output: str) -> None:
    """Raise InvalidRunError if a run changed something; `output` is that of either side."""
    frota = re.search(r"^Done in .*: .*nothing changed\.$", output, re.MULTILINE)
    pyinfra_total = re.search(r"^ *Grand total +\d+ +- +- ", output, re.MULTILINE)
    if not (frota or pyinfra_total):
        end = "\n".join(output.splitlines()[-20:])
        raise InvalidRunError(f"a run changed something unexpectedly:\n{end}")
