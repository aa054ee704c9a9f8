"""The two sides: a playbook as `make` runs it, and pyinfra with the same hosts' state."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.core.build import BUILD
from bench.core.compare import Figures
from bench.core.errors import CannotRunError, InvalidRunError
from bench.deploy import fleet

PEERS = BUILD / "peers"
PEER = Path(__file__).with_name("peer")


def require_pyinfra() -> None:
    """Raise CannotRunError where pyinfra was not fetched."""
    if not (PEERS / "pyinfra").exists():
        raise CannotRunError("there is no pyinfra here to compare with: run tools/peers, which fetches it")


def playbook(name: str, *words: str) -> tuple[Figures, str]:
    """Return what a playbook took, and what it printed. Raises InvalidRunError where it fails."""
    return measured([str(fleet.ROOT / "tools/play"), name, *words], fleet.ROOT, {})


def pyinfra(
    folder: Path, states: Mapping[str, fleet.State], release: Mapping[str, str] | None = None
) -> tuple[Figures, str]:
    """Return what it took to bring every host into its state, and what was printed."""
    # It knows no HostKeyAlias and would add the hosts' addresses to the fleet's own list.
    known = "UserKnownHostsFile"
    config = re.sub(rf"{known} .*", f"{known} {folder}/known_hosts", fleet.SSH_CONFIG.read_text(encoding="utf-8"))
    (folder / "ssh_config").write_text(config, encoding="utf-8")
    given = folder / "deploy.json"
    given.write_text(json.dumps({"hosts": states, "release": release, "ssh_config": f"{folder}/ssh_config"}))
    command = [sys.executable, "-m", "pyinfra", "--yes", "inventory.py", "deploy.py"]
    return measured(command, PEER, {"PYTHONPATH": str(PEERS), "BENCH_DEPLOY": str(given)})


def measured(command: list[str], folder: Path, environ: Mapping[str, str]) -> tuple[Figures, str]:
    """Return seconds and CPU seconds of a command with its children, and its output.

    Raises InvalidRunError, with the end of the output, where it fails.
    """
    before, start = cpu_seconds(), time.monotonic()
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
            printed, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)  # tools/play is a shell: what it started would go on
            raise
    figures = {"wall_s": time.monotonic() - start, "cpu_s": cpu_seconds() - before}
    if process.returncode != 0:
        end = "\n".join(printed.splitlines()[-20:])
        raise InvalidRunError(f"{command[0]} ended with {process.returncode}:\n{end}")
    return figures, printed


def cpu_seconds() -> float:
    """Return the CPU time so far of all children that have ended and been waited for, with theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def require_unchanged(printed: str) -> None:
    """Raise InvalidRunError where a run changed something; `printed` is the output of either side."""
    ours = re.search(r"^Done in .*: .*nothing changed\.$", printed, re.MULTILINE)
    theirs = re.search(r"^ *Grand total +\d+ +- +- ", printed, re.MULTILINE)
    if not (ours or theirs):
        end = "\n".join(printed.splitlines()[-20:])
        raise InvalidRunError(f"a run that was to change nothing did:\n{end}")
