"""Install missing packages with Ansible's apt module; the module of the same name has the documentation."""

import time
from typing import Any

from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]  # Ansible carries no types

# unattended-upgrades holds apt's locks for minutes at the first boot; lock_timeout does not cover all of them.
LOCK_SECONDS, PAUSE_SECONDS = 600, 10
NOT_WAITED_FOR = "Could not get lock"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Compare the host, install missing packages, and apply the other changes."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result with the differences of its first call."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        seen = self._execute_module("host_base", self._task.args, task_vars=task_vars)
        if seen.get("failed") or not seen["lacking"] or self._task.check_mode:
            return {**result, **seen}
        installed = self._install(seen["lacking"], task_vars)
        if installed.get("failed"):
            return {**result, "failed": True, "msg": f"{', '.join(seen['lacking'])}: {installed.get('msg')}"}
        done = self._execute_module("host_base", self._task.args, task_vars=task_vars)
        return {**result, **done, "changed": True, "lacking": seen["lacking"], "diff": seen["diff"]}

    def _install(self, packages: list[str], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        arguments = {"name": packages, "update_cache": True, "lock_timeout": LOCK_SECONDS}
        for _ in range(LOCK_SECONDS // PAUSE_SECONDS):
            said: dict[str, Any] = self._execute_module("ansible.builtin.apt", arguments, task_vars=task_vars)
            if not (said.get("failed") and NOT_WAITED_FOR in str(said.get("msg"))):
                break
            time.sleep(PAUSE_SECONDS)
        return said
