"""Screen output: a line per phase (play), the current task below, and on failure the cause and how to go on."""

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
short_description: Print a line per play instead of every task
description:
  - Prints one line per play with its duration and number of changes. Prints the message of a failed task, and repeats
    it at the end with the next step.
  - On a terminal the last line shows the current task and the next play.
  - Prints messages of M(ansible.builtin.debug) tasks and the output of O(ignore:--diff) unchanged. With
    O(ignore:--check) it prints the name of every task that would change something.
  - With C(-v) it prints Ansible's default output.
options:
  start:
    description: Start time of the command, in seconds since 1970.
    type: int
    env: [{name: PHASES_START}]
  whole:
    description: The playbook whose first part this run is. Its plays are counted; the next run prints the summary.
    type: path
    env: [{name: PHASES_WHOLE}]
  handover:
    description: File in which the run of a first part stores its progress for the next run.
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
# Messages of Ansible and mitogen for a lost connection, which they do not always report as unreachable.
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

    # --- playbook, plays and tasks ------------------------------------------------------------------------------

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

    # --- task results ---------------------------------------------------------------------------------------------

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
        self._status(f"{result.task.get_name().strip()}: retrying")

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
        # Print a message in full; of a command's output only the end.
        message = re.sub(r"^((Task|Module) failed: )+", "", str(outcome.get("msg", "")).strip())
        printed = [str(outcome.get(key, "")).splitlines()[-20:] for key in ("stderr", "module_stderr", "stdout")]
        # ssh appends this line to the output of the script module's pty.
        said = [[line for line in lines if not line.startswith("Shared connection to")] for lines in printed]
        if outcome.get("unreachable") or LOST.search(message):
            self.lost.add(host)
            reason = "unreachable over SSH, or the connection was lost."
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
        """Repeat the failures, which may have scrolled away, and print the next step as the last line."""
        self._line(f"\n{self._paint(RED, 'Failed')} in {self._since(self.start)}:")
        causes = {}
        for host in bad:
            causes.setdefault(self.failures.get(host, ("", "see above")), []).append(host)
        for (phase, reason), hosts in causes.items():
            self._message(f"{phase}, {', '.join(hosts)}: {reason}")
        lost = self.lost.issuperset(bad)
        step = f"Run it again when {' and '.join(bad)} can be reached" if lost else "Fix this and run it again"
        self._line(self._paint(BOLD, f"{step}; finished steps are not repeated.\n"))

    # --- printing -------------------------------------------------------------------------------------------------

    def _finish_phase(self):
        if self.current is None or not self.begun:  # no host matched, or no task had the tags
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
        """Print host and task once before the lines about them."""
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


# With -v use Ansible's default output. The loader finds the class by its name.
if Display().verbosity:
    CallbackModule = type("CallbackModule", (Default,), {})
