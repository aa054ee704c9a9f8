"""What a playbook shows people: phases, and at the end of a failure once more what failed and what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .checkout import ROOT

_PLAYBOOK = """
- name: First phase
  hosts: localhost
  gather_facts: false
  tasks:
    - name: A task
      ansible.builtin.debug:
        msg: what it says
      changed_when: true

- name: Second phase
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Another task
      ansible.builtin.assert:
        that: good | bool
        fail_msg: the sentence that helps
        quiet: true
      tags: second

- name: Third phase
  hosts: nobody
  gather_facts: false
  tasks:
    - name: A task of nobody
      ansible.builtin.debug:
"""


def _play(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    playbook = folder / "playbook.yml"
    playbook.write_text(_PLAYBOOK)
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "--inventory", "localhost,", "--connection", "local", str(playbook)]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return subprocess.run(
        [*command, *words], cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_every_phase_is_one_line_and_the_end_says_how_much_changed(tmp_path: Path) -> None:
    played = _play(tmp_path, "-e", "good=yes")
    assert played.returncode == 0
    lines = [line.split() for line in played.stdout.splitlines()]
    assert [line[:2] + line[3:] for line in lines if "✔" in line] == [
        ["✔", "1/3", "First", "phase", "1", "changed"],
        ["✔", "2/3", "Second", "phase"],
    ]
    assert "what it says" in played.stdout
    assert lines[-1][0] == "Done"
    assert lines[-1][-2:] == ["1", "changed."]


def test_a_phase_of_which_nothing_was_played_is_not_told_of(tmp_path: Path) -> None:
    played = _play(tmp_path, "-e", "good=yes", "--skip-tags", "second")
    assert "First phase" in played.stdout
    assert "Second phase" not in played.stdout
    assert "Third phase" not in played.stdout


def test_the_last_words_of_a_failure_are_what_failed_and_what_to_do(tmp_path: Path) -> None:
    played = _play(tmp_path, "-e", "good=no")
    assert played.returncode != 0
    *_, failed, reason, advice = [line.strip() for line in played.stdout.splitlines() if line.strip()]
    assert failed.startswith("Failed in ")
    assert reason == "Second phase, localhost: the sentence that helps"
    assert advice == "When that is mended, run this again: what is done stays done."


@pytest.mark.parametrize("words", [(), ("-v",)], ids=["phases", "verbose"])
def test_verbose_gives_the_output_of_ansible_itself(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert ("PLAY RECAP" in _play(tmp_path, "-e", "good=yes", *words).stdout) == bool(words)
