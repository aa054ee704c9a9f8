#!/usr/bin/python3
"""One node of a broker: its settings, and whether it runs with them."""

import pwd
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]  # Ansible carries no types
from ansible.module_utils.host_files import (  # type: ignore[import-untyped]  # found by Ansible
    AHEAD_SECONDS,
    Access,
    Fault,
    content,
    ours,
    shown,
    write,
)
from ansible.module_utils.systemd_units import (  # type: ignore[import-untyped]  # found by Ansible
    journal,
    properties,
    seconds,
)

DOCUMENTATION = """
module: rabbitmq_node
short_description: One node of a broker, its settings and whether it runs with them
description:
  - Writes the settings that differ, says what the node is, and starts or restarts it where that is asked for and
    needed.
  - The node's state is found on the host itself, by the times of its files and of its start, so that a restart that an
    interrupted run did not make is made by the next one.
  - Before a restart it waits until every queue has a majority without the node, and hands over what the node leads.
  - Check mode reports the same changes and the same C(diff) without making them.
  - A node that runs with its settings costs no command of Erlang's.
options:
  node: {type: str, required: true, description: "Name of the node, C(rabbit@HOST)."}
  state:
    type: str
    choices: [configured, started, current]
    default: configured
    description:
      - C(configured) writes the settings, save for a node that is not installed. C(started) starts a node that does not
        run. C(current) does that too, and restarts a node that runs with older settings.
  files:
    type: dict
    default: {}
    description: Path of every file of settings to its content. A preview of C(current) has them to compare with.
  live_files: {type: list, elements: path, default: [], description: Those of them that take no restart.}
  cookie: {type: str, default: "", description: "Secret of the cluster, for a node that has stored nothing yet."}
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
    - What the node was before it was started. C(bare) is not installed, C(blank) has stored nothing yet, C(stopped)
      does not run, C(outdated) was started before its settings last changed, C(running) runs with them.
newer:
  type: list
  elements: str
  returned: success
  description: Why an outdated node is so.
"""

UNIT, SOCKET = "rabbitmq-server.service", "epmd.socket"
# A change in any of them takes a restart.
READ_AT_START = (
    "etc/rabbitmq",
    f"etc/systemd/system/{UNIT}.d",
    f"etc/systemd/system/{SOCKET}.d",
    "etc/frota/credentials/rabbitmq.key",
)
MODE = 0o644
OWNER = "rabbitmq"
STARTUP_SECONDS, QUORUM_SECONDS = 60, 300  # how long a node that is up may take to boot, and its queues to catch up
JOURNAL_LINES = 30


@dataclass(frozen=True)
class Node:
    """The node as it should be; `root` is the folder under which the host's files are."""

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
        """Return every file with the content that it should have."""
        return {self.root / path.lstrip("/"): text for path, text in self.params["files"].items()}

    def differing(self) -> dict[Path, str]:
        """Return the files whose content differs, and the content that they should have."""
        return {path: text for path, text in self.files().items() if content(path) != text}

    def loose(self) -> list[Path]:
        """Return the files whose mode differs."""
        return [path for path in self.files() if path.exists() and path.stat().st_mode & 0o7777 != MODE]

    def lacks_cookie(self) -> bool:
        """Tell whether the secret is another one. A node that has something keeps the one that the others know."""
        return bool(self.params["cookie"]) and self.is_blank and content(self.cookie_file) != self.params["cookie"]

    def newer(self, started: float) -> Iterator[str]:
        """Yield what the node would read if it were started now, and has not read."""
        soon = datetime.now(UTC).timestamp() + AHEAD_SECONDS
        live = {self.root / path.lstrip("/") for path in self.params["live_files"]}
        if started > soon:
            yield f"the clock was ahead when it was started: {datetime.fromtimestamp(started, UTC)}"
        for path in self._read_at_start():
            if path not in live and started < path.lstat().st_mtime <= soon:
                yield str(path)
        yield from (str(path) for path in self.differing() if path not in live)

    def _read_at_start(self) -> Iterator[Path]:
        for place in (self.root / name for name in READ_AT_START):
            yield from sorted(path for path in (place, *place.rglob("*")) if path.is_file())

    def state(self, shown: Mapping[str, str]) -> tuple[str, list[str]]:
        """Return what the node is by its files and what systemd shows of its unit, and why it is outdated."""
        if not self.is_installed:
            return "bare", []
        if self.is_blank:
            return "blank", []
        if shown["ActiveState"] not in ("active", "reloading"):
            return "stopped", []
        newer = sorted(set(self.newer(seconds(shown["InactiveExitTimestamp"]))))
        return ("outdated" if newer else "running"), newer

    def write(self) -> None:
        """Make the files what they should be."""
        for path, text in self.differing().items():
            if not path.parent.exists():
                path.parent.mkdir()
                path.parent.chmod(0o755)
            write(path, text, ours(MODE))
        for path in self.loose():
            path.chmod(MODE)
        if self.lacks_cookie():
            user = pwd.getpwnam(OWNER)
            write(self.cookie_file, self.params["cookie"], Access(0o400, user.pw_uid, user.pw_gid))


def diff(node: Node, action: str) -> Iterator[dict[str, str]]:
    """Yield every difference as Ansible's --diff shows it; of the secret, only that it is another one."""
    if action:
        yield {"before_header": "systemd", "after_header": "systemd", "before": "", "after": f"{action} {UNIT}\n"}
    if node.params["state"] != "configured":
        return
    for path, text in node.differing().items():
        yield shown(path, content(path) or "", text)
    for path in node.loose():
        yield shown(path, f"mode {path.stat().st_mode & 0o7777:04o}\n", f"mode {MODE:04o}\n")
    if node.lacks_cookie():
        yield shown(node.cookie_file, "", "the secret of the cluster\n")


def action_for(wanted: str, state: str) -> str:
    """Return what has to be done to a node: start, restart, or nothing."""
    if wanted != "configured" and state in ("blank", "stopped"):
        return "start"
    return "restart" if wanted == "current" and state == "outdated" else ""


class Host:
    """Runs the broker's and systemd's commands. Every method raises Fault."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def properties(self) -> dict[str, str]:
        found: dict[str, str] = properties(self._module, [UNIT], ["ActiveState", "InactiveExitTimestamp"])[UNIT]
        return found

    def start(self) -> None:
        """Run the node with the settings that are there; come back when it serves clients."""
        self._run("systemctl", "daemon-reload")
        self._run("systemctl", "stop", UNIT, "epmd.service", SOCKET)
        self._module.run_command(["epmd", "-kill"])  # one that a command started, before the settings were there
        self._run("systemctl", "start", SOCKET)
        self._run("systemctl", "enable", "--quiet", UNIT, SOCKET)
        try:
            self._run("systemctl", "start", UNIT)
        except Fault as fault:
            said = journal(self._module, UNIT, JOURNAL_LINES)
            raise Fault(f"the broker does not start. Its journal ends:\n{said}") from fault

    def restart(self) -> None:
        """Wait until the others can do without this node, let it hand over what it leads, and start it anew."""
        if self._succeeds("rabbitmqctl", "--quiet", "await_startup", "--timeout", str(STARTUP_SECONDS)):
            waiting = ["await_online_quorum_plus_one", "--timeout", str(QUORUM_SECONDS)]
            if not self._succeeds("rabbitmq-upgrade", "--quiet", *waiting):
                reason = "a queue would have no majority without this node, so it was not restarted"
                raise Fault(f"{reason}: see rabbitmqctl cluster_status, start the node that is missing, run this again")
            self._run("rabbitmq-upgrade", "--quiet", "drain")
        self.start()

    def _succeeds(self, *words: str) -> bool:
        return bool(self._module.run_command(list(words))[0] == 0)

    def _run(self, *words: str) -> None:
        code, out, err = self._module.run_command(list(words), umask=0o022)
        if code:
            raise Fault(f"{' '.join(words)}: {(err or out).strip()}")


def bring_about(node: Node, host: Host, *, check: bool) -> dict[str, Any]:
    """Make the node what it should be, and return what the module tells. Raises Fault."""
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
    """Run as a module of Ansible's."""
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
        result = bring_about(Node(module.params), Host(module), check=module.check_mode)
    except Fault as fault:
        module.fail_json(msg=str(fault))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
