"""Say what each host has of which system, and what it is described by; the module of the same name documents it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible import context  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.errors import AnsibleError  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]  # Ansible carries no types

DESCRIPTION = "meta/host_state.yml"
# Every system's roles are played by these, with these.
SHARED = ("plugins", "playbooks", "site.yml", "ansible.cfg")
NOT_OF_HOSTS = {"groups", "needs", "uses", "sources"}  # parts of a description
UNREAD = {"__pycache__", "molecule", "tests"}


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Read the roles' descriptions and the hosts' variables, on the control node."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return every host's systems, as the module `host_state` takes them."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={"root": {"type": "path", "required": True}, "systems": {"type": "list", "elements": "str"}}
        )
        root, variables = Path(arguments["root"]), dict(task_vars or {})
        described = {name: self._read(file) for name, file in descriptions(root).items()}
        wanted = arguments["systems"] or list(described)
        members = {name: members_of(described[name]["groups"], variables["groups"]) for name in wanted}
        looked = {host for name in wanted for host in members[name]}
        values = {host: Values(self._templar, variables["hostvars"], host) for host in looked}
        hosts: dict[str, dict[str, Any]] = {host: {} for host in variables["groups"]["all"]}
        for name in wanted:
            inputs = inputs_of(root, name, described, {host: values[host] for host in members[name]})
            for host in members[name]:
                hosts[host][name] = {**state_of(root, described[name], values[host]), "inputs": inputs}
        needs = {name: described[name].get("needs", []) for name in wanted}
        run = {"whole": is_whole(), "changes": may_change()}
        return {**result, "hosts": hosts, "members": members, "needs": needs, **run}

    def _read(self, file: Path) -> dict[str, Any]:
        read: dict[str, Any] = self._loader.load_from_file(str(file), trusted_as_template=True)
        return read


class Values:
    """The variables of a host, each templated once: some are part of every system's inputs."""

    def __init__(self, templar: Any, hostvars: Any, host: str) -> None:
        self._raw = dict(hostvars.raw_get(host))
        # What tasks of this run have set or registered so far: they found it, and nobody described it.
        self._found = set(hostvars._variable_manager._nonpersistent_fact_cache.get(host, ()))
        # Not among them by itself, and what a host takes from another would be without a value.
        self._templar = templar.copy_with_new_env(available_variables={**self._raw, "hostvars": hostvars})
        self._known: dict[str, Any] = {}

    def templated(self, value: Any) -> Any:
        """Return a value that may have templates in it. Raises AnsibleError."""
        return self._templar.template(value)

    def beginning(self, prefixes: tuple[str, ...]) -> dict[str, Any]:
        """Return the variables that a system's roles read; one that has no value yet tells its reason."""
        names = [name for name in self._raw if name.startswith(prefixes) or name in ("ansible_host", "ec2_instance_id")]
        return {name: self._value(name) for name in names if name not in self._found}

    def _value(self, name: str) -> Any:
        if name not in self._known:
            try:
                self._known[name] = self.templated(self._raw[name])
            except AnsibleError as error:
                self._known[name] = f"without a value: {type(error).__name__}"
        return self._known[name]


def state_of(root: Path, system: Mapping[str, Any], values: Values) -> dict[str, Any]:
    """Return what a system has on a host, as the module `host_state` takes it."""
    state = values.templated({key: value for key, value in system.items() if key not in NOT_OF_HOSTS})
    return {
        **state,
        "probes": [{**probe, "code": (root / probe["code"]).read_text()} for probe in state.get("probes", ())],
    }


def inputs_of(root: Path, name: str, described: Mapping[str, Any], members: Mapping[str, Values]) -> str:
    """Return a digest of all that a system is described by: its code, its members, their variables."""
    roles = [name, *described[name].get("uses", ())]
    prefixes = tuple(f"{role}_" for role in roles)
    folders = [*(f"roles/{role}" for role in roles), *SHARED, *described[name].get("sources", ())]
    digest = hashlib.sha256()
    for path in code(root / folder for folder in folders):
        digest.update(f"{path.relative_to(root)} {path.stat().st_mode:o}\n".encode() + path.read_bytes())
    for host, values in members.items():
        digest.update(f"{host}\n".encode() + text_of(values.beginning(prefixes)).encode())
    return digest.hexdigest()


def members_of(wanted: Iterable[str], groups: Mapping[str, list[str]]) -> list[str]:
    """Return the hosts of groups, none for one that has none; the control node stands for itself."""
    known = {**groups, "localhost": ["localhost"]}
    return sorted({host for group in wanted for host in known.get(group, [])})


def descriptions(root: Path) -> dict[str, Path]:
    """Return each role that describes what it has on hosts, and the file in which it does."""
    return {file.parts[-3]: file for file in sorted((root / "roles").glob(f"*/{DESCRIPTION}"))}


def code(places: Iterable[Path]) -> Iterator[Path]:
    """Yield files, and those in folders, in a fixed order, without what tests and Python leave there."""
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and not UNREAD & set(path.relative_to(place).parts):
                yield path


def is_whole() -> bool:
    """Tell whether this run plays every task on every host."""
    chosen = context.CLIARGS
    parts = ("subset", "skip_tags", "start_at_task", "step")
    return list(chosen.get("tags") or ["all"]) == ["all"] and not any(chosen.get(part) for part in parts)


def may_change() -> bool:
    """Tell whether this run may change hosts."""
    return set(context.CLIARGS.get("tags") or ["all"]) != {"verify"}


def text_of(values: Mapping[str, Any]) -> str:
    """Return variables as text that is the same for the same values."""
    return json.dumps(values, sort_keys=True, default=str)
