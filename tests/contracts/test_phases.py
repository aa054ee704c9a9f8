"""What a playbook shows people: phases, and at the end of a failure once more what failed and what to do."""

import pytest

from .playing import Played, run_playbooks

pytestmark = pytest.mark.xdist_group("phases")  # one process plays them all

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


_GOOD, _WITHOUT_SECOND, _BAD, _VERBOSE = range(4)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Played]:
    """Play it in all the ways that the tests speak of."""
    playbook = tmp_path_factory.mktemp("phases") / "playbook.yml"
    playbook.write_text(_PLAYBOOK)
    good = [str(playbook), "-e", "good=yes"]
    return run_playbooks(good, [*good, "--skip-tags", "second"], [str(playbook), "-e", "good=no"], [*good, "-v"])


def test_phase_lines(runs: list[Played]) -> None:
    """Every phase is one line, and the last line has the number of changes."""
    assert runs[_GOOD].status == 0
    lines = [line.split() for line in runs[_GOOD].output.splitlines()]
    assert [line[:2] + line[3:] for line in lines if "✔" in line] == [
        ["✔", "1/3", "First", "phase", "1", "changed"],
        ["✔", "2/3", "Second", "phase"],
    ]
    assert "what it says" in runs[_GOOD].output
    assert lines[-1][0] == "Done"
    assert lines[-1][-2:] == ["1", "changed."]


def test_phases_without_tasks_are_not_shown(runs: list[Played]) -> None:
    """A phase of which no task ran is not shown."""
    assert "First phase" in runs[_WITHOUT_SECOND].output
    assert "Second phase" not in runs[_WITHOUT_SECOND].output
    assert "Third phase" not in runs[_WITHOUT_SECOND].output


def test_failure_summary(runs: list[Played]) -> None:
    """The output of a failed run ends with what failed and what to do."""
    assert runs[_BAD].status != 0
    *_, failed, reason, advice = [line.strip() for line in runs[_BAD].output.splitlines() if line.strip()]
    assert failed.startswith("Failed in ")
    assert reason == "Second phase, localhost: the sentence that helps"
    assert advice == "Fix this and run it again; finished steps are not repeated."


def test_verbose_output(runs: list[Played]) -> None:
    """With -v, the output is that of Ansible."""
    assert "PLAY RECAP" in runs[_VERBOSE].output
    assert "PLAY RECAP" not in runs[_GOOD].output
