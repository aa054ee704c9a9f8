#!/usr/bin/python3
"""Compare, validate, write and start a service (settings, unit, socket and release) in one task."""

import platform
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Fault,
    access_of,
    content,
    diff_item,
    is_newer,
    link_target,
    own_access,
    replace_link,
    reset_future_times,
    set_access,
    write,
)
from ansible.module_utils.systemd_units import (  # type: ignore[import-untyped]  # found by Ansible
    journal,
    properties,
    seconds,
)

DOCUMENTATION = """
module: service_unit
short_description: A service of a release as systemd units
description:
  - Compares the unit file, the socket, the env file of every instance, the link C(current) and the units' states, and
    changes what differs.
  - Validates new settings with the release that will read them before it replaces any file.
  - Restarts only the units that started before the last change of their files or release, or that are not active, and
    waits until they are ready. So the next run makes up for the restarts of an interrupted one.
  - Stops and disables unwanted instances and deletes their env files.
  - Check mode reports the same changes and the same C(diff) without making them.
options:
  name: {type: str, required: true, description: "Name of the unit, without C(@) and C(.service)."}
  home: {type: path, required: true, description: Folder that holds C(releases/) and the link C(current).}
  release: {type: str, required: true, description: Name of the release to run; it must be installed.}
  executable: {type: str, required: true, description: Executable of the release.}
  arguments: {type: str, default: "", description: "Arguments of the executable; C(%i) is the instance name."}
  unit: {type: str, required: true, description: Content of the unit file.}
  socket: {type: str, default: "", description: Content of the socket's unit file; empty for a service without one.}
  settings:
    type: dict
    default: {}
    description: Content of the env file, setting to a one-line value; keys are C(prefix) and the name in capitals.
  prefix: {type: str, default: "", description: Prefix of every key in the env file.}
  instances: {type: dict, description: "Instances of a template unit, each with its settings; omit for a single unit."}
  restart_on: {type: list, elements: str, default: [], description: Restart triggers, digests of files read at start.}
  checks_settings: {type: bool, default: true, description: "Whether the executable takes C(--env-file FILE --check)."}
author: frota
"""

EXAMPLES = """
- service_unit:
    name: frota-sensor-server
    home: /opt/frota
    release: 0.1.0-0123456789ab-ba9876543210
    executable: frota
    arguments: sensors serve
    unit: "{{ lookup('ansible.builtin.template', 'service.j2') }}"
    prefix: SENSORS_
    settings: {port: 5000}
"""

RETURN = """
restarted: {type: list, elements: str, returned: success, description: Units that were, or would be, restarted.}
stopped: {type: list, elements: str, returned: success, description: Instances that were, or would be, removed.}
"""

FILE_MODE = 0o644
UNIT_PROPERTIES = ("ActiveState", "UnitFileState", "InactiveExitTimestamp", "NeedDaemonReload")
JOURNAL_LINES = 15
ESCAPES = str.maketrans({character: f"\\{character}" for character in '\\"$`'})  # systemd.exec(5), EnvironmentFile=


class State(NamedTuple):
    """The state of a unit; `started` in seconds since 1970, 0 if it never started."""

    active: bool
    enabled: bool
    started: float
    needs_reload: bool


@dataclass(frozen=True)
class Service:
    """The desired state of the service; `root` is the root folder of the host's files."""

    params: Mapping[str, Any]
    root: Path = Path("/")

    @property
    def name(self) -> str:
        return str(self.params["name"])

    @property
    def instances(self) -> dict[str, dict[str, Any]]:
        """Suffix of the unit's name -> the instance's settings; a single unit has an empty suffix."""
        instances = self.params["instances"]
        return {"": {}} if instances is None else {f"@{name}": settings or {} for name, settings in instances.items()}

    @property
    def units(self) -> list[str]:
        return [f"{self.name}{suffix}.service" for suffix in self.instances]

    @property
    def sockets(self) -> list[str]:
        return [f"{self.name}.socket"] if self.params["socket"] else []

    @property
    def release(self) -> Path:
        return Path(self.params["home"], "releases", self.params["release"])

    @property
    def current(self) -> Path:
        return self.root / str(self.params["home"]).lstrip("/") / "current"

    def unit_file(self, unit: str) -> Path:
        """Return the file that defines a unit; instances share one."""
        is_template = self.params["instances"] is not None and unit.endswith(".service")
        file = f"{self.name}@.service" if is_template else unit
        return self.root / "etc/systemd/system" / file

    def env_file(self, unit: str) -> Path:
        return self.root / "etc/frota" / f"{unit.removesuffix('.service')}.env"

    def settings(self, suffix: str) -> str:
        """Return the content of an instance's env file. Raises Fault for a value that is not one line."""
        lines = [
            "# Ansible managed",
            "# A change of the release changes this file, so the new release validates it and the unit restarts.",
            f"FROTA_RELEASE={self.params['release']}",
        ]
        if self.params["restart_on"]:
            lines += ["# Digests of files that the service reads only at start."]
            lines += [f'FROTA_RESTART_ON="{" ".join(self.params["restart_on"])}"']
        own = {**self.params["settings"], **self.instances[suffix]}
        lines += [f'{self.params["prefix"]}{key.upper()}="{quoted(key, value)}"' for key, value in sorted(own.items())]
        return "".join(f"{line}\n" for line in lines)

    def files(self) -> dict[Path, str]:
        """Return every file of the service with its desired content, env files first."""
        files = {self.env_file(f"{self.name}{suffix}"): self.settings(suffix) for suffix in self.instances}
        files[self.unit_file(f"{self.name}.service")] = self.params["unit"]
        for socket in self.sockets:
            files[self.unit_file(socket)] = self.params["socket"]
        return files

    def read_by(self, unit: str) -> list[Path]:
        """Return the files that a unit reads at start; a newer one means that the unit is outdated."""
        own = [] if unit.endswith(".socket") else [self.env_file(unit), self.current]
        return [self.unit_file(unit), *own]

    def unwanted(self) -> list[str]:
        """Return the unwanted instances that have an env file on the host."""
        names = (path.name for path in (self.root / "etc/frota").glob(f"{self.name}@*.env"))
        return sorted({f"{name.removesuffix('.env')}.service" for name in names} - set(self.units))

    def check_command(self, suffix: str, file: Path) -> list[str]:
        """Return the release's command that validates an env file."""
        arguments = shlex.split(self.params["arguments"].replace("%i", suffix.removeprefix("@")))
        return [str(self.release / "bin" / self.params["executable"]), *arguments, "--env-file", str(file), "--check"]


def quoted(key: str, value: Any) -> str:
    """Return a value escaped for the double quotes of an env file. Raises Fault if it has several lines."""
    text = str(value)
    if any(character in text for character in "\n\r\0"):
        raise Fault(f"{key}={text!r}: a setting must be a single line")
    return text.translate(ESCAPES)


def state_of(unit: Mapping[str, str]) -> State:
    """Return a unit's state from its properties."""
    return State(
        active=unit["ActiveState"] in ("active", "reloading"),
        enabled=unit["UnitFileState"] == "enabled",
        started=seconds(unit["InactiveExitTimestamp"]),
        needs_reload=unit["NeedDaemonReload"] == "yes",
    )


@dataclass
class Plan:
    """The differences of the service from its desired state, and the affected units."""

    service: Service
    states: Mapping[str, State]
    files: dict[Path, str] = field(init=False)  # path -> desired content, where it differs
    with_wrong_access: list[Path] = field(init=False)  # right content, wrong mode or owner
    switches_release: bool = field(init=False)
    stopped: list[str] = field(init=False)
    restarted: list[str] = field(init=False)
    restarts_sockets: bool = field(init=False)

    def __post_init__(self) -> None:
        files = self.service.files()
        self.files = {path: text for path, text in files.items() if content(path) != text}
        unchanged = files.keys() - self.files.keys()
        self.with_wrong_access = sorted(path for path in unchanged if access_of(path) != own_access(FILE_MODE))
        self.switches_release = link_target(self.service.current) != str(self.service.release)
        self.stopped = self.service.unwanted()
        self.restarts_sockets = any(self._is_outdated(socket) for socket in self.service.sockets)
        self.restarted = [unit for unit in self.service.units if self.restarts_sockets or self._is_outdated(unit)]

    def _is_outdated(self, unit: str) -> bool:
        state, read = self.states[unit], self.service.read_by(unit)
        changes = any(path in self.files for path in read) or (self.switches_release and self.service.current in read)
        return changes or not state.active or bool(is_newer(read, state.started))

    @property
    def disabled(self) -> list[str]:
        units = [*self.service.sockets, *self.service.units]
        return [unit for unit in units if not self.states[unit].enabled]

    @property
    def reloads(self) -> bool:
        units_changed = any(path.suffix in (".service", ".socket") for path in self.files)
        return units_changed or any(state.needs_reload for state in self.states.values())

    @property
    def changes(self) -> bool:
        lists = (self.files, self.with_wrong_access, self.stopped, self.restarted, self.disabled)
        return self.switches_release or self.reloads or any(lists)

    def diff(self) -> Iterator[dict[str, str]]:
        """Yield every difference in the format of Ansible's --diff."""
        for path, text in self.files.items():
            yield diff_item(path, content(path) or "", text)
        for path in self.with_wrong_access:
            yield diff_item(path, f"{access_of(path)}\n", f"{own_access(FILE_MODE)}\n")
        if self.switches_release:
            yield diff_item(self.service.current, f"{link_target(self.service.current)}\n", f"{self.service.release}\n")
        for unit in self.stopped:
            yield diff_item(self.service.env_file(unit), content(self.service.env_file(unit)) or "", "")
        if self.restarted or self.disabled:
            after = [f"restart {unit}\n" for unit in self.restarted] + [f"enable {unit}\n" for unit in self.disabled]
            yield {"before_header": "systemd", "after_header": "systemd", "before": "", "after": "".join(after)}


class Host:
    """Runs systemctl and the release's validation on the host. Every method raises Fault."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def states(self, units: list[str]) -> dict[str, State]:
        states = properties(self._module, units, UNIT_PROPERTIES)
        return {unit: state_of(states[unit]) for unit in units}

    def check(self, service: Service, files: Iterable[Path]) -> None:
        """Validate the new settings with the release."""
        if self._module.check_mode and not service.release.exists():
            return
        for suffix in service.instances:
            if service.env_file(f"{service.name}{suffix}") in files:
                self._check(service, suffix)

    def _check(self, service: Service, suffix: str) -> None:
        unit = f"{service.name}{suffix}"
        with tempfile.TemporaryDirectory(dir=self._module.tmpdir) as folder:
            file = Path(folder) / f"{unit}.env"
            file.write_text(service.settings(suffix), encoding="utf-8")
            code, out, err = self._module.run_command(service.check_command(suffix, file))
        if code:
            reason = (err or out).strip()
            raise Fault(f"{unit}: the release rejects the new settings; nothing was changed:\n{reason}")

    def apply(self, plan: Plan) -> None:
        service = plan.service
        if not service.release.joinpath("ready").exists():
            raise Fault(f"{service.release} is not installed: the entry point `release` of the role installs it")
        for path, text in plan.files.items():
            write(path, text, own_access(FILE_MODE))
        for path in plan.with_wrong_access:
            set_access(path, own_access(FILE_MODE))
        if plan.switches_release:
            replace_link(service.current, service.release)
        for unit in plan.stopped:
            self._systemctl("disable", "--now", unit)
            service.env_file(unit).unlink()
        if plan.reloads:
            self._systemctl("daemon-reload")
        if plan.disabled:
            self._systemctl("enable", *plan.disabled)
        self._restart(plan)

    def _restart(self, plan: Plan) -> None:
        service = plan.service
        reset_future_times(path for unit in [*plan.restarted, *service.sockets] for path in service.read_by(unit))
        try:
            if plan.restarts_sockets:
                self._systemctl("stop", *service.units)
                self._systemctl("restart", *service.sockets)
            for unit in plan.restarted:
                self._systemctl("restart", unit)
        except Fault as fault:
            log = journal(self._module, f"{service.name}*", JOURNAL_LINES)
            text = f"{service.name} on {platform.node()} does not become ready:\n{fault}\nEnd of its journal:\n{log}"
            raise Fault(text) from fault

    def _systemctl(self, *arguments: str) -> str:
        code, out, err = self._module.run_command(["systemctl", *arguments])
        if code:
            raise Fault(f"systemctl {' '.join(arguments)}: {(err or out).strip()}")
        return str(out)


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "home": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "executable": {"type": "str", "required": True},
            "arguments": {"type": "str", "default": ""},
            "unit": {"type": "str", "required": True},
            "socket": {"type": "str", "default": ""},
            "settings": {"type": "dict", "default": {}},
            "prefix": {"type": "str", "default": ""},
            "instances": {"type": "dict"},
            "restart_on": {"type": "list", "elements": "str", "default": []},
            "checks_settings": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    service, host = Service(module.params), Host(module)
    try:
        plan = Plan(service, host.states([*service.units, *service.sockets]))
        result = {"restarted": plan.restarted, "stopped": plan.stopped, "diff": list(plan.diff())}
        if module.params["checks_settings"]:
            host.check(service, plan.files)
        if plan.changes and not module.check_mode:
            host.apply(plan)
    except Fault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(changed=plan.changes, **result)


if __name__ == "__main__":
    main()
