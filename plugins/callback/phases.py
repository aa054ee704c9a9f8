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
  playbook:
    description: The playbook whose first part this run is. Its plays are counted; the next run prints the summary.
    type: path
    env: [{name: PHASES_PLAYBOOK}]
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
# Messages of Ansible and mitogen about a lost connection, which they do not always report as unreachable.
CONNECTION_LOST = re.compile("Channel was disconnected|EOF on stream|could not be sent to remote host")
CONNECTION_LOST_DETAILS = re.compile("Channel was disconnected|EOF on stream")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "phases"

    def __init__(self):
        super().__init__()
        self.terminal = sys.stdout.isatty()
        self.phases, self.number, self.finished_before = [], 0, 0
        self.start = self.phase_start = time.time()
        self.total_changed = self.changed = 0
        self.failed = False
        self.current, self.has_tasks = None, False
        self.fleet, self.failures, self.lost_hosts = set(), {}, set()
        self.printed_task = None

    # --- playbook, plays and tasks ------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook):
        self.start = self.get_option("start") or self.start
        handover, whole_playbook = self.get_option("handover"), self.get_option("playbook")
        if whole_playbook:
            playbook = Playbook.load(whole_playbook, VariableManager(playbook._loader), playbook._loader)
        elif handover and Path(handover).exists():
            self.finished_before, self.total_changed = json.loads(Path(handover).read_text())
            Path(handover).unlink()
        self.phases = [play.get_name() for play in playbook.get_plays()]

    def v2_playbook_on_play_start(self, play):
        self._finish_phase()
        self.number += 1
        self.has_tasks = False
        self.current, self.phase_start, self.changed, self.failed = play.get_name(), time.time(), 0, False
        self._print_status("")

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.has_tasks = True
        self._print_status(task.get_name().strip())

    def v2_playbook_on_handler_task_start(self, task):
        self._print_status(task.get_name().strip())

    def v2_playbook_on_stats(self, stats):
        self._finish_phase()
        failed = [host for host in sorted(stats.processed) if stats.failures.get(host) or stats.dark.get(host)]
        if failed:
            self._print_failures(failed)
        elif self.get_option("playbook"):
            Path(self.get_option("handover")).write_text(json.dumps([self.number, self.total_changed]))
        else:
            hosts = [f"{len(self.fleet)} host{'s' if len(self.fleet) > 1 else ''}"] if self.fleet else []
            summary = ", ".join([*hosts, self._changes(self.total_changed)])
            self._print_line(f"{self._colour(GREEN, 'Done')} in {self._since(self.start)}: {summary}.")

    # --- task results ---------------------------------------------------------------------------------------------

    def v2_runner_on_ok(self, result):
        self._record_result(result)
        changed = bool(result.result.get("changed"))
        self.changed += changed
        if changed and context.CLIARGS["check"]:
            self._print_host_and_task(result)
        if result.task.action in ("debug", "ansible.builtin.debug") and "msg" in result.result:
            self._print_message(result.result["msg"])

    def v2_runner_on_skipped(self, result):
        self._record_result(result)

    def v2_runner_item_on_ok(self, result):
        self._record_result(result)

    def v2_runner_item_on_skipped(self, result):
        self._record_result(result)

    def v2_on_file_diff(self, result):
        outcomes = result.result.get("results", [result.result]) if result.task.loop else [result.result]
        diffs = [outcome["diff"] for outcome in outcomes if outcome.get("diff") and outcome.get("changed")]
        for text in filter(None, (self._get_diff(diff).strip("\n") for diff in diffs)):
            self._print_host_and_task(result)
            self._print_line(textwrap.indent(text, INDENT))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._record_result(result)
        if not ignore_errors and not (result.task.loop and "results" in result.result):
            self._print_failure(result)

    def v2_runner_item_on_failed(self, result):
        self._record_result(result)
        if not result.task.ignore_errors:
            self._print_failure(result)

    def v2_runner_on_unreachable(self, result):
        self._record_result(result)
        self._print_failure(result)

    def v2_runner_retry(self, result):
        self._print_status(f"{result.task.get_name().strip()}: retrying")

    def _record_result(self, result):
        if any(group.name == "fleet" for group in result.host.get_groups()):
            self.fleet.add(result.host.get_name())
        if result.result.get("warnings") or result.result.get("deprecations"):
            self._clear()
            self._handle_warnings(result.result)

    # --- failures -------------------------------------------------------------------------------------------------

    def _print_failure(self, result):
        host, outcome = result.host.get_name(), result.result
        self.failed = True
        if host in self.lost_hosts:
            return
        # Print a message in full; of a command's output only the end.
        message = re.sub(r"^((Task|Module) failed: )+", "", str(outcome.get("msg", "")).strip())
        outputs = [str(outcome.get(key, "")).splitlines()[-20:] for key in ("stderr", "module_stderr", "stdout")]
        # ssh appends this line to the output of the script module's pty.
        outputs = [[line for line in lines if not line.startswith("Shared connection to")] for lines in outputs]
        if outcome.get("unreachable") or CONNECTION_LOST.search(message):
            self.lost_hosts.add(host)
            reason = "unreachable over SSH, or the connection was lost."
            texts = [reason, *(line for line in message.splitlines() if not CONNECTION_LOST_DETAILS.search(line))]
        else:
            output = next(filter(None, outputs), [])
            if output and message == "non-zero return code":
                message = ""
            reason = " ".join(output[-2:]) if outputs[0] or not message else message.split("\n")[0]
            texts = [message, *("\n".join(lines) for lines in outputs)]
        self.failures[host] = (self.current, reason)
        heading = "\n".join(self._wrap(f"✘ {self._host_and_task(result)}", "", INDENT))
        self._print_line(heading.replace("✘", self._colour(RED, "✘"), 1))
        for text in dict.fromkeys(filter(None, texts)):
            self._print_message(text)

    def _print_failures(self, failed):
        """Repeat the failures, which may have scrolled away, and print the next step as the last line."""
        self._print_line(f"\n{self._colour(RED, 'Failed')} in {self._since(self.start)}:")
        causes = {}
        for host in failed:
            causes.setdefault(self.failures.get(host, ("", "see above")), []).append(host)
        for (phase, reason), hosts in causes.items():
            self._print_message(f"{phase}, {', '.join(hosts)}: {reason}")
        all_lost = self.lost_hosts.issuperset(failed)
        step = f"Run it again when {' and '.join(failed)} can be reached" if all_lost else "Fix this and run it again"
        self._print_line(self._colour(BOLD, f"{step}; finished steps are not repeated.\n"))

    # --- printing -------------------------------------------------------------------------------------------------

    def _finish_phase(self):
        if self.current is None or not self.has_tasks:  # no host matched, or no task had the tags
            return
        self.total_changed += self.changed
        if self.number > self.finished_before or self.changed or self.failed:
            mark = self._colour(RED, "✘") if self.failed else self._colour(GREEN, "✔")
            start = f"{self._progress()}  {self._since(self.phase_start):>5}  "
            changes = f"  {self._changes(self.changed)}" if self.changed else ""
            name = self._truncate(self.current, len(f"✔ {start}{changes}"))
            self._print_line(f"{mark} {start}{name}{self._colour(YELLOW, changes)}")
        self.current = None

    def _print_status(self, task):
        if not self.terminal or self.current is None:
            return
        following = self.phases[self.number] if self.number < len(self.phases) else ""
        text = f"  {self._progress()}  {self.current}: {task}" + (f"  (then: {following})" if following else "")
        self._clear()
        sys.stdout.write(self._colour(GREY, self._truncate(text, 4)))
        sys.stdout.flush()

    def _progress(self):
        return f"{self.number:2}/{len(self.phases)}"

    @staticmethod
    def _host_and_task(result):
        # A task of a role is named `role : task`.
        return f"{result.host.get_name()}: {result.task.get_name().strip().rpartition(' : ')[2]}"

    def _print_host_and_task(self, result):
        """Print host and task once before the lines about them."""
        key = result.host.get_name(), result.task._uuid
        if self.printed_task != key:
            self._print_line(f"{INDENT}{self._host_and_task(result)}")
        self.printed_task = key

    def _print_message(self, message):
        for entry in message if isinstance(message, list) else [message]:
            for line in str(entry).splitlines():
                indent = INDENT + line[: len(line) - len(line.lstrip())]
                self._print_line("\n".join(self._wrap(line.strip(), indent, indent)))

    def _wrap(self, text, first, further):
        if not self.terminal:
            return [first + text]
        width = max(self._columns(), 2 * len(further))
        return textwrap.wrap(
            text, width, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
        )

    def _truncate(self, text, used_columns):
        width = max(self._columns() - used_columns, 1)
        return text if len(text) <= width or not self.terminal else f"{text[: width - 1]}…"

    def _print_line(self, text):
        self._clear()
        self._display.display(text)

    def _clear(self):
        if self.terminal:
            sys.stdout.write("\r\033[K")
            sys.stdout.flush()

    def _colour(self, colour, text):
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
