#!/usr/bin/python3
"""Settings and state of a RabbitMQ node."""

import pwd
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    CLOCK_TOLERANCE_S,
    Access,
    Fault,
    content,
    diff_item,
    own_access,
    write,
)
from ansible.module_utils.systemd_units import (  # type: ignore[import-untyped]  # found by Ansible
    journal,
    properties,
    seconds,
)

DOCUMENTATION = """
module: rabbitmq_node
short_description: Settings and state of a RabbitMQ node
description:
  - Writes changed settings, reports the node's state, and starts or restarts the node if requested and necessary.
  - Determines the node's state by the times of its files and of its start, so that the next run makes up for the
    restart of an interrupted one.
  - Before a restart, waits until every quorum queue keeps its quorum without the node, and drains the node.
  - Check mode reports the same changes and the same C(diff) without making them.
  - A node that runs with its settings costs no rabbitmqctl command.
options:
  node: {type: str, required: true, description: "Name of the node, C(rabbit@HOST)."}
  state:
    type: str
    choices: [configured, started, current]
    default: configured
    description:
      - C(configured) writes the settings if RabbitMQ is installed. C(started) starts a stopped node. C(current) does
        the same, and restarts a node that runs with former settings.
  files:
    type: dict
    default: {}
    description: Path of every settings file to its content. C(current) compares them in check mode.
  live_files: {type: list, elements: path, default: [], description: Files whose change needs no restart.}
  cookie: {type: str, default: "", description: "Erlang cookie, written to a node without data only."}
author: frota
"""

EXAMPLES = """
- rabbitmq_node:
    node: rabbit@broker-1
    files: {/etc/rabbitmq/rabbitmq.conf: "{{ lookup('ansible.builtin.template', 'rabbitmq.conf.j2') }}"}
  register: __node
- rabbitmq_node: {node: rabbit@broker-1, state: current}
"""

RETURN = """
node_state:
  type: str
  returned: success
  description:
    - State of the node before the module started it. C(bare), not installed; C(blank), without data; C(stopped), not
      active; C(outdated), started before its settings last changed; C(running), active with its settings.
newer:
  type: list
  elements: str
  returned: success
  description: Files that changed after the start of an outdated node.
"""

UNIT, SOCKET = "rabbitmq-server.service", "epmd.socket"
# A change of any of these files needs a restart.
RESTART_PATHS = (
    "etc/rabbitmq",
    f"etc/systemd/system/{UNIT}.d",
    f"etc/systemd/system/{SOCKET}.d",
    "etc/frota/credentials/rabbitmq.key",
)
FILE_MODE = 0o644
OWNER = "rabbitmq"
STARTUP_TIMEOUT_S, QUORUM_TIMEOUT_S = 60, 300  # timeouts of a node's startup and of its queues' synchronization
JOURNAL_LINES = 30


@dataclass(frozen=True)
class Node:
    """The desired state of the node; `root` is the root folder of the host's files."""

    params: Mapping[str, Any]
    root: Path = Path("/")

    @property
    def cookie_file(self) -> Path:
        return self.root / "var/lib/rabbitmq/.erlang.cookie"

    @property
    def is_installed(self) -> bool:
        return (self.root / "usr/lib/systemd/system" / UNIT).exists()

    @property
    def is_blank(self) -> bool:
        return not (self.root / "var/lib/rabbitmq/mnesia" / self.params["node"]).exists()

    def files(self) -> dict[Path, str]:
        """Return every file with its desired content."""
        return {self.root / path.lstrip("/"): text for path, text in self.params["files"].items()}

    def changed_files(self) -> dict[Path, str]:
        """Return the files whose content differs, with their desired content."""
        return {path: text for path, text in self.files().items() if content(path) != text}

    def with_wrong_mode(self) -> list[Path]:
        """Return the files whose mode differs."""
        return [path for path in self.files() if path.exists() and path.stat().st_mode & 0o7777 != FILE_MODE]

    def lacks_cookie(self) -> bool:
        """Tell whether the cookie has to be written. A node with data keeps the cluster's cookie."""
        return bool(self.params["cookie"]) and self.is_blank and content(self.cookie_file) != self.params["cookie"]

    def newer(self, started: float) -> Iterator[str]:
        """Yield the files that changed after the node's start, or another reason why it is outdated."""
        latest = datetime.now(UTC).timestamp() + CLOCK_TOLERANCE_S
        live = {self.root / path.lstrip("/") for path in self.params["live_files"]}
        if started > latest:
            yield f"the clock was ahead at its start: {datetime.fromtimestamp(started, UTC)}"
        for path in self._restart_files():
            if path not in live and started < path.lstat().st_mtime <= latest:
                yield str(path)
        yield from (str(path) for path in self.changed_files() if path not in live)

    def _restart_files(self) -> Iterator[Path]:
        for parent in (self.root / name for name in RESTART_PATHS):
            yield from sorted(path for path in (parent, *parent.rglob("*")) if path.is_file())

    def state(self, unit: Mapping[str, str]) -> tuple[str, list[str]]:
        """Return the node's state by its files and its unit's properties, and why it is outdated."""
        if not self.is_installed:
            return "bare", []
        if self.is_blank:
            return "blank", []
        if unit["ActiveState"] not in ("active", "reloading"):
            return "stopped", []
        newer = sorted(set(self.newer(seconds(unit["InactiveExitTimestamp"]))))
        return ("outdated" if newer else "running"), newer

    def write(self) -> None:
        """Write the files and the cookie."""
        for path, text in self.changed_files().items():
            if not path.parent.exists():
                path.parent.mkdir()
                path.parent.chmod(0o755)
            write(path, text, own_access(FILE_MODE))
        for path in self.with_wrong_mode():
            path.chmod(FILE_MODE)
        if self.lacks_cookie():
            user = pwd.getpwnam(OWNER)
            write(self.cookie_file, self.params["cookie"], Access(0o400, user.pw_uid, user.pw_gid))


def diff(node: Node, action: str) -> Iterator[dict[str, str]]:
    """Yield every difference in the format of Ansible's --diff, without the cookie itself."""
    if action:
        yield {"before_header": "systemd", "after_header": "systemd", "before": "", "after": f"{action} {UNIT}\n"}
    if node.params["state"] != "configured":
        return
    for path, text in node.changed_files().items():
        yield diff_item(path, content(path) or "", text)
    for path in node.with_wrong_mode():
        yield diff_item(path, f"mode {path.stat().st_mode & 0o7777:04o}\n", f"mode {FILE_MODE:04o}\n")
    if node.lacks_cookie():
        yield diff_item(node.cookie_file, "", "the cookie of the cluster\n")


def action_for(desired: str, state: str) -> str:
    """Return the action for a node, `start`, `restart` or empty."""
    if desired != "configured" and state in ("blank", "stopped"):
        return "start"
    return "restart" if desired == "current" and state == "outdated" else ""


class Host:
    """Runs commands of RabbitMQ and systemd. Every method raises Fault."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def properties(self) -> dict[str, str]:
        unit: dict[str, str] = properties(self._module, [UNIT], ["ActiveState", "InactiveExitTimestamp"])[UNIT]
        return unit

    def start(self) -> None:
        """Start the node with the current settings; return when it serves clients."""
        self._run("systemctl", "daemon-reload")
        self._run("systemctl", "stop", UNIT, "epmd.service", SOCKET)
        self._module.run_command(["epmd", "-kill"])  # an epmd that a command started before the settings existed
        self._run("systemctl", "start", SOCKET)
        self._run("systemctl", "enable", "--quiet", UNIT, SOCKET)
        try:
            self._run("systemctl", "start", UNIT)
        except Fault as fault:
            log = journal(self._module, UNIT, JOURNAL_LINES)
            raise Fault(f"the broker does not start. End of its journal:\n{log}") from fault

    def restart(self) -> None:
        """Wait until all queues keep their quorum without this node, drain it, and restart it."""
        if self._succeeds("rabbitmqctl", "--quiet", "await_startup", "--timeout", str(STARTUP_TIMEOUT_S)):
            wait = ["await_online_quorum_plus_one", "--timeout", str(QUORUM_TIMEOUT_S)]
            if not self._succeeds("rabbitmq-upgrade", "--quiet", *wait):
                reason = "not restarted, because a queue would lose its quorum without this node"
                raise Fault(f"{reason}: see rabbitmqctl cluster_status, start the missing node, and run this again")
            self._run("rabbitmq-upgrade", "--quiet", "drain")
        self.start()

    def _succeeds(self, *command: str) -> bool:
        return bool(self._module.run_command(list(command))[0] == 0)

    def _run(self, *command: str) -> None:
        code, out, err = self._module.run_command(list(command), umask=0o022)
        if code:
            raise Fault(f"{' '.join(command)}: {(err or out).strip()}")


def apply_state(node: Node, host: Host, *, check: bool) -> dict[str, Any]:
    """Apply the desired state to the node and return the module's result. Raises Fault."""
    state, newer = node.state(host.properties())
    action = action_for(node.params["state"], state)
    differences = list(diff(node, action))
    result = {"changed": bool(differences), "diff": differences, "node_state": state, "newer": newer}
    if check or state == "bare":
        return result
    actions: dict[str, Callable[[], None]] = {"start": host.start, "restart": host.restart}
    if node.params["state"] == "configured":
        node.write()
    elif action:
        actions[action]()
    return result


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["configured", "started", "current"], "default": "configured"},
            "files": {"type": "dict", "default": {}},
            "live_files": {"type": "list", "elements": "path", "default": []},
            "cookie": {"type": "str", "default": "", "no_log": True},
        },
        supports_check_mode=True,
    )
    try:
        result = apply_state(Node(module.params), Host(module), check=module.check_mode)
    except Fault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
