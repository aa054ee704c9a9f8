"""`frota cpu top` as a process: once, as a stream, and on a terminal, which it restores."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frota.cpu import cli
from frota.cpu.viewer.host_status import SORTS
from support import TIMEOUT_S, reserved_port, run_frota, start_frota, until
from support.viewer import ENTERED, LEFT, FakeMetricsServer, Terminal, fake_metrics_server, host, lines, terminal

HOSTS = [host("web-1", 64), host("db-1", 8, state="stale", age=23.0), host("pi", 1)]


def run(server: FakeMetricsServer | int, *words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    port = server if isinstance(server, int) else server.port
    return run_frota("cpu", "top", "--port", port, *words, env={**os.environ, "LC_ALL": "C.UTF-8", **environment})


def shown(server: FakeMetricsServer, *words: object, **options: Any) -> Any:
    return terminal("cpu", "top", "--port", server.port, "--interval", "0.1", *words, **options)


def quit_properly(top: Terminal) -> None:
    top.type("q")
    assert top.end() == 0
    assert top.errors == ""
    assert top.is_as_before()


def test_once() -> None:
    """--once prints the list as plain text, within the columns."""
    with fake_metrics_server(lines(*HOSTS)) as server:
        done = run(server, "--once", FORCE_COLOR="1", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"(?m)^  web-1 .*● up", done.stdout)
    assert re.search(r"(?m)^  db-1 .*◐ stale 23s", done.stdout)
    assert all(line.isprintable() and len(line) <= 80 for line in done.stdout.splitlines())
    assert len(done.stdout.splitlines()) == 1 + 3 * len(HOSTS)


def test_once_width_and_ascii() -> None:
    """--once is as wide as COLUMNS, and ASCII where the terminal has nothing else."""
    with fake_metrics_server(lines(*HOSTS)) as server:
        assert max(map(len, run(server, "--once", COLUMNS="200").stdout.splitlines())) > 100
        for environment in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"TERM": "linux"}):
            assert run(server, "--once", **environment).stdout.isascii()


def test_json_lines() -> None:
    """--json prints the server's lines unchanged, unless they have control characters, which it escapes."""
    plain = b'{"host":  "web-1", "odd": 1.50}\n'
    answer = plain + '{"host": "x\u009b2J\u202e", "a":\t1}\n'.encode() + lines()
    with fake_metrics_server(answer) as server:
        done = run(server, "--once", "--json")
    assert done.stdout == plain.decode() + '{"host": "x\\u009b2J\\u202e", "a": 1}\n'


def test_sort_and_filter() -> None:
    """--sort and --filter apply to text and JSON."""
    with fake_metrics_server(lines(*HOSTS)) as server:
        words = ["--once", "--sort", "cpu", "--filter", "1"]
        names = [json.loads(line)["host"] for line in run(server, *words, "--json").stdout.splitlines()]
        assert names == ["web-1", "db-1"]
        assert re.findall(r"(?m)^  ([a-z]+-?\d?) .*[●◐]", run(server, *words).stdout) == names


def test_json_stream() -> None:
    """--json streams, survives a restart of the server, and ends without an error when its reader has ended."""
    with fake_metrics_server(lines(HOSTS[0])) as server:
        words = ["cpu", "top", "--port", server.port, "--json", "--interval", "0.1"]
        process = start_frota(*words, stdout=-1, stderr=-1)
        assert process.stdout
        assert process.stderr
        first = process.stdout.readline()
        assert process.stdout.readline() == first == lines(HOSTS[0]).splitlines(keepends=True)[0]
        server.stop()
        assert process.stderr.readline().endswith(b"; trying again\n")
        server.response = lines(HOSTS[1])
        server.start()
        while (line := process.stdout.readline()) == first:
            pass
        assert json.loads(line) == HOSTS[1]
        process.stdout.close()  # nobody reads any more
        assert process.wait(TIMEOUT_S) == 1
        assert process.stderr.read() == b""


@pytest.mark.parametrize("words", [["--once"], ["--json"], ["--once", "--json"]])
def test_no_server(words: list[str]) -> None:
    """Without a server, one line says so, and the status is 1."""
    with reserved_port() as port:
        done = run(port, *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"frota: no metrics server at 127.0.0.1:{port}: Connection refused\n"


def test_wrong_server() -> None:
    """A server of another kind is reported in one printable line."""
    with fake_metrics_server(b"\x1b]0;owned\x07 220 mail ESMTP\r\n") as server:
        done = run(server, "--once")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"frota: 127.0.0.1:{server.port} is no metrics server: it answers ")
    assert done.stderr.removesuffix("\n").isprintable()


def test_sort_keys() -> None:
    """The command offers every sort key."""
    assert tuple(SORTS) == cli.SORT_KEYS


@pytest.mark.parametrize("value", ["0", "nan", "1e9", "abc", ""])
def test_invalid_interval(value: str) -> None:
    """An invalid --interval is a usage error that names the range."""
    done = run(1, "--once", "--interval", value)
    assert done.returncode == 2
    assert done.stderr.endswith(f"argument --interval: {value!r}: must be from 0.1 to 3600 seconds\n")


def test_no_terminal() -> None:
    """Without a terminal, one line names --once and --json, and the status is 2."""
    done = run(1)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "frota: this is no terminal: --once prints the list as text, --json for machines\n"


def test_only_the_screen_imports_textual() -> None:
    """Neither the agent, nor the history, nor --once and --json import Textual."""
    modules = "frota.cli, frota.cpu.cli, frota.cpu.agent.agent, frota.cpu.server.server"
    modules += ", frota.cpu.viewer.top, frota.cpu.viewer.history"
    program = f"import sys, {modules}; print([name for name in sys.modules if name.startswith('textual')])"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8")
    assert done.stdout == "[]\n"


def test_terminal_is_restored() -> None:
    """The list fills the terminal, which q restores; all requests use one connection."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server) as top:
        top.wait_for(r"web-1 +● up(.*\n)+  64x [▁▂▃▄▅▆▇█ ]{71}\n(.*\n)+q quit")
        assert top.data.startswith(ENTERED)
        assert len(top.screen) == 24
        quit_properly(top)
        assert server.connections == 1


def test_keys() -> None:
    """Keys arrive through a real terminal: arrows, Enter, Esc, Ctrl+S, letters."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server) as top:
        top.wait_for(r"> db-1 ")
        top.type("\x1b[B\r")
        top.wait_for(r"(?m)^pi  ● connected")
        top.type("\x1b")
        top.wait_for(r"> pi ")
        top.type("?")
        top.wait_for("this help")
        top.type("?\x13s")  # Ctrl+S does not stop the output
        top.wait_for(r"by cpu")
        top.type("/web\r")
        top.wait_for(r"1 of 3 hosts with 'web'")
        assert any("web-1" in line for line in top.screen)
        quit_properly(top)


def test_ctrl_c() -> None:
    """Ctrl+C restores the terminal; the status is 130."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server) as top:
        top.wait_for("web-1")
        top.type("\x03")
        assert top.end() == 130
        assert top.errors == ""
        assert top.is_as_before()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals(number: signal.Signals) -> None:
    """A signal restores the terminal; the status is 128 and its number."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server) as top:
        top.wait_for("web-1")
        top.process.send_signal(number)
        assert top.end() == 128 + number
        assert top.errors == ""
        assert top.is_as_before()


def test_blocked_terminal() -> None:
    """SIGTERM ends the command although the terminal takes no more output."""
    with fake_metrics_server(lines(*HOSTS * 5)) as server, shown(server, columns=200, rows=50) as top:
        top.wait_for("web-1")
        requests = len(server.requests)
        top.type("\x1b[B" * 100)  # each a reason to draw, while nobody reads
        until(lambda: len(server.requests) > requests + 10, "fewer than ten requests")
        top.process.send_signal(signal.SIGTERM)
        assert top.process.wait(TIMEOUT_S) == 128 + signal.SIGTERM


def test_crash(tmp_path: Path) -> None:
    """A crash restores the terminal, prints a traceback, and the status is 1."""
    breaks = "from frota.cpu.viewer import rows\nrows.summary = lambda *_: 1 / 0\n"
    (tmp_path / "sitecustomize.py").write_text(breaks, encoding="utf-8")
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server, PYTHONPATH=str(tmp_path)) as top:
        assert top.end() == 1
        assert "ZeroDivisionError" in top.errors
        assert top.data.startswith(ENTERED)
        assert top.is_as_before()


def test_resize() -> None:
    """A resized window is filled at once."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server, "--interval", "3600") as top:
        top.wait_for("web-1")
        top.resize(200, 50)
        top.wait_for(r"HOST +STATE(.*\n){48}q quit")
        assert len(top.screen) == 50
        quit_properly(top)


def test_server_restart() -> None:
    """While the server is unavailable the last list stays; then it is updated again."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server) as top:
        top.wait_for("web-1")
        server.stop()
        top.wait_for(rf"▲ no answer from 127.0.0.1:{server.port} for \d+ s: trying again \(Connection refused\)")
        assert any("web-1" in line for line in top.screen)
        server.response = lines(host("new"))
        server.start()
        top.wait_for(r"1 connected(.*\n)+> new ")
        assert not any("no answer" in line for line in top.screen)
        quit_properly(top)


def test_silent_server() -> None:
    """A server that stops responding is reported although the connection is open."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server) as top:
        top.wait_for("web-1")
        server.response = b""
        top.wait_for(r"▲ no answer from .* for \d+ s: trying again")
        assert any("web-1" in line for line in top.screen)
        quit_properly(top)


def test_no_color() -> None:
    """NO_COLOR removes the colours; states are words, too."""
    with fake_metrics_server(lines(*HOSTS)) as server:
        with shown(server) as top:
            top.wait_for("stale")
            assert re.search(rb"\x1b\[[\d;]*3[1-7]m", top.data)
            quit_properly(top)
        with shown(server, NO_COLOR="1") as top:
            top.wait_for("stale")
            assert not re.search(rb"\x1b\[[\d;]*3[1-7]m", top.data)
            quit_properly(top)


def test_ascii_terminal() -> None:
    """Without UTF-8 all output is ASCII."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server, LC_ALL="C") as top:
        top.wait_for(r"web-1 +\+ up")
        quit_properly(top)
        assert top.data.isascii()


def test_suspend() -> None:
    """SIGTSTP restores the terminal and stops the process; SIGCONT shows the list again."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server, controlling=False) as top:
        top.wait_for("web-1")
        top.process.send_signal(signal.SIGTSTP)
        assert os.waitpid(top.process.pid, os.WUNTRACED)[1] & 0xFF == 0x7F
        top.read_rest()
        assert top.is_as_before()
        top.data = b""
        top.process.send_signal(signal.SIGCONT)
        top.wait_for("web-1")
        assert top.data.startswith(ENTERED)
        quit_properly(top)


# Sends SIGTSTP while the lock of the queue to the terminal's writer is held.
_STOP_IN_A_WRITE = """
import os, queue, signal
put = queue.Queue._put
def put_and_stop(self, item):
    put(self, item)
    if "web-1" in str(item):
        queue.Queue._put = put
        os.kill(os.getpid(), signal.SIGTSTP)
queue.Queue._put = put_and_stop
"""


def test_suspend_in_a_write(tmp_path: Path) -> None:
    """SIGTSTP stops the process also in the middle of a write to the terminal."""
    (tmp_path / "sitecustomize.py").write_text(_STOP_IN_A_WRITE)
    options = {"controlling": False, "PYTHONPATH": str(tmp_path)}
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server, **options) as top:
        until(lambda: os.waitpid(top.process.pid, os.WUNTRACED | os.WNOHANG)[0], "the process does not stop")
        top.process.send_signal(signal.SIGCONT)
        top.wait_for("web-1")
        quit_properly(top)


def test_ctrl_z_without_a_shell() -> None:
    """Ctrl+Z over `ssh -t`, where no shell could continue the process, does not stop it."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server) as top:
        top.wait_for("web-1")
        top.data = b""
        top.type("\x1a")
        until(lambda: LEFT in top.read_rest() and top.data.rfind(ENTERED) > top.data.find(LEFT), "the screen is back")
        assert top.process.poll() is None
        top.type("?")
        top.wait_for("this help")
        quit_properly(top)


def test_terminal_disappears() -> None:
    """Without its terminal, and without a signal that says so, the command ends."""
    with fake_metrics_server(lines(*HOSTS)) as server, shown(server, controlling=False) as top:
        top.wait_for("web-1")
        top.hang_up()
        assert top.process.wait(TIMEOUT_S) == 0
