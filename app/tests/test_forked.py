"""Commands that are forked for tests are what the tests take them for: what `python -m frota` would have started."""

import os
import re
import resource
import signal
from pathlib import Path

import pytest

from support import PATIENCE, forked, frota, ran, server
from support.forked import Forked, can_be_forked

_KNOWN = re.compile(r"(?m)^(?:PPid|NSsid|Uid|Umask|Threads|Sig\w+|NoNewPrivs|Max .*?):?\s.*$")


@pytest.fixture(autouse=True)
def forking() -> None:
    """Have the process that forks started before a test changes anything."""
    assert can_be_forked({})


def known(pid: int) -> tuple[list[str], list[str], str]:
    """Return what the system says of a process: its state, limits, descriptors and folder."""
    process = Path(f"/proc/{pid}")
    state = _KNOWN.findall((process / "status").read_text() + (process / "limits").read_text())
    open_files = [re.sub(r"\d+|fork|start", "", str(path.readlink())) for path in (process / "fd").iterdir()]
    return state, sorted(open_files), str((process / "cwd").readlink())


def test_the_system_knows_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.chdir(tmp_path)
    for name in ("fork", "start"):
        Path(name).mkdir()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    try:
        with server(tmp_path / "fork") as child, server(tmp_path / "start", fresh=True) as started:
            assert isinstance(child.process, Forked)
            assert not isinstance(started.process, Forked)
            state, _, folder = known(child.process.pid)
            assert f"PPid:\t{os.getpid()}" in state
            assert folder == str(tmp_path)
            assert known(child.process.pid) == known(started.process.pid)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_ends_with_its_own_status_or_by_the_signal(tmp_path: Path) -> None:
    assert ran("sensors", "history", "--last", "x").returncode == 2
    assert ran("sensors", "history", "--state-dir", tmp_path / "none").returncode == 1
    with server(tmp_path) as running:
        tail = frota("sensors", "tail", "--port", running.port, stdout=-1)
        tail.kill()
        assert tail.wait(PATIENCE) == -signal.SIGKILL


def test_it_has_the_variables_that_it_is_given_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENSORS_PORT", "none")
    forked._server.cache_clear()  # so that there is one with this variable
    assert "SENSORS_PORT" in ran("sensors", "serve", "--check").stderr
    without = {name: value for name, value in os.environ.items() if name != "SENSORS_PORT"}
    assert ran("sensors", "serve", "--check", env=without).returncode == 0


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
def test_what_a_fork_cannot_have_is_started(options: dict[str, object]) -> None:
    assert not can_be_forked(options)
