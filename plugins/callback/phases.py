"""Screen output for people: a line for every phase, the task at hand below, and on failure the sentence that helps."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
import time
from pathlib import Path

from ansible import context
from ansible.playbook import Playbook
from ansible.plugins.callback import CallbackBase
from ansible.plugins.callback.default import CallbackModule as Default
from ansible.utils.display import Display
from ansible.vars.manager import VariableManager

DOCUMENTATION = """
name: phases
type: stdout
short_description: Phases with their times instead of pages of tasks
description:
  - Prints one line for every play, with how long it took and what it changed. What fails is printed with its message
    only, and again at the end, with what to do next.
  - On a terminal the task at hand stands in the last line, with the play that comes next.
  - The message of every M(ansible.builtin.debug) task is printed as it is, and so is what O(ignore:--diff) shows.
    Under O(ignore:--check) every task that would change something is named.
  - With C(-v) it is Ansible's own output, with all its detail.
options:
  start:
    description: When the person began to wait, in seconds since 1970.
    type: int
    env: [{name: PHASES_START}]
  whole:
    description: The playbook that this run is the beginning of. Its phases count; the next run tells the end.
    type: path
    env: [{name: PHASES_WHOLE}]
  handover:
    description: Where a run that is a beginning writes how far it came, for the run that goes on with the same list.
    type: path
    env: [{name: PHASES_HANDOVER}]
extends_documentation_fragment: [default_callback, result_format_callback]
"""

GREEN = "\033[32m"
YELLOW = "\033[33m"
RED = "\033[31m"
GREY = "\033[90m"
BOLD = "\033[1m"
RESET = "\033[0m"
INDENT = " " * 6
# What Ansible and mitogen say of a host that went away while it was worked on, not always as unreachable.
LOST = re.compile("Channel was disconnected|EOF on stream|could not be sent to remote host")
NOISE = re.compile("Channel was disconnected|EOF on stream")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "phases"

    def __init__(self):
        super().__init__()
        self.terminal = sys.stdout.isatty()
        self.phases, self.number, self.before = [], 0, 0
        self.start = self.phase_start = time.time()
        self.total_changed = self.changed = 0
        self.failed = False
        self.current, self.begun = None, False
        self.fleet, self.failures, self.lost = set(), {}, set()
        self.named = None

    # --- the course of things -----------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook):
        self.start = self.get_option("start") or self.start
        handover, whole = self.get_option("handover"), self.get_option("whole")
        if whole:
            playbook = Playbook.load(whole, VariableManager(playbook._loader), playbook._loader)
        elif handover and Path(handover).exists():
            self.before, self.total_changed = json.loads(Path(handover).read_text())
            Path(handover).unlink()
        self.phases = [play.get_name() for play in playbook.get_plays()]

    def v2_playbook_on_play_start(self, play):
        self._finish_phase()
        self.number += 1
        self.begun = False
        self.current, self.phase_start, self.changed, self.failed = play.get_name(), time.time(), 0, False
        self._status("")

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.begun = True
        self._status(task.get_name().strip())

    def v2_playbook_on_handler_task_start(self, task):
        self._status(task.get_name().strip())

    def v2_playbook_on_stats(self, stats):
        self._finish_phase()
        bad = [host for host in sorted(stats.processed) if stats.failures.get(host) or stats.dark.get(host)]
        if bad:
            self._end_in_failure(bad)
        elif self.get_option("whole"):
            Path(self.get_option("handover")).write_text(json.dumps([self.number, self.total_changed]))
        else:
            hosts = [f"{len(self.fleet)} host{'s' if len(self.fleet) > 1 else ''}"] if self.fleet else []
            what = ", ".join([*hosts, self._changes(self.total_changed)])
            self._line(f"{self._paint(GREEN, 'Done')} in {self._since(self.start)}: {what}.")

    # --- what tasks say -------------------------------------------------------------------------------------------

    def v2_runner_on_ok(self, result):
        self._note(result)
        changed = bool(result.result.get("changed"))
        self.changed += changed
        if changed and context.CLIARGS["check"]:
            self._name(result)
        if result.task.action in ("debug", "ansible.builtin.debug") and "msg" in result.result:
            self._message(result.result["msg"])

    def v2_runner_on_skipped(self, result):
        self._note(result)

    def v2_runner_item_on_ok(self, result):
        self._note(result)

    def v2_runner_item_on_skipped(self, result):
        self._note(result)

    def v2_on_file_diff(self, result):
        outcomes = result.result.get("results", [result.result]) if result.task.loop else [result.result]
        diffs = [outcome["diff"] for outcome in outcomes if outcome.get("diff") and outcome.get("changed")]
        for text in filter(None, (self._get_diff(diff).strip("\n") for diff in diffs)):
            self._name(result)
            self._line(textwrap.indent(text, INDENT))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._note(result)
        if not ignore_errors and not (result.task.loop and "results" in result.result):
            self._failure(result)

    def v2_runner_item_on_failed(self, result):
        self._note(result)
        if not result.task.ignore_errors:
            self._failure(result)

    def v2_runner_on_unreachable(self, result):
        self._note(result)
        self._failure(result)

    def v2_runner_retry(self, result):
        self._status(f"{result.task.get_name().strip()}: not yet")

    def _note(self, result):
        if any(group.name == "fleet" for group in result.host.get_groups()):
            self.fleet.add(result.host.get_name())
        if result.result.get("warnings") or result.result.get("deprecations"):
            self._clear()
            self._handle_warnings(result.result)

    # --- failures -------------------------------------------------------------------------------------------------

    def _failure(self, result):
        host, outcome = result.host.get_name(), result.result
        self.failed = True
        if host in self.lost:
            return
        # A message is ours and said in full; of what a command printed, the end tells.
        message = re.sub(r"^((Task|Module) failed: )+", "", str(outcome.get("msg", "")).strip())
        printed = [str(outcome.get(key, "")).splitlines()[-20:] for key in ("stderr", "module_stderr", "stdout")]
        # The pty of the script module ends with a word from ssh that is about nothing.
        said = [[line for line in lines if not line.startswith("Shared connection to")] for lines in printed]
        if outcome.get("unreachable") or LOST.search(message):
            self.lost.add(host)
            reason = "it does not answer over SSH, or the connection to it broke off."
            texts = [reason, *(line for line in message.splitlines() if not NOISE.search(line))]
        else:
            printed = next(filter(None, said), [])
            if printed and message == "non-zero return code":
                message = ""
            reason = " ".join(printed[-2:]) if said[0] or not message else message.split("\n")[0]
            texts = [message, *("\n".join(lines) for lines in said)]
        self.failures[host] = (self.current, reason)
        where = "\n".join(self._fold(f"✘ {self._where(result)}", "", INDENT))
        self._line(where.replace("✘", self._paint(RED, "✘"), 1))
        for text in dict.fromkeys(filter(None, texts)):
            self._message(text)

    def _end_in_failure(self, bad):
        """Say again what failed, which may have scrolled away by now, and what to do: the last words on the screen."""
        self._line(f"\n{self._paint(RED, 'Failed')} in {self._since(self.start)}:")
        causes = {}
        for host in bad:
            causes.setdefault(self.failures.get(host, ("", "see above")), []).append(host)
        for (phase, reason), hosts in causes.items():
            self._message(f"{phase}, {', '.join(hosts)}: {reason}")
        lost = self.lost.issuperset(bad)
        when = f"When {' and '.join(bad)} can be reached" if lost else "When that is mended"
        self._line(self._paint(BOLD, f"{when}, run this again: what is done stays done.\n"))

    # --- printing -------------------------------------------------------------------------------------------------

    def _finish_phase(self):
        if self.current is None or not self.begun:  # its hosts are left out, or its tasks by tags
            return
        self.total_changed += self.changed
        if self.number > self.before or self.changed or self.failed:
            mark = self._paint(RED, "✘") if self.failed else self._paint(GREEN, "✔")
            start = f"{self._place()}  {self._since(self.phase_start):>5}  "
            changes = f"  {self._changes(self.changed)}" if self.changed else ""
            name = self._fit(self.current, len(f"✔ {start}{changes}"))
            self._line(f"{mark} {start}{name}{self._paint(YELLOW, changes)}")
        self.current = None

    def _status(self, task):
        if not self.terminal or self.current is None:
            return
        following = self.phases[self.number] if self.number < len(self.phases) else ""
        text = f"  {self._place()}  {self.current}: {task}" + (f"  (then: {following})" if following else "")
        self._clear()
        sys.stdout.write(self._paint(GREY, self._fit(text, 4)))
        sys.stdout.flush()

    def _place(self):
        return f"{self.number:2}/{len(self.phases)}"

    @staticmethod
    def _where(result):
        # A task of a role is named `role : task`.
        return f"{result.host.get_name()}: {result.task.get_name().strip().rpartition(' : ')[2]}"

    def _name(self, result):
        """Say once which task on which host the next lines are about."""
        key = result.host.get_name(), result.task._uuid
        if self.named != key:
            self._line(f"{INDENT}{self._where(result)}")
        self.named = key

    def _message(self, message):
        for entry in message if isinstance(message, list) else [message]:
            for line in str(entry).splitlines():
                indent = INDENT + line[: len(line) - len(line.lstrip())]
                self._line("\n".join(self._fold(line.strip(), indent, indent)))

    def _fold(self, text, first, further):
        if not self.terminal:
            return [first + text]
        width = max(self._columns(), 2 * len(further))
        return textwrap.wrap(
            text, width, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
        )

    def _fit(self, text, taken):
        room = max(self._columns() - taken, 1)
        return text if len(text) <= room or not self.terminal else f"{text[: room - 1]}…"

    def _line(self, text):
        self._clear()
        self._display.display(text)

    def _clear(self):
        if self.terminal:
            sys.stdout.write("\r\033[K")
            sys.stdout.flush()

    def _paint(self, colour, text):
        return f"{colour}{text}{RESET}" if self.terminal and text else text

    @staticmethod
    def _columns():
        return shutil.get_terminal_size().columns

    @staticmethod
    def _changes(number):
        return f"{number or 'nothing'} {'would change' if context.CLIARGS['check'] else 'changed'}"

    @staticmethod
    def _since(moment):
        seconds = int(time.time() - moment)
        return f"{seconds // 60}:{seconds % 60:02}"


# With -v it is Ansible's own output. The loader goes by the name of the class.
if Display().verbosity:
    CallbackModule = type("CallbackModule", (Default,), {})
