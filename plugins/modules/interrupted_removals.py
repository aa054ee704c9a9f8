#!/usr/bin/python3
"""Remove the containers whose removal was interrupted, and that podman can neither inspect nor start."""

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types

DOCUMENTATION = """
module: interrupted_removals
short_description: Remove containers whose removal was interrupted
description:
  - Considers only containers with a label, because others may be in a removal at the same time.
  - Check mode reports the same changes without making them.
options:
  executable: {type: path, required: true, description: The C(podman) executable.}
  label: {type: str, required: true, description: "Label of the containers, C(NAME=VALUE)."}
author: frota
"""

EXAMPLES = """
- interrupted_removals:
    executable: .local/bin/podman
    label: frota_network=fleet
"""

RETURN = """
removed: {type: list, elements: str, returned: success, description: Ids of the removed containers.}
"""


def main() -> None:
    """Run as an Ansible module."""
    spec = {"executable": {"type": "path", "required": True}, "label": {"type": "str", "required": True}}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    podman, label = module.params["executable"], module.params["label"]
    command = [podman, "ps", "--all", "--quiet", "--filter", "status=removing", "--filter", f"label={label}"]
    containers = module.run_command(command, check_rc=True)[1].split()
    if containers and not module.check_mode:
        module.run_command([podman, "rm", "--force", "--volumes", *containers], check_rc=True)
    module.exit_json(changed=containers != [], removed=containers)


if __name__ == "__main__":
    main()
