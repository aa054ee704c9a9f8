"""Wait until a host runs commands; the module of the same name has the documentation."""

import time
from typing import Any

from ansible.errors import AnsibleConnectionFailure  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]  # Ansible carries no types

_PAUSE_S = 0.5


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Run `true` on the host until that succeeds."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the number of attempts. Raises AnsibleConnectionFailure, which makes the host unreachable."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, options = self.validate_argument_spec(argument_spec={"timeout": {"type": "int", "default": 120}})
        end = time.monotonic() + options["timeout"]
        attempts = 1
        while error := self._failure():
            if time.monotonic() > end:
                raise AnsibleConnectionFailure(f"no SSH within {options['timeout']} s: {error}")
            time.sleep(_PAUSE_S)
            attempts += 1
        return {**result, "attempts": attempts}

    def _failure(self) -> str:
        """Return why the host runs no command, "" if it does."""
        self._connection.reset()  # a shared connection may be to a host that went down
        try:
            done = self._low_level_execute_command("true")
        except AnsibleConnectionFailure as error:
            return str(error)
        return "" if done["rc"] == 0 else str(done["stderr"] or done["stdout"])
