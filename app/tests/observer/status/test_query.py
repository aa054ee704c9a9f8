"""What a host says of its units."""

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.observer.status import query
from frota.observer.status.folding import fold
from frota.observer.status.query import Unit

HEAD = "now=1764335100\nrelease=/opt/frota/releases/0.1.0-aa-bb\n\n"


def block(name: str, **properties: object) -> str:
    known: dict[str, Any] = {
        "Id": f"{name}.service",
        "LoadState": "loaded",
        "ActiveState": "active",
        "SubState": "running",
        "Result": "success",
        "ExecMainStatus": 0,
        "NRestarts": 2,
        "MemoryCurrent": 47185920,
        "ActiveEnterTimestamp": "@1764335000",
        "StateChangeTimestamp": "@1764335050",
    }
    return "".join(f"{key}={value}\n" for key, value in (known | properties).items())


def error(unit: str, message: str, time: int = 1764335090, **fields: str) -> str:
    return json.dumps({"__REALTIME_TIMESTAMP": f"{time}000000", "_SYSTEMD_UNIT": unit, "MESSAGE": message} | fields)


def test_units_of_a_host() -> None:
    """A host has its clock, its release and its units in order; units that it does not have are left out."""
    states = "\n".join([block("frota-list-server"), block("mariadb", LoadState="not-found"), block("frota-cpu-agent")])
    host = query.parse("list-server", f"{HEAD}{states}\n[errors]\n", "")
    assert (host.name, host.now, host.release, host.failure, host.well) == (
        "list-server",
        1764335100,
        "0.1.0-aa-bb",
        "",
        True,
    )
    assert [unit.name for unit in host.units] == ["frota-cpu-agent", "frota-list-server"]
    assert host.units[0] == Unit("frota-cpu-agent", "active", "running", 1764335000, 2, 47185920, "success", 0, None)


def test_unused_units_of_packages() -> None:
    """A unit that a package brought and that the host does not use is left out; one that should run is not."""
    stopped = {"ActiveState": "inactive", "SubState": "dead"}
    states = [
        block("systemd-journal-remote", UnitFileState="indirect", **stopped),
        block("systemd-journal-upload", UnitFileState="enabled", **stopped),
        block("prometheus", UnitFileState="disabled"),
        block("frota-cpu-agent", UnitFileState="disabled", **stopped),
    ]
    host = query.parse("web", HEAD + "\n".join(states), "")
    assert [(unit.name, unit.well) for unit in host.units] == [
        ("frota-cpu-agent", False),
        ("prometheus", True),
        ("systemd-journal-upload", False),
    ]


def test_last_error_of_each_unit() -> None:
    """A unit has its last error, also one that systemd logged about it."""
    errors = [
        error("frota-cpu-agent.service", "first", 1764335080),
        error("init.scope", "Failed to start", UNIT="frota-list-server.service"),
        error("frota-cpu-agent.service", "last"),
    ]
    states = "\n".join(map(block, ("frota-cpu-agent", "frota-list-server", "mariadb")))
    host = query.parse("a", "\n".join([f"{HEAD}{states}", "[errors]", *errors]), "")
    assert [unit.error and unit.error.message for unit in host.units] == ["last", "Failed to start", None]
    assert host.units[0].error == (1764335090, "last")


@pytest.mark.parametrize(
    ("properties", "well"),
    [
        ({"ActiveState": "reloading"}, True),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, False),
        ({"ActiveState": "inactive", "SubState": "dead"}, False),
        ({"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": 78}, False),
    ],
)
def test_unit_that_does_not_run(properties: dict[str, Any], well: bool) -> None:
    """A unit that is not active, or that restarts again and again, makes its host not well."""
    host = query.parse("a", HEAD + block("frota-cpu-agent", **properties), "")
    assert host.well is well
    assert host.units[0].since == (1764335000 if well else 1764335050)


def test_unknown_values() -> None:
    """Values that systemd does not know are none."""
    unset = {"MemoryCurrent": "[not set]", "ActiveEnterTimestamp": "", "NRestarts": ""}
    (unit,) = query.parse("a", HEAD + block("mariadb", **unset), "").units
    assert (unit.memory, unit.since, unit.restarts) == (None, None, 0)
    assert query.parse("a", HEAD + block("mariadb", MemoryCurrent=2**64 - 1), "").units[0].memory is None


@pytest.mark.parametrize("unset", ["[not set]", 2**64 - 1])
def test_memory_of_the_main_process(unset: object) -> None:
    """On a host that does not account for memory, a unit has that of its main process."""
    states = "\n".join([block("frota-a", MemoryCurrent=unset, MainPID=19), block("frota-b", MainPID=20)])
    memory = "/proc/19/status:VmRSS:\t   2048 kB\n/proc/20/status:VmRSS:\t 1 kB\n/proc/1/status:VmRSS: x kB\n"
    first, second = query.parse("a", f"{HEAD}{states}\n[memory]\n{memory}\n[errors]\n", "").units
    assert (first.memory, second.memory) == (2 * 2**20, 47185920)


@pytest.mark.parametrize("failure", ["Permission denied", ""])
def test_host_without_a_response(failure: str) -> None:
    """A host that printed nothing of its units is not well, with the reason."""
    host = query.parse("a", "", failure)
    assert not host.well
    assert host.failure == (failure or "no response to the query of its units")


def test_host_without_units() -> None:
    """A host that has no unit of ours is not well."""
    assert not query.parse("a", HEAD, "").well


@given(st.text() | st.lists(st.sampled_from([HEAD, block("frota-a"), "\n", "[errors]\n", "Id=", "{}\n"])).map("".join))
def test_any_output_is_parsed(output: str) -> None:
    """Whatever a host prints, it is parsed."""
    assert query.parse("a", output, "").name == "a"


def test_command_is_valid_for_a_posix_shell() -> None:
    """The command is valid syntax, and short."""
    assert subprocess.run(["sh", "-n", "-c", query.command()], check=True, capture_output=True).stderr == b""
    assert len(query.command()) < 1500


def unit(name: str, **fields: Any) -> Unit:
    return Unit(name, "active", "running", 100, 1, 10, "success", 0, None)._replace(**fields)


def test_instances_that_are_well_are_folded() -> None:
    """Instances without an error are one row with their sums; a unit that is no instance stays alone."""
    units = [unit(f"frota-peer-worker@{n}", since=100 + n) for n in (1, 10, 2)] + [unit("frota-a"), unit("frota-b")]
    folded, *others = fold(units)
    assert folded[:6] == ("frota-peer-worker@1,2,10", "active", "running", 110, 3, 30)
    assert others == units[3:]


def test_instances_that_are_not_well_are_not_folded() -> None:
    """An instance that fails, or that has logged an error, has a row of its own."""
    failed, logged = {"state": "failed"}, {"error": query.Error(1, "x")}
    units = [unit("w@1"), unit("w@2", **failed), unit("w@3"), unit("w@4"), unit("w@5", **logged)]
    assert [row.name for row in fold(units)] == ["w@1", "w@2", "w@3,4", "w@5"]
    assert fold([unit("w@1", memory=None, since=None), unit("w@2", memory=None, since=None)])[0].memory is None
