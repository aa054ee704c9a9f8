#!/usr/bin/python3
"""A secret key of the remote list that is made on its host and never leaves it, and the one that is to follow it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils import credentials  # type: ignore[import-untyped]  # found by Ansible
from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Fault,
    access_of,
    set_access,
    shown,
    sync_folder,
)

DOCUMENTATION = """
module: curve_key
short_description: A CURVE key of the host, made on it by a release of ours
description:
  - The secret half is in C(path) alone, never read by Ansible, shown or sent. The folder is made too.
  - A key that is to follow is beside it, as C(path.next), until it takes its place.
  - Check mode reports the same changes and the same C(diff) without making them; the public half of a key that is not
    there yet, or that its command would not read, is unknown then, and left out.
options:
  path: {type: path, required: true, description: File of the key in use.}
  group: {type: str, default: root, description: Who may read the keys besides root.}
  commands:
    type: list
    elements: path
    required: true
    description: The C(frota) to make and read keys with; the first of these files that is there.
  state:
    type: str
    choices: [present, next, switched]
    default: present
    description: >-
      C(present), there is a key; C(next), there is another one beside it; C(switched), that one is in use, and none is
      beside it.
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
  description: Public halves in hexadecimal, of the key in use, then of the one that is to follow, if there is one.
"""


class Keys:
    """The keys of a host, compared with what should be there."""

    def __init__(self, module: AnsibleModule, params: Mapping[str, Any]) -> None:
        self._module, self._state = module, params["state"]
        self._path, self._next = Path(params["path"]), Path(f"{params['path']}.next")
        self._commands = [Path(command) for command in params["commands"]]
        self._folder = credentials.folder(self._path.parent)
        self._access = credentials.key_access(params["group"])

    def _missing(self) -> list[Path]:
        wanted = [self._path, *([self._next] if self._state == "next" else [])]
        return [path for path in wanted if not path.exists()]

    @property
    def _switches(self) -> bool:
        return self._state == "switched" and self._next.exists()

    def _loose(self) -> list[Path]:
        """Return the keys that are for others than they should be."""
        return [path for path in self._present() if access_of(path) != self._access]

    def _present(self) -> list[Path]:
        return [path for path in (self._path, self._next) if path.exists()]

    def exposed(self) -> list[Path]:
        """Return the keys that others can, or could, read or replace."""
        return [path for path in self._loose() if access_of(path).mode & 0o077 & ~self._access.mode]

    def diff(self) -> Iterator[dict[str, str]]:
        """Yield every difference as Ansible's --diff shows it; a key is never shown."""
        yield from self._folder.diff()
        if self._switches:
            yield shown(self._path, "the former key\n", f"the key of {self._next}\n")
        for path in () if self._switches else self._missing():
            yield shown(path, "", "a new key\n")
        for path in self._loose():
            yield shown(path, f"{access_of(path)}\n", f"{self._access}\n")

    def apply(self) -> None:
        """Make what is missing. Raises Fault."""
        self._folder.path.mkdir(parents=True, exist_ok=True)
        self._folder.apply()
        if self._switches:
            self._next.replace(self._path)
        for path in self._missing():
            self._run("list", "keygen", str(path))
        for path in self._loose():
            set_access(path, self._access)
        sync_folder(self._path.parent)  # a key that others know is on disk

    def public_keys(self) -> list[str]:
        """Return the public halves of what is there. Raises Fault."""
        paths = self._present()
        if self._module.check_mode:
            paths = [] if self._loose() else [self._next] if self._switches else paths
        return [self._run("list", "keygen", "--public", str(path)).strip() for path in paths]

    def _run(self, *words: str) -> str:
        command = next((str(command) for command in self._commands if command.exists()), None)
        if command is None:
            listed = ", ".join(map(str, self._commands))
            raise Fault(f"None of {listed} is on this host: the entry point `release` of python_service installs it")
        code, out, err = self._module.run_command([command, *words])
        if code:
            raise Fault(str(err or out).strip())
        return str(out)


def main() -> None:
    """Run as a module of Ansible's."""
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
            module.warn(
                f"{path} is a secret that others could read or replace. If they may have, rotate the keys of the list"
            )
        if diff and not module.check_mode:
            keys.apply()
        public_keys = keys.public_keys()
    except Fault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(changed=diff != [], public_keys=public_keys, diff=diff)


if __name__ == "__main__":
    main()
