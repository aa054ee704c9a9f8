"""Imports our modules and module_utils the way Ansible does."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import ansible.module_utils  # type: ignore[import-untyped]  # Ansible carries no types

PLUGINS = Path(__file__).parents[2] / "plugins"
ansible.module_utils.__path__.append(str(PLUGINS / "module_utils"))


def load_util(name: str) -> ModuleType:
    """Import a module of plugins/module_utils."""
    return importlib.import_module(f"ansible.module_utils.{name}")


credentials, host_files, systemd_units = map(load_util, ("credentials", "host_files", "systemd_units"))


def load(name: str) -> ModuleType:
    """Import a module of plugins/modules."""
    return _load("modules", name)


def load_action(name: str) -> ModuleType:
    """Import an action plugin of plugins/action."""
    return _load("action", name)


def _load(folder: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PLUGINS / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
