"""Determine the systems of every host and their state; the module of the same name has the documentation."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible import context  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.errors import AnsibleError  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]  # Ansible carries no types

DESCRIPTION = "meta/host_state.yml"
# Code that all systems share.
SHARED_CODE = ("plugins", "playbooks", "site.yml", "ansible.cfg")
CONTROL_NODE_KEYS = {"groups", "needs", "uses", "sources"}  # keys of a description that are not part of a host's state
IGNORED_FOLDERS = {"__pycache__", "molecule", "tests"}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Read the roles' descriptions and the hosts' variables on the control node."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return every host's systems in the format of the module `host_state`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={"root": {"type": "path", "required": True}, "systems": {"type": "list", "elements": "str"}}
        )
        root, variables = Path(arguments["root"]), dict(task_vars or {})
        systems = {name: self._read(file) for name, file in descriptions(root).items()}
        names = arguments["systems"] or list(systems)
        members = {name: members_of(systems[name]["groups"], variables["groups"]) for name in names}
        member_hosts = {host for name in names for host in members[name]}
        values = {host: Values(self._templar, variables["hostvars"], host) for host in member_hosts}
        hosts: dict[str, dict[str, Any]] = {host: {} for host in variables["groups"]["all"]}
        for name in names:
            inputs = inputs_of(root, name, systems, {host: values[host] for host in members[name]})
            for host in members[name]:
                hosts[host][name] = {**state_of(root, systems[name], values[host]), "inputs": inputs}
        needs = {name: systems[name].get("needs", []) for name in names}
        run = {"whole": is_whole(), "changes": may_change()}
        return {**result, "hosts": hosts, "members": members, "needs": needs, **run}

    def _read(self, file: Path) -> dict[str, Any]:
        description: dict[str, Any] = self._loader.load_from_file(str(file), trusted_as_template=True)
        return description


class Values:
    """The variables of a host. Each is templated once and cached, because several systems' inputs share some."""

    def __init__(self, templar: Any, hostvars: Any, host: str) -> None:
        self._raw = dict(hostvars.raw_get(host))
        # Facts and registered results of this run are no part of a description.
        self._facts = set(hostvars._variable_manager._nonpersistent_fact_cache.get(host, ()))
        # Without hostvars, variables that refer to other hosts would be undefined.
        self._templar = templar.copy_with_new_env(available_variables={**self._raw, "hostvars": hostvars})
        self._cache: dict[str, Any] = {}

    def templated(self, value: Any) -> Any:
        """Return a value with its templates evaluated. Raises AnsibleError."""
        return self._templar.template(value)

    def with_prefixes(self, prefixes: tuple[str, ...]) -> dict[str, Any]:
        """Return the variables that a system's roles read; an undefined one has the error as its value."""
        names = [name for name in self._raw if name.startswith(prefixes) or name in ("ansible_host", "ec2_instance_id")]
        return {name: self._value(name) for name in names if name not in self._facts}

    def _value(self, name: str) -> Any:
        if name not in self._cache:
            try:
                self._cache[name] = self.templated(self._raw[name])
            except AnsibleError as error:
                self._cache[name] = f"undefined: {type(error).__name__}"
        return self._cache[name]


def state_of(root: Path, system: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """Return the description of a system on a host in the format of the module `host_state`."""
    state = values.templated({key: value for key, value in system.items() if key not in CONTROL_NODE_KEYS})
    return {
        **state,
        "probes": [{**probe, "code": (root / probe["code"]).read_text()} for probe in state.get("probes", ())],
    }


def inputs_of(root: Path, name: str, systems: Mapping[str, Any], members: Mapping[str, Values]) -> str:
    """Return a digest of a system's code, its hosts and their variables."""
    roles = [name, *systems[name].get("uses", ())]
    prefixes = tuple(f"{role}_" for role in roles)
    folders = [*(f"roles/{role}" for role in roles), *SHARED_CODE, *systems[name].get("sources", ())]
    digest = hashlib.sha256()
    for path in code_files(root / folder for folder in folders):
        digest.update(f"{path.relative_to(root)} {path.stat().st_mode:o}\n".encode() + path.read_bytes())
    for host, values in members.items():
        digest.update(f"{host}\n".encode() + canonical_json(values.with_prefixes(prefixes)).encode())
    return digest.hexdigest()


def members_of(names: Iterable[str], groups: Mapping[str, list[str]]) -> list[str]:
    """Return the hosts of groups; an unknown group is empty, and `localhost` counts as a group."""
    all_groups = {**groups, "localhost": ["localhost"]}
    return sorted({host for name in names for host in all_groups.get(name, [])})


def descriptions(root: Path) -> dict[str, Path]:
    """Return each role with a description of its state on hosts, and the description's file."""
    return {file.parts[-3]: file for file in sorted((root / "roles").glob(f"*/{DESCRIPTION}"))}


def code_files(places: Iterable[Path]) -> Iterator[Path]:
    """Yield files and the files in folders in a fixed order, without tests and Python caches."""
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and not IGNORED_FOLDERS & set(path.relative_to(place).parts):
                yield path


def is_whole() -> bool:
    """Tell whether this run executes every task on every host."""
    options = context.CLIARGS
    limits = ("subset", "skip_tags", "start_at_task", "step")
    return list(options.get("tags") or ["all"]) == ["all"] and not any(options.get(name) for name in limits)


def may_change() -> bool:
    """Tell whether this run may change hosts."""
    return set(context.CLIARGS.get("tags") or ["all"]) != {"verify"}


def canonical_json(values: Mapping[str, Any]) -> str:
    """Return variables as canonical JSON."""
    return json.dumps(values, sort_keys=True, default=str)
