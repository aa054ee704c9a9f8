"""The running fleet as a whole: its hosts, the readings that it stored, and playbooks that run on it."""

import json
import os
import re
import shutil
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from .hosts import Host, call

_LABEL = "label=frota_network=fleet"  # of the fleet's hosts; those of Molecule's scenarios have others
_PLAY_TIMEOUT_S = 1800  # for a playbook that hangs; none takes a third of it
# Plays that run on every host, whether it differs from its description or not.
_PLAYS_ON_EVERY_HOST = {
    "Compare every host with its description",
    "Drop the record of the systems to configure",
    "Record the state of the systems",
    "Require localhost in the limit",
    "Check the tags",
}
_Invocations = dict[tuple[str, str], str]


class Outcome(NamedTuple):
    """What one task did on one host."""

    play: str
    task: str
    host: str
    result: dict[str, Any]

    @property
    def changed(self) -> bool:
        """Return whether the task changed something, or would have changed it in check mode."""
        return bool(self.result.get("changed"))

    def diff(self) -> str:
        """Return the differences that --diff shows: the texts before, then those after."""
        results = [self.result, *self.result.get("results", [])]
        diffs = [diff for result in results for diff in _list(result.get("diff"))]
        return "\n".join(f"{diff.get('before', '')}\n-->\n{diff.get('after', '')}" for diff in diffs)


class Played(NamedTuple):
    """A playbook that succeeded: every outcome, and every host that had one."""

    outcomes: list[Outcome]
    hosts: set[str]

    def changes(self) -> list[str]:
        """Return a line for each change."""
        return [f"{outcome.host}: {outcome.play}, {outcome.task}" for outcome in self.outcomes if outcome.changed]

    def changed_hosts(self) -> set[str]:
        """Return the hosts on which something changed."""
        return {outcome.host for outcome in self.outcomes if outcome.changed}

    def hosts_of_systems(self) -> set[str]:
        """Return the hosts, besides the control node, on which tasks of systems' roles ran."""
        return {
            outcome.host
            for outcome in self.outcomes
            if outcome.play not in _PLAYS_ON_EVERY_HOST and outcome.host != "localhost"
        }

    def unchanged_systems(self) -> set[str]:
        """Return the systems that the run reported as unchanged."""
        lines = re.findall(r"unchanged: ([\w, ]+)", "\n".join(self._reports()))
        return {name for names in lines for name in names.split(", ")}

    def reported(self, host: str, text: str) -> bool:
        """Return whether the run reported a difference of this host whose text starts with `text`."""
        return any(line.startswith(text) and host in line for line in self._reports())

    def _reports(self) -> list[str]:
        task = "Show changed and unchanged systems"
        messages = [outcome.result.get("msg") for outcome in self.outcomes if outcome.task == task]
        return [line for lines in messages if lines for line in lines]


class NoFleetError(Exception):
    """There is no fleet to test."""


class Fleet:
    """The fleet of a checkout; `sockets` is a folder for SSH's shared connections. Raises NoFleetError."""

    def __init__(self, root: Path, sockets: Path) -> None:
        self.root, self._sockets, self._ssh_config = root, sockets, root / ".local/ssh/config"
        self.read_inventory()

    def read_inventory(self) -> None:
        """Read the inventory: hosts, addresses and ports as they are now."""
        if not self._ssh_config.exists():
            raise NoFleetError
        command = [str(self.root / ".venv/bin/ansible-inventory"), "--list"]
        listed = call(command, cwd=self.root)
        inventory = json.loads(listed.stdout or "{}", object_hook=_plain)
        names = inventory.get("fleet", {}).get("hosts", [])
        if not names:
            raise NoFleetError
        variables = inventory["_meta"]["hostvars"]
        self.members = {name: self._host(name, variables[name]["ec2_instance_id"]) for name in names}
        ports = variables[names[0]]
        self.port = int(ports["sensors_port"])
        list_ports = ("list_port", "list_watch_port", "list_clear_port")
        self.list_port, self.watch_port, self.clear_port = (int(ports[port]) for port in list_ports)
        image_ports = ("images_port", "images_clear_port", "rabbitmq_port")
        self.images_port, self.images_clear_port, self.rabbitmq_port = (int(ports[port]) for port in image_ports)
        self.cpu_port = int(ports["cpu_port"])
        peers_ports = ("peers_port", "peers_clear_port", "mariadb_port")
        self.peers_port, self.peers_clear_port, self.mariadb_port = (int(ports[port]) for port in peers_ports)
        self.journal_port = int(ports["observer_journal_port"])
        self.embedded_aws = self._host("embedded-aws", "embedded-aws")
        self.server = self.members[inventory["sensor_server"]["hosts"][0]]
        self.sensors = [self.members[name] for name in sorted(inventory["sensor_client"]["hosts"])]
        self.list_server = self.members[inventory["list_server"]["hosts"][0]]
        self.cpu_server = self.members[inventory["cpu_server"]["hosts"][0]]
        self.brokers = [self.members[name] for name in sorted(inventory["broker"]["hosts"])]
        self.image_producer = self.members[inventory["image_producer"]["hosts"][0]]
        self.image_workers = [self.members[name] for name in sorted(inventory["image_worker"].get("hosts", []))]
        self.database = self.members[inventory["database"]["hosts"][0]]
        self.observer = self.members[inventory["observer"]["hosts"][0]]
        self.peer_servers = [self.members[name] for name in sorted(inventory["peer_server"]["hosts"])]
        self.peer_workers = [self.members[name] for name in sorted(inventory["peer_worker"].get("hosts", []))]
        # Hosts that are only clients.
        others = {self.list_server, self.image_producer, self.observer, *self.peer_servers}
        self.list_client, self.image_client, self.peer_client = (
            next(self.members[name] for name in inventory[group]["hosts"] if self.members[name] not in others)
            for group in ("list_client", "image_client", "peer_client")
        )

    def _host(self, name: str, instance: str) -> Host:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": 5,
            # A host that reboots takes its shared connection with it.
            "ServerAliveInterval": 2,
            "ServerAliveCountMax": 2,
            "ControlMaster": "auto",
            "ControlPersist": 60,
            "ControlPath": self._sockets / instance,
            "LogLevel": "ERROR",
        }
        words = [word for option, value in options.items() for word in ("-o", f"{option}={value}")]
        ssh = ("ssh", "-F", str(self._ssh_config), *words, name)
        config = call([*ssh, "-G"]).stdout
        return Host(name, re.findall(r"^hostname (.*)", config, re.MULTILINE)[0], instance, ssh)

    @property
    def systems(self) -> set[str]:
        """Every system that a run may skip."""
        return {path.parts[-3] for path in self.root.glob("roles/*/meta/host_state.yml")}

    @property
    def hosts(self) -> list[Host]:
        """Every host that playbooks manage."""
        return [*self.members.values(), self.embedded_aws]

    def play(self, *words: str) -> Played:
        """Run a playbook as `make` does; if it fails, the test fails."""
        environ = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
        command = [str(self.root / "tools" / "play"), *words]
        done = call(command, _PLAY_TIMEOUT_S, cwd=self.root, env=environ)
        assert done.returncode == 0, f"{words} failed:\n{done.stderr[-2000:]}\n{done.stdout[-6000:]}"
        played = json.loads(done.stdout)
        outcomes = [
            Outcome(play["play"]["name"], task["task"]["name"], host, result)
            for play in played["plays"]
            for task in play["tasks"]
            for host, result in task["hosts"].items()
        ]
        return Played(outcomes, set(played["stats"]))

    def invocations(self) -> _Invocations:
        """Return the invocation id of every unit of ours on every host, which changes with each start."""
        return {
            (host.name, unit): properties["InvocationID"]
            for host in self.hosts
            for unit, properties in host.show("InvocationID").items()
        }

    def restarted_since(self, before: _Invocations) -> set[tuple[str, str]]:
        """Return the units that were restarted, added or removed since then."""
        now = self.invocations()
        return {unit for unit in before.keys() | now.keys() if before.get(unit) != now.get(unit)}

    def instances_of_hosts(self) -> set[str]:
        """Return the instances that have a host on this machine, running or not."""
        return set(self._podman("ps", "--all", "--filter", _LABEL, "--format", "{{.Labels.frota_instance}}").split())

    def run_beside_ssh(self, host: Host, *words: str) -> None:
        """Run a command on a host without its SSH server, which may be down."""
        self._podman("exec", self._container(host), *words)

    @property
    def peer_workers_per_host(self) -> int:
        """The number of workers that the role runs on a host."""
        return len(self.peer_workers[0].show(units="'frota-peer-worker@*.service'"))

    @property
    def metrics_ports(self) -> dict[str, set[int]]:
        """The ports of every host at which the observer scrapes its services."""
        workers = range(9411, 9411 + self.peer_workers_per_host)
        services = [
            (list(self.members.values()), {9406}),
            ([self.server], {9401}),
            (self.sensors, {9407, 9408}),
            ([self.list_server], {9402}),
            ([self.image_producer], {9403}),
            (self.image_workers, {9404}),
            ([self.cpu_server], {9405}),
            (self.brokers, {15692}),
            (self.peer_servers, {9409}),
            ([self.observer], {9410}),
            (self.peer_workers, set(workers)),
        ]
        ports: dict[str, set[int]] = {name: set() for name in self.members}
        for hosts, of_service in services:
            for host in hosts:
                ports[host.name] |= of_service
        return ports

    def power_off(self, host: Host) -> None:
        """End a host without a word, as when its machine is lost; it does not start again by itself."""
        self._podman("stop", "--time=0", self._container(host))

    def _container(self, host: Host) -> str:
        instance = f"label=frota_instance={host.instance}"
        return self._podman("ps", "--quiet", "--filter", _LABEL, "--filter", instance).strip()

    def _podman(self, *words: str) -> str:
        done = call([str(self.root / ".local/bin/podman"), *words])
        assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done.stdout

    def switch_off(self) -> None:
        """Leave what a restart of this machine leaves: files, but no running host, no mount and no route."""
        podman = self.root / ".local/bin/podman"
        self._podman("stop", "--all", "--time=8")
        run = re.findall(r"^run=(/run/frota-.*)$", podman.read_text(), re.MULTILINE)[0]
        network = (self.root / ".local/fleet.cidr").read_text().strip()
        # Without an own cgroup view nothing is mounted there, and there is nothing to unmount.
        call(["umount", "--lazy", "--recursive", run])
        shutil.rmtree(run)
        gone = call(["ip", "route", "del", "unreachable", network])
        assert gone.returncode == 0, gone.stderr

    def history(self, since: float) -> list[dict[str, Any]]:
        """Return the readings that the server stored since a time, in its order."""
        start = datetime.fromtimestamp(since, UTC).isoformat()
        printed = self.server.run(f"frota sensors history --port {self.port} --since {start} --last 1000000 --json")
        return [json.loads(line) for line in printed.splitlines()]

    def numbers(self, since: float) -> dict[str, list[int]]:
        """Return the sequence numbers of the readings that were stored since a time, by sensor."""
        numbers: dict[str, list[int]] = defaultdict(list)
        for reading in self.history(since):
            if "number" in reading:
                numbers[reading["sensor"]].append(reading["number"])
        return numbers


def _plain(mapping: dict[str, Any]) -> Any:
    """Return a text that Ansible marks as unsafe without the mark."""
    return mapping.get("__ansible_unsafe", mapping)


def _list(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [value] if isinstance(value, dict) else []
