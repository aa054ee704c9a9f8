"""`frota status`, with hosts that a real shell stands for."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from frota import cli
from frota.observer.status import output, query
from frota.observer.status.output import Style
from observer.status.test_query import HEAD, block, error
from support.remote import Hosts

PLAIN = Style(80, colour=False, unicode=True)


def add(hosts: Hosts, name: str, *states: str, errors: tuple[str, ...] = (), release: str = "0.1.0-aa-bb") -> None:
    """Add a host with units."""
    hosts.add(
        name,
        systemctl=hosts.recording(name, "systemctl", "\n".join(states)),
        journalctl=hosts.recording(name, "journalctl", "\n".join(errors)),
        readlink=f"echo {shlex.quote(f'/opt/frota/releases/{release}')}",
        date="echo 1764335100",
    )


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["status", *words])
    return (status, *capsys.readouterr())


def test_all_is_well(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """Each unit has a row; the status is 0 if all run."""
    add(hosts, "sensor-server", block("frota-sensor-server"), block("frota-cpu-agent", MemoryCurrent=12582912))
    add(hosts, "database-1", block("mariadb", NRestarts=0))
    status, out, err = run(capsys)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "  HOST           UNIT           STATE   SINCE  RESTARTS  MEMORY",
        "\u2714 database-1     mariadb        active  1m40s         0   45 MB",
        "\u2714 sensor-server  cpu-agent      active  1m40s         2   12 MB",
        "\u2714                sensor-server  active  1m40s         2   45 MB",
        "release 0.1.0-aa-bb: 1 host",
        "3 of 3 units run, 2 of 2 hosts responded",
    ]
    assert {"--all", "frota-*.service"} <= set(hosts.called("sensor-server", "systemctl"))
    assert {"--priority=err", "--since=-24h"} <= set(hosts.called("sensor-server", "journalctl"))


def test_failures(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """A unit that failed has its result and its last error; a host that does not respond has the reason; status 1."""
    failed = block("frota-list-server", ActiveState="failed", SubState="failed", Result="exit-code", ExecMainStatus=78)
    add(hosts, "list-server", failed, errors=(error("frota-list-server.service", "LIST_PORT='x'\nand more"),))
    hosts.add("down", up=False)
    add(hosts, "bare")
    status, out, _ = run(capsys)
    assert status == 1
    assert out.splitlines()[1:] == [
        "\u2718 bare         no unit of the fleet; run site.yml, or make up",
        "\u2718 down         ssh: connect to host down port 22: No route to host",
        "\u2718 list-server  list-server  failed    50s         2   45 MB",
        "    failed, exit-code, exit status 78",
        "    10s ago: LIST_PORT='x'",
        "release 0.1.0-aa-bb: 1 host",
        "0 of 1 units run, 2 of 3 hosts responded",
    ]


def test_json(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints an object for each unit, and one for a host that failed."""
    add(hosts, "a", block("frota-cpu-agent"), errors=(error("frota-cpu-agent.service", "\x1b[2J"),))
    hosts.add("down", up=False)
    status, out, _ = run(capsys, "--json")
    assert status == 1
    first, second = map(json.loads, out.splitlines())
    assert first == {
        "host": "a",
        "unit": "frota-cpu-agent",
        "well": True,
        "state": "active",
        "sub_state": "running",
        "since": "2025-11-28T13:03:20+00:00",
        "release": "0.1.0-aa-bb",
        "restarts": 2,
        "memory_bytes": 47185920,
        "result": "success",
        "exit_status": 0,
        "last_error": {"time": "2025-11-28T13:04:50+00:00", "message": "\x1b[2J"},
    }
    assert second == {
        "host": "down",
        "well": False,
        "error": "ssh: connect to host down port 22: No route to host",
    }
    assert "\x1b" not in out


def test_chosen_hosts(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """--host limits the hosts; one that does not exist is wrong usage, with the known ones."""
    for name in ("a", "b", "c"):
        add(hosts, name, block("frota-cpu-agent"))
    assert {json.loads(line)["host"] for line in run(capsys, "--json", "--host", "c", "a")[1].splitlines()} == {
        "a",
        "c",
    }
    assert run(capsys, "--host", "a", "x\x1b") == (2, "", "frota: --host x\\x1b: no such host; known are a, b, c\n")


def test_outside_of_a_checkout(hosts: Hosts, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Without an SSH configuration, the units of this host are shown."""
    add(hosts, "a", block("frota-cpu-agent"))
    monkeypatch.setenv("PATH", f"{hosts.checkout.parent}/hosts/a", prepend=":")
    monkeypatch.chdir("/")
    status, out, _ = run(capsys, "--json")
    assert (status, json.loads(out)["host"]) == (0, "localhost")
    assert run(capsys, "--host", "a")[0] == 2
    assert run(capsys, "--json", "--ssh-config", str(hosts.ssh_config))[1].startswith('{"host": "a"')


def parsed(name: str, text: str, failure: str = "") -> query.Host:
    return query.parse(name, text, failure)


def test_releases_that_differ() -> None:
    """If hosts have several releases, each is shown, and the few hosts of one by their names."""
    old, new = (HEAD + block("frota-cpu-agent"), HEAD.replace("bb", "cc") + block("frota-cpu-agent"))
    lines = list(output.lines([parsed("a", new), parsed("b", old), parsed("c", old)], PLAIN))
    assert lines[-3:-1] == ["release 0.1.0-aa-bb: 2 hosts", "release 0.1.0-aa-cc: a"]


def test_lines_fit_the_terminal() -> None:
    """Long names lose their middle, so that lines of 14 hosts fit 80 columns and one screen."""
    names = [f"image-worker-i-0123456789abcde{n:02}" for n in range(14)]
    message = error("frota-sensor-client@temperature.service", "x" * 200)
    text = HEAD + "\n".join([block("frota-sensor-client@temperature"), block("frota-cpu-agent")])
    hosts = [parsed(name, f"{text}\n[errors]\n{message}" if name == names[3] else text) for name in names]
    lines = list(output.lines(hosts, PLAIN))
    assert max(map(len, lines)) <= 80
    assert len(lines) == 1 + 2 * 14 + 1 + 2
    assert len({line.split()[1] for line in lines if "cpu-agent" in line}) == 14


def test_colours() -> None:
    """On a terminal, what is well is green and what is not is red; elsewhere there are no colours."""
    hosts = [parsed("a", HEAD + block("frota-a") + "\n" + block("frota-b", ActiveState="failed"))]
    coloured = "\n".join(output.lines(hosts, Style(80, colour=True, unicode=False)))
    assert "\x1b[32m+\x1b[0m" in coloured
    assert "\x1b[31mx\x1b[0m" in coloured
    assert re.sub("\x1b\\[[0-9]*m", "", coloured) == "\n".join(output.lines(hosts, PLAIN._replace(unicode=False)))


def test_untrusted_text_cannot_control_the_terminal() -> None:
    """Whatever hosts say is escaped."""
    bad = "\x1b[2J\u202e\x9b"
    text = HEAD.replace("0.1", bad) + block(bad, SubState=bad, ActiveState=bad, Result=bad)
    hosts = [parsed("a", f"{text}\n[errors]\n{error(f'{bad}.service', bad)}"), parsed(bad, "", "x")]
    assert [line for line in output.lines(hosts, PLAIN) if not line.isprintable()] == []


@pytest.mark.parametrize(
    ("seconds", "age"), [(5, "5s"), (65, "1m5s"), (3 * 3600 + 720, "3h12m"), (90000, "1d1h"), (-5, "0s")]
)
def test_age(seconds: int, age: str) -> None:
    """The time since when a unit runs has at most two units; a clock that was set back makes none negative."""
    host = parsed("a", HEAD + block("frota-a", ActiveEnterTimestamp=f"@{1764335100 - seconds}"))
    assert f" {age} " in list(output.lines([host], PLAIN))[1]


def test_command_line_needs_no_network(hosts: Hosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration that is missing is an error that names it."""
    hosts.add("a")
    assert run(capsys, "--ssh-config", str(tmp_path / "missing"))[0] == 1
