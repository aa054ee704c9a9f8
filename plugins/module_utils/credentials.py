"""Secret keys of a host: who may read them, and the folder that they are in."""

import grp
import os
from pathlib import Path

from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    Access,
    Entry,
    Fault,
    ours,
)

# The people of the host may pass through to a file that is theirs, but not look around.
FOLDER_MODE = 0o710
FOLDER_GROUP = "adm"


def key_access(group: str) -> Access:
    """Return who may read a key: root, and a group if it is another one than root's. Raises Fault."""
    return ours(0o600) if group == "root" else Access(0o640, os.geteuid(), _group_id(group))


def folder(path: Path) -> Entry:
    """Return the folder of keys as it should be. Raises Fault."""
    return Entry(path, Access(FOLDER_MODE, os.geteuid(), _group_id(FOLDER_GROUP)))


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise Fault(f"There is no group {name} on this host, which is to read a key. Run: groupadd {name}") from None
