#!/usr/bin/python3
"""Settings and state of a service from a Debian package."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Entry,
    Fault,
    is_newer,
    own_access,
    reset_future_times,
)
from ansible.module_utils.systemd_units import (  # type: ignore[import-untyped]  # found by Ansible
    journal,
    properties,
    seconds,
)

DOCUMENTATION = """
module: packaged_service
short_description: Settings and state of a service from a Debian package
description:
  - Writes changed settings, and starts or restarts the units if one of them is not active or started before their last
    change. So the next run makes up for the restart of an interrupted one. Waits until systemd considers them started.
  - Does nothing on a host without the package, except in check mode, which reports the settings as changes.
  - Check mode reports the same changes and the same C(diff) without making them.
options:
  units:
    type: list
    elements: str
    required: true
    description: >-
      Full names of the units in the order of their start, such as a socket and its service. A unit whose file is one of
      C(files) needs no package.
  files: {type: dict, required: true, description: Path of every settings file to its content.}
  live_files:
    {type: dict, default: {}, description: "Path to content of files whose changes the running service notices."}
  restart_files:
    type: list
    elements: path
    default: []
    description: Further files that the service reads only at start, such as its certificate.
author: frota
"""

EXAMPLES = """
- packaged_service:
    units: [mariadb.service]
    files: {/etc/mysql/mariadb.conf.d/60-frota.cnf: "{{ lookup('ansible.builtin.template', 'server.cnf.j2') }}"}
    restart_files: [/etc/frota/certificates/mariadb.crt]
  register: __server
"""

RETURN = """
installed: {type: bool, returned: success, description: Whether the package of the units is installed.}
running: {type: bool, returned: success, description: Whether the units run now; check mode does not start them.}
action: {type: str, returned: success, description: "start or restart, if the units were, or would be; else empty."}
"""

FILE_MODE, FOLDER_MODE = 0o644, 0o755
UNIT_PROPERTIES = ("ActiveState", "UnitFileState", "InactiveExitTimestamp", "NeedDaemonReload")
JOURNAL_LINES = 30
Units = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Service:
    """The desired state of the service; `root` is the root folder of the host's files."""

    params: Mapping[str, Any]
    root: Path = Path("/")

    @property
    def units(self) -> list[str]:
        return list(self.params["units"])

    @property
    def is_installed(self) -> bool:
        own = [unit for unit in self.units if f"/etc/systemd/system/{unit}" in self.params["files"]]
        packaged = [unit for unit in self.units if unit not in own]
        return all((self.root / "usr/lib/systemd/system" / unit).exists() for unit in packaged)

    def entries(self, files: str = "files") -> list[Any]:
        """Return the files of an option that differ, each after its folder if that is missing."""
        paths = {self.root / path.lstrip("/"): text for path, text in self.params[files].items()}
        folders = dict.fromkeys(path.parent for path in paths if not path.parent.exists())
        entries = [Entry(folder, own_access(FOLDER_MODE)) for folder in folders]
        entries += [Entry(path, own_access(FILE_MODE), text) for path, text in paths.items()]
        return [entry for entry in entries if entry.diff()]

    def read_at_start(self) -> list[Path]:
        """Return the files that the service reads at start."""
        return [self.root / path.lstrip("/") for path in (*self.params["files"], *self.params["restart_files"])]

    def action(self, states: Units, *, changes: bool) -> str:
        """Return what the units need: `start`, `restart` or nothing."""
        active = [state["ActiveState"] in ("active", "reloading") for state in states.values()]
        if not any(active):
            return "start"
        started = min(seconds(state["InactiveExitTimestamp"]) for state in states.values())
        outdated = changes or is_newer(self.read_at_start(), started)
        return "restart" if outdated or not all(active) else ""


@dataclass(frozen=True)
class Plan:
    """The differences of the service from its desired state."""

    service: Service
    states: Units
    entries: list[Any]
    live_entries: list[Any]
    action: str

    @property
    def disabled(self) -> list[str]:
        return [unit for unit in self.service.units if self.states[unit]["UnitFileState"] != "enabled"]

    def diff(self) -> Iterator[dict[str, str]]:
        """Yield every difference in the format of Ansible's --diff."""
        for entry in [*self.entries, *self.live_entries]:
            yield from entry.diff()
        verbs = [(self.action, unit) for unit in self.service.units if self.action]
        verbs += [("enable", unit) for unit in self.disabled]
        after = "".join(f"{verb} {unit}\n" for verb, unit in verbs)
        if after:
            yield {"before_header": "systemd", "after_header": "systemd", "before": "", "after": after}


def plan_for(service: Service, states: Units) -> Plan:
    """Compare the service with its desired state; `states` are the properties of its units."""
    entries = service.entries()
    action = service.action(states, changes=bool(entries))
    return Plan(service, states, entries, service.entries("live_files"), action)


class Host:
    """Runs systemctl on the host. Every method raises Fault."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def apply(self, plan: Plan) -> None:
        """Write the files, then start or restart the units; return when they have started."""
        for entry in [*plan.entries, *plan.live_entries]:
            entry.apply()
        if plan.entries or any(state["NeedDaemonReload"] == "yes" for state in plan.states.values()):
            self._systemctl("daemon-reload")
        if plan.disabled:
            self._systemctl("enable", "--quiet", *plan.disabled)
        if plan.action:
            reset_future_times(plan.service.read_at_start())
            self._start(plan.action, plan.service.units)

    def _start(self, action: str, units: list[str]) -> None:
        try:
            if len(units) > 1:  # a socket cannot start while its service runs
                self._systemctl("stop", *units)
            self._systemctl(action, *units)
        except Fault as fault:
            log = journal(self._module, units[-1], JOURNAL_LINES)
            raise Fault(f"{units[-1]} does not {action}. End of its journal:\n{log}") from fault

    def _systemctl(self, *arguments: str) -> None:
        code, out, err = self._module.run_command(["systemctl", *arguments])
        if code:
            raise Fault(f"systemctl {' '.join(arguments)}: {(err or out).strip()}")


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "units": {"type": "list", "elements": "str", "required": True},
        "files": {"type": "dict", "required": True},
        "live_files": {"type": "dict", "default": {}},
        "restart_files": {"type": "list", "elements": "path", "default": []},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    service = Service(module.params)
    if not service.is_installed and not module.check_mode:
        module.exit_json(changed=False, installed=False, running=False, action="")
    states = properties(module, service.units, UNIT_PROPERTIES)
    plan = plan_for(service, {unit: states[unit] for unit in service.units})
    differences = list(plan.diff())
    is_active = all(state["ActiveState"] in ("active", "reloading") for state in plan.states.values())
    if not module.check_mode:
        try:
            Host(module).apply(plan)
        except Fault as fault:
            module.fail_json(msg=str(fault))
    state = {"installed": service.is_installed, "running": is_active or not module.check_mode}
    module.exit_json(changed=bool(differences), **state, action=plan.action, diff=differences)


if __name__ == "__main__":
    main()
