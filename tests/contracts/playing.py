"""Runs of ansible-playbook that share one import of Ansible, which takes as long as a small run itself."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from .checkout import ROOT

# Each run is a process of its own, for Ansible reads its command line once.
_RUNS = """
import json, os, sys, tempfile
from ansible.cli.playbook import PlaybookCLI
runs = []
for words in json.loads(sys.argv[1]):
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if not child:
            os.dup2(output.fileno(), 1)
            PlaybookCLI.cli_executor(["ansible-playbook", *words])  # which exits
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        runs.append((status, output.read().decode()))
print(json.dumps(runs))
"""


class Played(NamedTuple):
    """How a run ended, and what it printed on standard output."""

    status: int
    output: str


def run_playbooks(*commands: Sequence[str], **variables: str) -> list[Played]:
    """Run ansible-playbook in the checkout with each of these arguments, on localhost alone.

    Of Ansible's own variables it gets those that are named here, and no others.
    """
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    words = [["--inventory", "localhost,", "--connection", "local", *command] for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", _RUNS, json.dumps(words)],
        cwd=ROOT,
        env={**environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Played(*run) for run in json.loads(done.stdout)]
