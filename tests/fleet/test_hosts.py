"""Hosts: every unit runs sandboxed, no other ports are open, and no secret is readable."""

import os
import re

from .aws import client
from .fleet import Fleet
from .hosts import SERVICES, TIMEOUT_S, Host

# The limit for `systemd-analyze security`, of 10.
_MAX_EXPOSURE = 1.4
_SSH = 22
_EMBEDDED_AWS = 4566
# Variables that name the folder or file of a secret.
_SECRET_LOCATION, _KEY_FILE = re.compile("CREDENTIALS_DIRECTORY|[A-Z_]+_KEY_FILE"), re.compile("[A-Z_]+_KEY_FILE=")
_SECRET = re.compile(r"secret|password|passwd|token|credential|private|access_?key|api_?key", re.IGNORECASE)


def test_every_unit_is_active_and_enabled(fleet: Fleet) -> None:
    """Every unit of ours runs and starts at boot."""
    states = {
        (host.name, unit): (state["ActiveState"], state["UnitFileState"])
        for host in fleet.hosts
        for unit, state in host.show("ActiveState", "UnitFileState").items()
    }
    assert {host for host, _ in states} == {host.name for host in fleet.hosts}
    assert {unit: state for unit, state in states.items() if state != ("active", "enabled")} == {}


def test_hosts_have_every_processor(fleet: Fleet) -> None:
    """Every host may use every processor of this machine."""
    processors = len(os.sched_getaffinity(0))
    assert {host.name: int(host.run("nproc")) for host in fleet.hosts} == dict.fromkeys(
        (host.name for host in fleet.hosts), processors
    )


def test_sensor_hosts_run_both_kinds(fleet: Fleet) -> None:
    """Every sensor host runs a temperature and a humidity sensor."""
    kinds = {"frota-sensor-client@temperature.service", "frota-sensor-client@humidity.service"}
    assert fleet.sensors
    assert {host.name: kinds - set(host.services()) for host in fleet.sensors} == {
        host.name: set() for host in fleet.sensors
    }


def test_unit_files_are_valid(fleet: Fleet) -> None:
    """`systemd-analyze verify` has no complaint about our unit files."""
    # It exits 0 on a misspelt key, so that any output is a failure.
    units = {host: " ".join(host.services()) for host in fleet.hosts}
    assert all(units.values())
    assert {host.name: host.run(f"systemd-analyze verify {services} 2>&1") for host, services in units.items()} == {
        host.name: "" for host in units
    }


def test_every_service_is_sandboxed(fleet: Fleet) -> None:
    """The exposure level of every service of ours is low."""
    levels = {}
    for host in fleet.hosts:
        for unit in host.services():
            table = host.run(f"systemd-analyze security --no-pager {unit}")
            levels[host.name, unit] = float(re.findall(r"exposure level for .*: ([\d.]+)", table)[0])
    assert {host for host, _ in levels} == {host.name for host in fleet.hosts}
    assert {unit: level for unit, level in levels.items() if level > _MAX_EXPOSURE} == {}


def test_only_declared_ports_are_open(fleet: Fleet) -> None:
    """Hosts listen on SSH and on the ports of their services only."""
    declared = {host.name: {_SSH} for host in fleet.hosts}
    declared[fleet.server.name] |= {fleet.port}
    declared[fleet.list_server.name] |= {fleet.list_port, fleet.watch_port, fleet.clear_port}
    declared[fleet.cpu_server.name] |= {fleet.cpu_port}
    declared[fleet.image_producer.name] |= {fleet.images_port, fleet.images_clear_port}
    for host in fleet.brokers:
        declared[host.name] |= {fleet.rabbitmq_port}
    declared[fleet.database.name] |= {fleet.mariadb_port}
    for host in fleet.peer_servers:
        declared[host.name] |= {fleet.peers_port, fleet.peers_clear_port}
    declared[fleet.observer.name] |= {fleet.journal_port}
    for name, ports in fleet.metrics_ports.items():
        declared[name] |= ports
    declared[fleet.embedded_aws.name] |= {_EMBEDDED_AWS}
    assert {host.name: _listening(host) for host in fleet.hosts} == declared


def _listening(host: Host) -> set[int]:
    """Return the ports, TCP and UDP, that other hosts can reach."""
    addresses = [line.split()[4] for line in host.run("ss --no-header --listening --tcp --udp --numeric").splitlines()]
    return {
        int(port) for address, port in (text.rsplit(":", 1) for text in addresses) if not address.startswith("127.")
    }


def test_security_groups(fleet: Fleet) -> None:
    """Every open port is allowed by some security group, except the clear-text ports."""
    # tests/cloudformation checks which instance has which group: the embedded AWS does not show it.
    groups = client(fleet, "ec2").describe_security_groups()["SecurityGroups"]
    rules = [rule for group in groups for rule in group["IpPermissions"] if "FromPort" in rule]
    allowed = {port for rule in rules for port in range(rule["FromPort"], rule["ToPort"] + 1)}
    used = {port for host in fleet.members.values() for port in _listening(host)}
    assert used - allowed == {fleet.clear_port, fleet.images_clear_port, fleet.peers_clear_port}


def test_no_secret_in_the_environment(fleet: Fleet) -> None:
    """No process of ours has a secret in its environment."""
    for host in fleet.hosts:
        units = host.show("MainPID", "ActiveState", units=SERVICES)
        for unit, state in units.items():
            names = re.findall(r"(?:^|\0)([^=\0]+)=", host.run(f"cat /proc/{state['MainPID']}/environ"))
            assert "PATH" in names, f"{host.name}: {unit}"
            secrets = [name for name in names if _SECRET.search(name) and not _SECRET_LOCATION.fullmatch(name)]
            assert secrets == [], f"{host.name}: {unit}"


def test_no_secret_in_env_files(fleet: Fleet) -> None:
    """No env file contains a secret."""
    # The env files of frota; a broker has others.
    written = {
        host.name: host.run("cat /etc/frota/*.env") for host in fleet.members.values() if host not in fleet.brokers
    }
    assert all(text.count("=") > 1 for text in written.values())
    suspects = [(host, line) for host, text in written.items() for line in text.splitlines() if _SECRET.search(line)]
    assert [(host, line) for host, line in suspects if not _KEY_FILE.match(line)] == []


def test_secret_keys_are_not_exposed(fleet: Fleet) -> None:
    """No setting, unit or journal of any host contains a secret key."""
    keys = [host.try_to_run("cat /etc/frota/credentials/*.key") for host in fleet.members.values()]
    # A line of 64 hexadecimal digits, or the lines of a PEM file between its first and its last.
    secrets = re.findall(r"^[\w+/=]{16,}$", "\n".join(keys), re.MULTILINE)
    assert len(secrets) == len(set(secrets)) > 3 + len(fleet.brokers) + len(fleet.image_workers)
    places = "cat /etc/frota/*.env /etc/systemd/system/*.service /proc/[0-9]*/environ; journalctl --output=export"
    for host in fleet.members.values():
        # The keys are sent over standard input, because sudo logs command lines.
        with host.start(f"exec 3<&0; ({places}) 2>/dev/null | grep --text --count --file=/dev/fd/3 || true") as search:
            count, _ = search.communicate("\n".join(secrets) + "\n", TIMEOUT_S)
        assert count.strip() == "0", host.name
