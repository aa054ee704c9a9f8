"""The state of a host's units: the shell command that a host runs, and what it prints. No I/O."""

import re
import shlex
from typing import NamedTuple

from frota.observer import journal

# Units of the fleet; a host has some of them.
UNITS = (
    "frota-*.service",
    "alert-log.service",
    "embedded-aws.service",
    "mariadb.service",
    "prometheus.service",
    "prometheus-alertmanager.service",
    "rabbitmq-server.service",
    "systemd-journal-remote.service",
    "systemd-journal-upload.service",
)
_PROPERTIES = (
    "Id,LoadState,UnitFileState,ActiveState,SubState,Result,ExecMainStatus,NRestarts,MemoryCurrent,MainPID,"
    "ActiveEnterTimestamp,StateChangeTimestamp"
)
_MEMORY, _ERRORS = "[memory]", "[errors]"  # begin the sections after the units
_MAX_ERRORS = 50  # of a host that are read, to find the last one of each unit
_MAX_MEMORY = 2**63  # systemd's "not set" is above
_RESIDENT = re.compile(r"^/proc/([0-9]+)/status:VmRSS:\s*([0-9]{1,12}) kB$", re.MULTILINE)
_SECONDS = re.compile(r"@([0-9]{1,12})")
_WELL = {"active", "reloading", "refreshing"}


class Error(NamedTuple):
    """The last error that a unit has logged in the last 24 hours; the time in seconds since 1970."""

    time: float
    message: str


class Unit(NamedTuple):
    """A unit; `since` in seconds since 1970 and `memory` in bytes, None if unknown. `name` is without its suffix.

    The memory is that of all its processes; of the main process on a host that does not account for memory.
    """

    name: str
    state: str
    sub_state: str
    since: int | None
    restarts: int
    memory: int | None
    result: str  # of its last run, "success" while it is well
    exit_status: int
    error: Error | None

    @property
    def well(self) -> bool:
        """Whether the unit runs."""
        return self.state in _WELL


class Host(NamedTuple):
    """A host: its clock in seconds since 1970, its release, its units, and why it did not respond, "" if it did."""

    name: str
    now: float
    release: str
    units: tuple[Unit, ...]
    failure: str

    @property
    def well(self) -> bool:
        """Whether the host responded, has units of ours, and all of them run."""
        return not self.failure and bool(self.units) and all(unit.well for unit in self.units)


def command() -> str:
    """Return the command for a host's POSIX shell."""
    # --all: also units that do not run.
    show = ["systemctl", "show", "--all", "--timestamp=unix", f"--property={_PROPERTIES}", "--", *UNITS]
    errors = ["journalctl", "--quiet", "--no-pager", "--all", "--output=json", f"--lines={_MAX_ERRORS}"]
    # Of all units: a pattern that matches no unit in the journal would be an error.
    errors += ["--priority=err", "--since=-24h", "--output-fields=MESSAGE,UNIT,_SYSTEMD_UNIT"]
    return "; ".join(
        [
            "export LC_ALL=C",
            'echo "now=$(date +%s)"',
            'echo "release=$(readlink /opt/frota/current || readlink /opt/embedded_aws/current)"',
            f"echo; {shlex.join(show)}",
            f"echo; echo {shlex.quote(_MEMORY)}; grep -H ^VmRSS: /proc/[0-9]*/status 2>/dev/null",
            f"echo; echo {shlex.quote(_ERRORS)}; {shlex.join(errors)}",
        ]
    )


def parse(name: str, output: str, failure: str) -> Host:
    """Return the host that printed this. Raises nothing, whatever the output is."""
    before, _, errors = output.partition(f"\n{_ERRORS}\n")
    states, _, processes = before.partition(f"\n{_MEMORY}\n")
    resident = {pid: int(kibibytes) * 1024 for pid, kibibytes in _RESIDENT.findall(processes)}
    head, *blocks = [_pairs(block) for block in states.split("\n\n")]
    last = {_unit_of(record): Error(record.time_us / 1e6, record.message) for record in journal.parse(errors, name)}
    units = [
        _unit(block, last.get(_short(block["Id"])), resident)
        for block in blocks
        if block.get("Id") and block.get("LoadState") != "not-found" and not _unused(block)
    ]
    now = head.get("now", "")
    return Host(
        name,
        float(now) if re.fullmatch("[0-9]{1,12}", now) else 0.0,
        head.get("release", "").rpartition("/")[2],
        tuple(sorted(units, key=lambda unit: unit.name)),
        failure or ("" if now else "no response to the query of its units"),
    )


def _unused(block: dict[str, str]) -> bool:
    """Tell whether a package brought a unit that this host does not use."""
    stopped = block.get("ActiveState") == "inactive" and block.get("UnitFileState") != "enabled"
    return stopped and not block["Id"].startswith("frota-")


def _pairs(block: str) -> dict[str, str]:
    lines = (line.partition("=") for line in block.split("\n"))
    return {key: value for key, equals, value in lines if equals}


def _unit(block: dict[str, str], error: Error | None, resident: dict[str, int]) -> Unit:
    state = block.get("ActiveState", "")
    memory = _number(block.get("MemoryCurrent", ""))
    if memory is None or memory >= _MAX_MEMORY:
        memory = resident.get(block.get("MainPID", ""))
    return Unit(
        name=_short(block["Id"]),
        state=state,
        sub_state=block.get("SubState", ""),
        since=_seconds(block.get("ActiveEnterTimestamp" if state in _WELL else "StateChangeTimestamp", "")),
        restarts=_number(block.get("NRestarts", "")) or 0,
        memory=memory,
        result=block.get("Result", ""),
        exit_status=_number(block.get("ExecMainStatus", "")) or 0,
        error=error,
    )


def _unit_of(record: journal.Record) -> str:
    """Return the unit that a record is about: systemd's own records name it in a field."""
    return _short(record.fields.get("UNIT", "")) or record.unit


def _short(unit: str) -> str:
    return unit.removesuffix(".service")


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,20}", text) else None


def _seconds(text: str) -> int | None:
    found = _SECONDS.fullmatch(text)
    return int(found[1]) or None if found else None
