"""The hosts of a checkout's fleet, by the SSH configuration that the playbooks write, and how to reach them."""

import argparse
import os
import re
from collections.abc import Iterable
from pathlib import Path

from frota.core.errors import StateError

SSH_CONFIG = Path(".local/ssh/config")  # of a checkout
CONNECT_TIMEOUT_S = 5
_HOST_LINE = re.compile(r"\s*Host(?:\s+|\s*=\s*)(.+)", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:-]*")  # neither a pattern nor an option of ssh


def add_ssh_config(parser: argparse._ActionsContainer) -> None:
    """Add --ssh-config to a parser or a group of its arguments."""
    text = f"SSH configuration that names the hosts ({SSH_CONFIG} of the checkout that the working directory is in)"
    parser.add_argument("--ssh-config", type=Path, metavar="FILE", help=text)


def find_ssh_config(folder: Path) -> Path | None:
    """Return the SSH configuration of the checkout that a folder is in, None if it is in none.

    Raises StateError if others may write that file: an SSH configuration can run commands.
    """
    for above in (folder, *folder.parents):
        path = above / SSH_CONFIG
        if path.is_file():
            _require_own(path)
            return path
    return None


def names_in(ssh_config: Path) -> list[str]:
    """Return the hosts that an SSH configuration names, without patterns, in its order. Raises StateError."""
    try:
        lines = ssh_config.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise StateError(f"{ssh_config}: {error.strerror}; name the file with --ssh-config FILE") from None
    words = (word.strip('"') for line in lines if (match := _HOST_LINE.match(line)) for word in match[1].split())
    names = list(dict.fromkeys(word for word in words if _NAME.fullmatch(word)))
    if not names:
        raise StateError(f"{ssh_config}: names no host; `make up` writes one with the hosts of the fleet")
    return names


def ssh_commands(ssh_config: Path, hosts: Iterable[str], command: str) -> dict[str, list[str]]:
    """Return the `ssh` command for each host that runs a command of its shell, without ever asking for a password."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": CONNECT_TIMEOUT_S,
        "ServerAliveInterval": CONNECT_TIMEOUT_S,  # a shared connection may be one to a host that is gone
        "LogLevel": "ERROR",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return {host: ["ssh", "-T", "-F", str(ssh_config), *words, "--", host, command] for host in hosts}


def _require_own(path: Path) -> None:
    """Raise StateError unless only this user, who called sudo or root may write a file."""
    status = path.stat()
    owners = {0, os.getuid(), int(uid) if (uid := os.environ.get("SUDO_UID", "")).isdecimal() else 0}
    if status.st_uid not in owners or status.st_mode & 0o022:
        raise StateError(f"{path}: others may write this file, which can run commands; use it with --ssh-config FILE")
