#!/usr/bin/python3
"""The common base of every host: packages, drop-ins of systemd's services, the time zone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Entry,
    Fault,
    content,
    date_back,
    is_newer,
    link,
    ours,
    place_link,
    shown,
)
from ansible.module_utils.systemd_units import properties, seconds  # type: ignore[import-untyped]  # found by Ansible

DOCUMENTATION = """
module: host_base
short_description: Packages, drop-ins of systemd's services, and the time zone of a host
description:
  - Installs missing Debian packages, replaces changed drop-ins, sets the time zone.
  - Restarts only the services whose drop-in changed, that started before its last change, or that are not active. So
    the next run makes up for the restarts of an interrupted one. Does not restart a service whose start conditions are
    not met, such as systemd-timesyncd in a container.
  - Check mode reports the same changes and the same C(diff) without making them.
options:
  drop_ins:
    type: dict
    default: {}
    description: "Service name without C(systemd-) and C(.service) to the content of its drop-in C(frota.conf)."
  time_zone: {type: str, default: Etc/UTC, description: "Time zone, a file below C(/usr/share/zoneinfo)."}
  packages:
    {type: list, elements: str, default: [], description: "Debian packages; no virtual ones."}
author: frota
"""

EXAMPLES = """
- host_base:
    packages: [systemd-timesyncd]
    drop_ins:
      journald: "{{ lookup('ansible.builtin.template', 'journald.conf.j2') }}"
"""

RETURN = """
lacking: {type: list, elements: str, returned: success, description: Packages that were, or would be, installed.}
restarted: {type: list, elements: str, returned: success, description: Units that were, or would be, restarted.}
"""

FILE = 0o644
FOLDER = 0o755
PROPERTIES = ("ActiveState", "InactiveExitTimestamp", "ConditionResult", "ConditionTimestamp")


def unit_of(service: str) -> str:
    """Return the unit of one of systemd's services."""
    return f"systemd-{service}.service"


def is_prevented(state: Mapping[str, str]) -> bool:
    """Tell whether a unit is inactive because its start conditions were not met."""
    tried = state["ActiveState"] == "inactive" and state["ConditionTimestamp"] != ""
    return tried and state["ConditionResult"] == "no"


def lacking(packages: Iterable[str], listed: str) -> list[str]:
    """Return the packages that are not installed; `listed` are lines `NAME STATUS` of dpkg-query."""
    installed = {name for name, status in (line.split() for line in listed.splitlines()) if status == "installed"}
    return [name for name in packages if name not in installed]


@dataclass
class Plan:
    """The differences of a host from its desired state; `root` is the root folder of its files."""

    params: Mapping[str, Any]
    states: Mapping[str, Mapping[str, str]]
    lacking: list[str]
    root: Path = Path("/")
    entries: list[Any] = field(init=False)  # with differences
    restarted: list[str] = field(init=False)

    def __post_init__(self) -> None:
        files = {service: self.drop_in(service) for service in self.params["drop_ins"]}
        folders = [Entry(file.path.parent, ours(FOLDER)) for file in files.values()]
        self.entries = [entry for entry in [*folders, *files.values()] if entry.diff()]
        self.restarted = [unit_of(service) for service, file in files.items() if self._is_outdated(service, file)]

    def drop_in(self, service: str) -> Any:
        path = self.root / "etc/systemd" / f"{service}.conf.d" / "frota.conf"
        return Entry(path, ours(FILE), self.params["drop_ins"][service])

    def _is_outdated(self, service: str, file: Any) -> bool:
        state = self.states[unit_of(service)]
        stopped = state["ActiveState"] != "active"
        newer = is_newer([file.path], seconds(state["InactiveExitTimestamp"]))
        return not is_prevented(state) and (stopped or newer or content(file.path) != file.text)

    @property
    def local_time(self) -> Path:
        return self.root / "etc/localtime"

    @property
    def zone(self) -> Path:
        return Path("/usr/share/zoneinfo", self.params["time_zone"])

    @property
    def diff(self) -> list[dict[str, str]]:
        """Return every difference in the format of Ansible's --diff."""
        found = [shown(Path("packages"), "", "".join(f"install {name}\n" for name in self.lacking))]
        found += [difference for entry in self.entries for difference in entry.diff()]
        before, after = link(self.local_time), str(self.zone)
        if before != after:
            found.append(shown(self.local_time, f"{before}\n" if before else "", f"{after}\n"))
        found.append(shown(Path("systemd"), "", "".join(f"restart {unit}\n" for unit in self.restarted)))
        return [difference for difference in found if difference["before"] != difference["after"]]

    def apply(self) -> None:
        """Apply the changes of files, and reset modification times in the future."""
        for entry in self.entries:
            entry.apply()
        if link(self.local_time) != str(self.zone):
            place_link(self.local_time, self.zone)
        date_back(self.drop_in(service).path for service in self.params["drop_ins"])


def look(module: AnsibleModule) -> Plan:
    """Compare the host with its desired state."""
    packages, units = module.params["packages"], [unit_of(service) for service in module.params["drop_ins"]]
    form = "--showformat=${Package} ${db:Status-Status}\n"
    listed = module.run_command(["dpkg-query", "--show", form, *packages])[1] if packages else ""
    return Plan(module.params, properties(module, units, PROPERTIES), lacking(packages, listed))


def restart(module: AnsibleModule, units: Iterable[str]) -> None:
    """Restart units. Raises Fault."""
    for unit in units:
        code, out, err = module.run_command(["systemctl", "restart", unit])
        if code:
            reason = (err or out).strip()
            raise Fault(f"{unit} does not start with its new settings: {reason}. See journalctl --unit={unit}")


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "drop_ins": {"type": "dict", "default": {}},
        "time_zone": {"type": "str", "default": "Etc/UTC"},
        "packages": {"type": "list", "elements": "str", "default": []},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    plan = look(module)
    result = {"lacking": plan.lacking, "restarted": plan.restarted, "diff": plan.diff}
    if not plan.zone.exists():
        module.fail_json(msg=f"Unknown time zone {plan.params['time_zone']}: {plan.zone} does not exist on the host")
    if not module.check_mode and not plan.lacking:  # the action plugin installs missing packages, then calls again
        try:
            plan.apply()
            restart(module, plan.restarted)
        except Fault as fault:
            module.fail_json(msg=str(fault))
    module.exit_json(changed=result["diff"] != [], **result)


if __name__ == "__main__":
    main()
