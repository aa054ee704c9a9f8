#!/usr/bin/python3
"""A CURVE secret key that is generated on its host and never leaves it, and its next key during a rotation."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils import credentials  # type: ignore[import-untyped]  # found by Ansible
from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Fault,
    access_of,
    diff_item,
    set_access,
    sync_folder,
)

DOCUMENTATION = """
module: curve_key
short_description: A CURVE key that is generated on the host by an installed release
description:
  - The secret key is only in C(path); Ansible never reads, shows or transfers it. Creates the folder, too.
  - The next key is in C(path.next) until it replaces the current one.
  - Check mode reports the same changes and the same C(diff) without making them; it omits the public keys that do not
    exist yet or whose file has wrong permissions.
options:
  path: {type: path, required: true, description: File of the current key.}
  group: {type: str, default: root, description: Group that may read the keys besides root.}
  commands:
    type: list
    elements: path
    required: true
    description: Candidates for the C(frota) that generates and reads keys; the first existing file is used.
  state:
    type: str
    choices: [present, next, switched]
    default: present
    description: >-
      C(present) generates a missing key; C(next) generates a missing next key; C(switched) replaces the key by the next
      one.
author: frota
"""

EXAMPLES = """
- curve_key:
    path: /etc/frota/credentials/frota-list-client.key
    group: adm
    commands: [/opt/frota/current/bin/frota]
  register: key
"""

RETURN = """
public_keys:
  type: list
  elements: str
  returned: success
  description: Public keys in hexadecimal, of the current key and of the next one, if it exists.
"""


class Keys:
    """The keys of a host compared with their desired state."""

    def __init__(self, module: AnsibleModule, params: Mapping[str, Any]) -> None:
        self._module, self._state = module, params["state"]
        self._path, self._next = Path(params["path"]), Path(f"{params['path']}.next")
        self._commands = [Path(command) for command in params["commands"]]
        self._folder = credentials.folder(self._path.parent)
        self._access = credentials.key_access(params["group"])

    def _missing(self) -> list[Path]:
        paths = [self._path, *([self._next] if self._state == "next" else [])]
        return [path for path in paths if not path.exists()]

    @property
    def _will_switch(self) -> bool:
        return self._state == "switched" and self._next.exists()

    def _with_wrong_access(self) -> list[Path]:
        """Return the keys with wrong permissions."""
        return [path for path in self._present() if access_of(path) != self._access]

    def _present(self) -> list[Path]:
        return [path for path in (self._path, self._next) if path.exists()]

    def exposed(self) -> list[Path]:
        """Return the keys whose permissions let other users read or replace them."""
        return [path for path in self._with_wrong_access() if access_of(path).mode & 0o077 & ~self._access.mode]

    def diff(self) -> Iterator[dict[str, str]]:
        """Yield every difference in the format of Ansible's --diff, without keys."""
        yield from self._folder.diff()
        if self._will_switch:
            yield diff_item(self._path, "the former key\n", f"the key of {self._next}\n")
        for path in () if self._will_switch else self._missing():
            yield diff_item(path, "", "a new key\n")
        for path in self._with_wrong_access():
            yield diff_item(path, f"{access_of(path)}\n", f"{self._access}\n")

    def apply(self) -> None:
        """Generate missing keys, replace the current key by the next one, and fix permissions. Raises Fault."""
        self._folder.path.mkdir(parents=True, exist_ok=True)
        self._folder.apply()
        if self._will_switch:
            self._next.replace(self._path)
        for path in self._missing():
            self._run("list", "keygen", str(path))
        for path in self._with_wrong_access():
            set_access(path, self._access)
        sync_folder(self._path.parent)  # a key is durable before its public key is published

    def public_keys(self) -> list[str]:
        """Return the public keys of the existing keys. Raises Fault."""
        paths = self._present()
        if self._module.check_mode:
            paths = [] if self._with_wrong_access() else [self._next] if self._will_switch else paths
        return [self._run("list", "keygen", "--public", str(path)).strip() for path in paths]

    def _run(self, *arguments: str) -> str:
        command = next((str(command) for command in self._commands if command.exists()), None)
        if command is None:
            candidates = ", ".join(map(str, self._commands))
            raise Fault(f"None of {candidates} exists on this host: python_service's entry point `release` installs it")
        code, out, err = self._module.run_command([command, *arguments])
        if code:
            raise Fault(str(err or out).strip())
        return str(out)


def main() -> None:
    """Run as an Ansible module."""
    spec = {
        "path": {"type": "path", "required": True},
        "group": {"type": "str", "default": "root"},
        "commands": {"type": "list", "elements": "path", "required": True},
        "state": {"type": "str", "choices": ["present", "next", "switched"], "default": "present"},
    }
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    try:
        keys = Keys(module, module.params)
        diff = list(keys.diff())
        for path in keys.exposed():
            module.warn(f"other users could read or replace the secret key {path}: rotate the keys of the remote list")
        if diff and not module.check_mode:
            keys.apply()
        public_keys = keys.public_keys()
    except Fault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(changed=diff != [], public_keys=public_keys, diff=diff)


if __name__ == "__main__":
    main()
