"""Run the module of the same name as one command over the connection, which makes the comparison cheap."""

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]  # Ansible carries no types

MODULE = Path(__file__).parents[1] / "modules/host_state.py"
OPTIONS = {
    "systems": {"type": "dict", "required": True},
    "control_node_state": {"type": "dict", "default": {}},
    "state": {"type": "str", "default": "compared", "choices": ["compared", "recorded", "forgotten"]},
    "days_left": {"type": "int", "default": 30},
    "file": {"type": "path", "default": "/var/lib/frota/applied.json"},
}
# -I isolates from the user's environment; -S skips site-packages, whose import takes longer than the comparison.
PYTHON = "/usr/bin/python3 -IS -"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Send the module's source to the host's Python and read its result."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec=OPTIONS)
        arguments["check_mode"] = bool(self._task.check_mode)
        call = f"\nprint(json.dumps(run(json.loads({json.dumps(arguments)!r}))))\n"
        done = self._low_level_execute_command(PYTHON, in_data=MODULE.read_bytes() + call.encode())
        try:
            return {**result, **json.loads(done["stdout"].strip().splitlines()[-1])}
        except (ValueError, IndexError):
            raise AnsibleActionFail(f"cannot read the host's state: {done['stderr'] or done['stdout']}") from None
