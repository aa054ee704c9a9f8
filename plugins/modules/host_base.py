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
    diff_item,
    is_newer,
    link_target,
    own_access,
    replace_link,
    reset_future_times,
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
missing: {type: list, elements: str, returned: success, description: Packages that were, or would be, installed.}
restarted: {type: list, elements: str, returned: success, description: Units that were, or would be, restarted.}
"""

FILE_MODE = 0o644
FOLDER_MODE = 0o755
UNIT_PROPERTIES = ("ActiveState", "InactiveExitTimestamp", "ConditionResult", "ConditionTimestamp")


def unit_of(service: str) -> str:
    """Return the unit of one of systemd's services."""
    return f"systemd-{service}.service"


def is_prevented(state: Mapping[str, str]) -> bool:
    """Tell whether a unit is inactive because its start conditions were not met."""
    was_attempted = state["ActiveState"] == "inactive" and state["ConditionTimestamp"] != ""
    return was_attempted and state["ConditionResult"] == "no"


def missing_packages(packages: Iterable[str], output: str) -> list[str]:
    """Return the packages that are not installed; `output` has lines `NAME STATUS` of dpkg-query."""
    installed = {name for name, status in (line.split() for line in output.splitlines()) if status == "installed"}
    return [name for name in packages if name not in installed]


@dataclass
class Plan:
    """The differences of a host from its desired state; `root` is the root folder of its files."""

    params: Mapping[str, Any]
    states: Mapping[str, Mapping[str, str]]
    missing: list[str]
    root: Path = Path("/")
    entries: list[Any] = field(init=False)  # with differences
    restarted: list[str] = field(init=False)

    def __post_init__(self) -> None:
        files = {service: self.drop_in(service) for service in self.params["drop_ins"]}
        folders = [Entry(file.path.parent, own_access(FOLDER_MODE)) for file in files.values()]
        self.entries = [entry for entry in [*folders, *files.values()] if entry.diff()]
        self.restarted = [unit_of(service) for service, file in files.items() if self._is_outdated(service, file)]

    def drop_in(self, service: str) -> Any:
        path = self.root / "etc/systemd" / f"{service}.conf.d" / "frota.conf"
        return Entry(path, own_access(FILE_MODE), self.params["drop_ins"][service])

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
        items = [diff_item(Path("packages"), "", "".join(f"install {name}\n" for name in self.missing))]
        items += [item for entry in self.entries for item in entry.diff()]
        before, after = link_target(self.local_time), str(self.zone)
        if before != after:
            items.append(diff_item(self.local_time, f"{before}\n" if before else "", f"{after}\n"))
        items.append(diff_item(Path("systemd"), "", "".join(f"restart {unit}\n" for unit in self.restarted)))
        return [item for item in items if item["before"] != item["after"]]

    def apply(self) -> None:
        """Apply the changes of files, and reset modification times in the future."""
        for entry in self.entries:
            entry.apply()
        if link_target(self.local_time) != str(self.zone):
            replace_link(self.local_time, self.zone)
        reset_future_times(self.drop_in(service).path for service in self.params["drop_ins"])


def compare(module: AnsibleModule) -> Plan:
    """Compare the host with its desired state."""
    packages, units = module.params["packages"], [unit_of(service) for service in module.params["drop_ins"]]
    show_format = "--showformat=${Package} ${db:Status-Status}\n"
    output = module.run_command(["dpkg-query", "--show", show_format, *packages])[1] if packages else ""
    return Plan(module.params, properties(module, units, UNIT_PROPERTIES), missing_packages(packages, output))


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
    plan = compare(module)
    result = {"missing": plan.missing, "restarted": plan.restarted, "diff": plan.diff}
    if not plan.zone.exists():
        module.fail_json(msg=f"Unknown time zone {plan.params['time_zone']}: {plan.zone} does not exist on the host")
    if not module.check_mode and not plan.missing:  # the action plugin installs missing packages, then calls again
        try:
            plan.apply()
            restart(module, plan.restarted)
        except Fault as fault:
            module.fail_json(msg=str(fault))
    module.exit_json(changed=result["diff"] != [], **result)


if __name__ == "__main__":
    main()
