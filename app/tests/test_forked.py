"""Forked commands behave like commands that `python -m frota` started."""

import os
import re
import resource
import signal
from functools import cache
from pathlib import Path

import pytest

from support import TIMEOUT_S, forked, run_frota, server, start_frota
from support.forked import Forked, can_be_forked

_STATE = re.compile(r"(?m)^(?:PPid|NSsid|Uid|Umask|Threads|Sig\w+|NoNewPrivs|Max .*?):?\s.*$")


@pytest.fixture(autouse=True)
def fork_server() -> None:
    """Start the process that forks before a test changes anything."""
    assert can_be_forked({})


def process_state(pid: int) -> tuple[list[str], list[str], str]:
    """Return the state and limits, the descriptors and the folder of a process."""
    process = Path(f"/proc/{pid}")
    state = _STATE.findall((process / "status").read_text() + (process / "limits").read_text())
    open_files = [re.sub(r"\d+|fork|start", "", str(path.readlink())) for path in (process / "fd").iterdir()]
    return state, sorted(open_files), str((process / "cwd").readlink())


def test_fork_equals_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system sees no difference between a forked and a started command."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.chdir(tmp_path)
    for name in ("fork", "start"):
        Path(name).mkdir()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        with server(tmp_path / "fork") as child, server(tmp_path / "start", fresh=True) as started:
            assert isinstance(child.process, Forked)
            assert not isinstance(started.process, Forked)
            state, _, folder = process_state(child.process.pid)
            assert f"PPid:\t{os.getpid()}" in state
            assert folder == str(tmp_path)
            assert process_state(child.process.pid) == process_state(started.process.pid)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_fork_has_its_own_exit_status(tmp_path: Path) -> None:
    """A forked command ends with its own status, or by a signal."""
    assert run_frota("sensors", "history", "--last", "x").returncode == 2
    assert run_frota("sensors", "history", "--state-dir", tmp_path / "none").returncode == 1
    with server(tmp_path) as running:
        tail = start_frota("sensors", "tail", "--port", running.port, stdout=-1)
        tail.kill()
        assert tail.wait(TIMEOUT_S) == -signal.SIGKILL


def test_fork_has_the_given_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked command has exactly the variables that it is given."""
    monkeypatch.setenv("SENSORS_PORT", "none")
    monkeypatch.setattr(forked, "_server", cache(forked._server.__wrapped__))  # one that has this variable
    assert "SENSORS_PORT" in run_frota("sensors", "serve", "--check").stderr
    without = {name: value for name, value in os.environ.items() if name != "SENSORS_PORT"}
    assert run_frota("sensors", "serve", "--check", env=without).returncode == 0


@pytest.mark.parametrize(
    "options",
    [
        {"preexec_fn": lambda: None},
        {"process_group": 0},
        {"pass_fds": [0]},
        {"env": {**os.environ, "PYTHONUTF8": "1"}},
        {"env": {**os.environ, "MALLOC_ARENA_MAX": "1"}},
    ],
    ids=",".join,
)
def test_other_options_need_a_start(options: dict[str, object]) -> None:
    """Options that a fork cannot apply need a start."""
    assert not can_be_forked(options)
