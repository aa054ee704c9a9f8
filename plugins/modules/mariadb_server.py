#!/usr/bin/python3
"""Settings and state of a MariaDB server."""

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
module: mariadb_server
short_description: Settings and state of a MariaDB server
description:
  - Writes changed settings, and starts or restarts the server if it is not active or started before their last change.
    So the next run makes up for the restart of an interrupted one. Waits until the server accepts connections.
  - Does nothing on a host without MariaDB, except in check mode, which reports the settings as changes.
  - Check mode reports the same changes and the same C(diff) without making them.
options:
  files: {type: dict, required: true, description: Path of every settings file to its content.}
  restart_files:
    type: list
    elements: path
    default: []
    description: Further files that the server reads only at start, such as its certificate.
author: frota
"""

EXAMPLES = """
- mariadb_server:
    files: {/etc/mysql/mariadb.conf.d/60-frota.cnf: "{{ lookup('ansible.builtin.template', 'server.cnf.j2') }}"}
    restart_files: [/etc/frota/certificates/mariadb.crt]
  register: __server
"""

RETURN = """
installed: {type: bool, returned: success, description: Whether MariaDB is installed.}
running: {type: bool, returned: success, description: Whether the server runs now; check mode does not start it.}
action: {type: str, returned: success, description: "start or restart, if the unit was, or would be; else empty."}
"""

UNIT = "mariadb.service"
FILE_MODE, FOLDER_MODE = 0o644, 0o755
UNIT_PROPERTIES = ("ActiveState", "UnitFileState", "InactiveExitTimestamp", "NeedDaemonReload")
JOURNAL_LINES = 30


@dataclass(frozen=True)
class Server:
    """The desired state of the server; `root` is the root folder of the host's files."""

    params: Mapping[str, Any]
    root: Path = Path("/")

    @property
    def is_installed(self) -> bool:
        return (self.root / "usr/lib/systemd/system" / UNIT).exists()

    def entries(self) -> list[Any]:
        """Return the files that differ, each after its folder if that is missing."""
        files = {self.root / path.lstrip("/"): text for path, text in self.params["files"].items()}
        folders = dict.fromkeys(path.parent for path in files if not path.parent.exists())
        entries = [Entry(folder, own_access(FOLDER_MODE)) for folder in folders]
        entries += [Entry(path, own_access(FILE_MODE), text) for path, text in files.items()]
        return [entry for entry in entries if entry.diff()]

    def read_at_start(self) -> list[Path]:
        """Return the files that the server reads at start."""
        return [self.root / path.lstrip("/") for path in (*self.params["files"], *self.params["restart_files"])]

    def action(self, unit: Mapping[str, str], *, changes: bool) -> str:
        """Return what the unit needs: `start`, `restart` or nothing."""
        if unit["ActiveState"] not in ("active", "reloading"):
            return "start"
        outdated = changes or is_newer(self.read_at_start(), seconds(unit["InactiveExitTimestamp"]))
        return "restart" if outdated else ""


@dataclass(frozen=True)
class Plan:
    """The differences of the server from its desired state."""

    server: Server
    unit: Mapping[str, str]
    entries: list[Any]
    action: str

    @property
    def enables(self) -> bool:
        return self.unit["UnitFileState"] != "enabled"

    def diff(self) -> Iterator[dict[str, str]]:
        """Yield every difference in the format of Ansible's --diff."""
        for entry in self.entries:
            yield from entry.diff()
        after = [f"{verb} {UNIT}\n" for verb in (self.action, "enable" if self.enables else "") if verb]
        if after:
            yield {"before_header": "systemd", "after_header": "systemd", "before": "", "after": "".join(after)}


def plan_for(server: Server, unit: Mapping[str, str]) -> Plan:
    """Compare the server with its desired state; `unit` are the properties of its unit."""
    entries = server.entries()
    return Plan(server, unit, entries, server.action(unit, changes=bool(entries)))


class Host:
    """Runs systemctl on the host. Every method raises Fault."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def apply(self, plan: Plan) -> None:
        """Write the files, then start or restart the server; return when it accepts connections."""
        for entry in plan.entries:
            entry.apply()
        if plan.entries or plan.unit["NeedDaemonReload"] == "yes":
            self._systemctl("daemon-reload")
        if plan.enables:
            self._systemctl("enable", "--quiet", UNIT)
        if plan.action:
            reset_future_times(plan.server.read_at_start())
            self._start(plan.action)

    def _start(self, action: str) -> None:
        try:
            self._systemctl(action, UNIT)
        except Fault as fault:
            log = journal(self._module, UNIT, JOURNAL_LINES)
            raise Fault(f"the database does not {action}. End of its journal:\n{log}") from fault

    def _systemctl(self, *arguments: str) -> None:
        code, out, err = self._module.run_command(["systemctl", *arguments])
        if code:
            raise Fault(f"systemctl {' '.join(arguments)}: {(err or out).strip()}")


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "files": {"type": "dict", "required": True},
        "restart_files": {"type": "list", "elements": "path", "default": []},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    server = Server(module.params)
    if not server.is_installed and not module.check_mode:
        module.exit_json(changed=False, installed=False, running=False, action="")
    plan = plan_for(server, properties(module, [UNIT], UNIT_PROPERTIES)[UNIT])
    differences = list(plan.diff())
    if not module.check_mode:
        try:
            Host(module).apply(plan)
        except Fault as fault:
            module.fail_json(msg=str(fault))
    state = {"installed": server.is_installed, "running": plan.action != "start" or not module.check_mode}
    module.exit_json(changed=bool(differences), **state, action=plan.action, diff=differences)


if __name__ == "__main__":
    main()
