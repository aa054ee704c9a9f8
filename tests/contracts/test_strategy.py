"""Playbooks as `make` runs them: mitogen with the line of Ansible at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

from .checkout import ROOT

# As in tools/play, which runs the .venv alone: this line of Ansible may be another.
_AS_MAKE_DOES = {"ANSIBLE_STRATEGY_PLUGINS": str(ROOT / "plugins/strategy"), "ANSIBLE_STRATEGY": "mitogen_on_every_cpu"}
_PLAYBOOK = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.command: "{{ ansible_python_interpreter }} -c 'import os; print(os.getppid())'"
      loop: [first, second]
      register: said
    - ansible.builtin.copy:
        content: "{{ said.results | map(attribute='stdout') | join(' ') }}"
        dest: "{{ file }}"
        mode: "0640"
"""


def test_modules_share_a_process(tmp_path: Path) -> None:
    """The modules of a play run in one process on a host."""
    play, file = tmp_path / "play.yml", tmp_path / "parents"
    play.write_text(_PLAYBOOK, encoding="utf-8")
    variables = json.dumps({"file": str(file), "ansible_python_interpreter": sys.executable})
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "--inventory", "localhost,", play, "-e", variables],
        env={**os.environ, "ANSIBLE_STDOUT_CALLBACK": "default", **_AS_MAKE_DOES},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Without mitogen every module is a process of its own.
    first, second = file.read_text(encoding="utf-8").split()
    assert first == second, done.stdout
