#!/usr/bin/python3
"""The releases on a host, the one in use, and the units that run it."""

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.installed_releases import installed  # type: ignore[import-untyped]  # found by Ansible

DOCUMENTATION = """
module: releases
short_description: The releases on a host, the one in use, and the units that run it
description:
  - Reads only, in check mode too.
options:
  home: {type: path, required: true, description: "Folder that holds C(releases/) and the link C(current)."}
author: frota
"""

EXAMPLES = """
- releases:
    home: /opt/frota
  register: found
"""

RETURN = """
current: {type: str, returned: success, description: "Name of the release in use; empty: there is none."}
releases: {type: list, elements: str, returned: success, description: "Names of all, the last installed first."}
units: {type: list, elements: str, returned: success, description: "Names of the units that run the release in use."}
"""

SETTINGS = Path("/etc/frota")
OF_A_UNIT = re.compile(r"^FROTA_RELEASE=", re.MULTILINE)  # other env files are of commands


def units(settings: Path) -> list[str]:
    """Return the units of ours, by their env files."""
    files = sorted(settings.glob("frota-*.env"))
    return [f"{file.stem}.service" for file in files if OF_A_UNIT.search(file.read_text(encoding="utf-8"))]


def look(home: Path, settings: Path) -> dict[str, Any]:
    """Return what is on the host."""
    current = home / "current"
    names = [path.name for path in installed(home)]
    return {"current": current.resolve().name if current.exists() else "", "releases": names, "units": units(settings)}


def main() -> None:
    """Run as a module of Ansible's."""
    spec = {"home": {"type": "path", "required": True}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    module.exit_json(changed=False, **look(Path(module.params["home"]), SETTINGS))


if __name__ == "__main__":
    main()
