"""Screen output for people: a line for every phase, the task at hand below, and on failure the sentence that helps."""

from __future__ import annotations

import sys
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: phases
type: stdout
short_description: Phases with their times instead of pages of tasks
description:
  - Prints one line for every play, with what it changed and how long it took, and which play comes next.
  - On a terminal the task at hand stands in the last line. What fails is printed with its message only.
  - The message of every M(ansible.builtin.debug) task is printed as it is.
extends_documentation_fragment: [result_format_callback]
"""

GREEN, YELLOW, RED, GREY, RESET = "\033[32m", "\033[33m", "\033[31m", "\033[90m", "\033[0m"
WIDTH = 58


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "phases"

    def __init__(self):
        super().__init__()
        self.terminal = sys.stdout.isatty()
        self.plays, self.number = [], 0
        self.start = self.play_start = time.monotonic()
        self.changed = self.failed = 0
        self.current = None

    # --- the course of things -----------------------------------------------------------------------------------

    def v2_playbook_on_start(self, playbook):
        self.plays = [play.get_name() for play in playbook.get_plays()]

    def v2_playbook_on_play_start(self, play):
        self._finish_play()
        self.number += 1
        self.current, self.play_start, self.changed = play.get_name(), time.monotonic(), 0
        self._status("")

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._status(task.get_name().strip())

    def v2_playbook_on_handler_task_start(self, task):
        self._status(task.get_name().strip())

    def v2_playbook_on_stats(self, stats):
        self._finish_play()
        hosts = sorted(stats.processed)
        changed = sum(stats.changed.get(host, 0) for host in hosts)
        bad = [host for host in hosts if stats.failures.get(host) or stats.dark.get(host)]
        took = self._since(self.start)
        if bad:
            self._line(f"{self._paint(RED, 'Failed')} on {', '.join(bad)} after {took}.")
        else:
            what = f"{changed} changed" if changed else "nothing to change"
            self._line(f"{self._paint(GREEN, 'Done')} in {took}: {len(hosts)} hosts, {what}.")

    # --- what tasks say -------------------------------------------------------------------------------------------

    def v2_runner_on_ok(self, result):
        self.changed += bool(result.result.get("changed"))
        if result.task.action in ("debug", "ansible.builtin.debug") and "msg" in result.result:
            self._message(result.result["msg"])

    def v2_on_file_diff(self, result):
        outcomes = result.result.get("results", [result.result]) if result.task.loop else [result.result]
        for outcome in outcomes:
            if outcome.get("diff") and outcome.get("changed"):
                self._line(f"      {result.host.get_name()}: {result.task.get_name().strip()}")
                self._message(self._get_diff(outcome["diff"]))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        if ignore_errors or (result.task.loop and "results" in result.result):
            return
        self._failure(result)

    def v2_runner_item_on_failed(self, result):
        self._failure(result)

    def v2_runner_on_unreachable(self, result):
        self._failure(result)

    def v2_runner_retry(self, result):
        self._status(f"{result.task.get_name().strip()}: not yet")

    # --- printing -------------------------------------------------------------------------------------------------

    def _finish_play(self):
        if self.current is None:
            return
        mark = self._paint(RED, "✘") if self.failed else self._paint(GREEN, "✔")
        changed = self._paint(YELLOW, f"{self.changed} changed") if self.changed else ""
        left = f"{mark} {self.number:2}/{len(self.plays)}  {self.current}"
        padding = " " * max(1, WIDTH - len(self.current))
        self._line(f"{left}{padding}{self._since(self.play_start):>6}  {changed}".rstrip())
        self.current, self.failed = None, 0

    def _status(self, task):
        if not self.terminal or self.current is None:
            return
        following = self.plays[self.number] if self.number < len(self.plays) else ""
        text = f"  {self.number:2}/{len(self.plays)}  {self.current}: {task}"
        then = f"  (then: {following})" if following else ""
        columns = self._display.columns
        sys.stdout.write("\r\033[K" + self._paint(GREY, (text + then)[: columns - 1]))
        sys.stdout.flush()

    def _failure(self, result):
        self.failed += 1
        outcome = result.result
        where = f"{result.host.get_name()}: {result.task.get_name().strip()}"
        self._line(f"{self._paint(RED, '✘')} {where}")
        # A message is ours and said in full; of what a command printed, the end tells.
        said = [str(outcome.get("msg", "")).strip()]
        said += [
            "\n".join(str(outcome.get(key, "")).splitlines()[-20:]) for key in ("stderr", "module_stderr", "stdout")
        ]
        for text in dict.fromkeys(filter(None, said)):
            # The pty of the script module ends with a word from ssh that is about nothing.
            self._message([line for line in text.splitlines() if not line.startswith("Shared connection to")])

    def _message(self, message):
        for entry in message if isinstance(message, list) else [message]:
            for line in str(entry).splitlines():
                self._line(f"      {line}")

    def _line(self, text):
        if self.terminal:
            sys.stdout.write("\r\033[K")
        self._display.display(text)

    def _paint(self, colour, text):
        return f"{colour}{text}{RESET}" if self.terminal else text

    @staticmethod
    def _since(moment):
        seconds = int(time.monotonic() - moment)
        return f"{seconds // 60}:{seconds % 60:02}"
