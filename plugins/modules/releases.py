#!/usr/bin/python3
"""The installed releases of a host, the current one, and the units that run it."""

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.installed_releases import installed  # type: ignore[import-untyped]  # found by Ansible

DOCUMENTATION = """
module: releases
short_description: The installed releases of a host, the current one, and the units that run it
description:
  - Read-only.
options:
  home: {type: path, required: true, description: "Folder that holds C(releases/) and the link C(current)."}
author: frota
"""

EXAMPLES = """
- releases:
    home: /opt/frota
  register: __releases
"""

RETURN = """
current: {type: str, returned: success, description: "Name of the current release; empty if there is none."}
releases: {type: list, elements: str, returned: success, description: "Names of the installed releases, newest first."}
units: {type: list, elements: str, returned: success, description: "Names of the units that run the current release."}
"""

SETTINGS_FOLDER = Path("/etc/frota")
RELEASE_LINE = re.compile(r"^FROTA_RELEASE=", re.MULTILINE)  # env files of commands have none


def units(settings: Path) -> list[str]:
    """Return the units that have an env file with a release."""
    files = sorted(settings.glob("frota-*.env"))
    return [f"{file.stem}.service" for file in files if RELEASE_LINE.search(file.read_text(encoding="utf-8"))]


def read_releases(home: Path, settings: Path) -> dict[str, Any]:
    """Return the module's result."""
    current = home / "current"
    names = [path.name for path in installed(home)]
    return {"current": current.resolve().name if current.exists() else "", "releases": names, "units": units(settings)}


def main() -> None:
    """Run as an Ansible module."""
    spec = {"home": {"type": "path", "required": True}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    module.exit_json(changed=False, **read_releases(Path(module.params["home"]), SETTINGS_FOLDER))


if __name__ == "__main__":
    main()
