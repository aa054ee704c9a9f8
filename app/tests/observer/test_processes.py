"""Commands that run in parallel."""

import sys
from pathlib import Path

import pytest

from frota.observer import processes
from frota.observer.processes import Outcome, run
from support import TIMEOUT_S


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def test_outcomes_have_the_order_of_the_commands() -> None:
    """Each command has its output, and the last line of its errors if it failed."""
    commands = {
        "good": shell("echo output; echo ignored >&2"),
        "bad": shell("echo part; echo first >&2; printf 'the \\033[2Jreason\\n\\n' >&2; exit 3"),
        "silent": shell("exit 4"),
        "missing": ["/nonexistent/command"],
    }
    outcomes = run(commands, TIMEOUT_S, 2)
    assert list(outcomes.items()) == [
        ("good", Outcome("output\n", "")),
        ("bad", Outcome("part\n", "the \\x1b[2Jreason")),
        ("silent", Outcome("", "exit status 4")),
        ("missing", Outcome("", "/nonexistent/command: No such file or directory")),
    ]


def test_commands_run_in_parallel(tmp_path: Path) -> None:
    """As many commands as allowed run at the same time: each waits for the other one here."""
    fifo = tmp_path / "fifo"
    commands = {"make": shell(f"mkfifo {fifo} 2>&1; echo x >{fifo}"), "read": shell(f"mkfifo {fifo}; cat {fifo}")}
    assert run(commands, TIMEOUT_S, 2)["read"].output == "x\n"


def test_commands_wait_for_a_slot(tmp_path: Path) -> None:
    """No more commands run at the same time than allowed."""
    script = f"mkdir {tmp_path}/only && rmdir {tmp_path}/only"
    assert {done.error for done in run({str(n): shell(script) for n in range(20)}, TIMEOUT_S, 1).values()} == {""}


def test_command_that_hangs_is_killed(tmp_path: Path) -> None:
    """A command that takes too long is killed; what it printed is kept."""
    script = f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); print(1, flush=True); input()"
    hanging = [sys.executable, "-c", script.replace("input()", "import time; time.sleep(3600)")]
    outcome = run({"hanging": hanging}, 3, 1)["hanging"]
    assert outcome.error == "no complete response within 3 s"
    pid = (tmp_path / "pid").read_text()
    assert not Path(f"/proc/{pid}").exists()


def test_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output above the limit is discarded, and the outcome says so."""
    monkeypatch.setattr(processes, "MAX_OUTPUT_BYTES", 1000)
    outcome = run({"endless": shell("head -c 3000000 /dev/zero | tr '\\0' x")}, TIMEOUT_S, 1)["endless"]
    assert outcome == Outcome("x" * 1000, "more than 1000 bytes of output, the rest is not shown")


def test_output_of_any_bytes() -> None:
    """Bytes that are no UTF-8 are replaced."""
    assert run({"binary": shell("printf '\\377\\n'")}, TIMEOUT_S, 1)["binary"].output == "\ufffd\n"
