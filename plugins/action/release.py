"""Send a host its missing archives of a release; the module of the same name has the documentation."""

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]  # Ansible carries no types


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible carries no types
    """Compare the host, send the missing archives, and install them."""

    TRANSFERS_FILES = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result of the module's last call, changed if any call changed something."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        compared = self._module(task_vars, {})
        result |= compared
        if compared.get("failed") or not compared["missing"] or self._task.check_mode:
            return result
        folder = Path(self._task.args["archive"]).parent
        result |= self._module(task_vars, {name: self._send(folder / f"{name}.tar.gz") for name in compared["missing"]})
        return {**result, "changed": True}

    def _module(self, task_vars: dict[str, Any] | None, archives: dict[str, str]) -> dict[str, Any]:
        arguments = {**self._task.args, "archives": archives}
        result: dict[str, Any] = self._execute_module("release", arguments, task_vars=task_vars)
        return result

    def _send(self, archive: Path) -> str:
        if not archive.exists():
            raise AnsibleActionFail(f"{archive} does not exist: the entry point `wheelhouse` of the role builds it")
        shell = self._connection._shell
        if shell.tmpdir is None:
            self._make_tmp_path()
        remote: str = shell.join_path(shell.tmpdir, archive.name)
        self._transfer_file(str(archive), remote)
        self._fixup_perms2((shell.tmpdir, remote))
        return remote
