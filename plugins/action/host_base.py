"""Install missing packages with Ansible's apt module; the module of the same name has the documentation."""

import time
from typing import Any

from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]  # Ansible carries no types

# unattended-upgrades holds apt's locks for minutes at the first boot; lock_timeout does not cover all of them.
LOCK_TIMEOUT_S, RETRY_INTERVAL_S = 600, 10
LOCK_ERROR = "Could not get lock"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Compare the host, install missing packages, and apply the other changes."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the module's result with the differences of its first call."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        compared = self._execute_module("host_base", self._task.args, task_vars=task_vars)
        if compared.get("failed") or not compared["missing"] or self._task.check_mode:
            return {**result, **compared}
        installed = self._install(compared["missing"], task_vars)
        if installed.get("failed"):
            return {**result, "failed": True, "msg": f"{', '.join(compared['missing'])}: {installed.get('msg')}"}
        applied = self._execute_module("host_base", self._task.args, task_vars=task_vars)
        return {**result, **applied, "changed": True, "missing": compared["missing"], "diff": compared["diff"]}

    def _install(self, packages: list[str], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        arguments = {"name": packages, "update_cache": True, "lock_timeout": LOCK_TIMEOUT_S}
        for _ in range(LOCK_TIMEOUT_S // RETRY_INTERVAL_S):
            result: dict[str, Any] = self._execute_module("ansible.builtin.apt", arguments, task_vars=task_vars)
            if not (result.get("failed") and LOCK_ERROR in str(result.get("msg"))):
                break
            time.sleep(RETRY_INTERVAL_S)
        return result
