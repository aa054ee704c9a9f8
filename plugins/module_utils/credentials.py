"""Permissions of a host's secret keys and of their folder."""

import grp
import os
from pathlib import Path

from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Access,
    Entry,
    Fault,
    own_access,
)

# The host's users (group adm) may open a key of theirs, but not list the folder.
FOLDER_MODE = 0o710
FOLDER_GROUP = "adm"


def key_access(group: str) -> Access:
    """Return the permissions of a key: readable by root, and by `group` unless it is root. Raises Fault."""
    return own_access(0o600) if group == "root" else Access(0o640, os.geteuid(), _group_id(group))


def folder(path: Path) -> Entry:
    """Return the desired state of the folder of keys. Raises Fault."""
    return Entry(path, Access(FOLDER_MODE, os.geteuid(), _group_id(FOLDER_GROUP)))


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise Fault(f"There is no group {name} on this host, which has to read a key. Run: groupadd {name}") from None
