"""Every unit of ours runs, shut in, and a host shows the network nothing but what is declared."""

import os
import re

from .aws import client
from .fleet import Fleet
from .hosts import PATIENCE, SERVICES, Host

# The most that `systemd-analyze security` may say of a unit of ours, of 10.
_EXPOSURE = 1.4
_SSH = 22
_EMBEDDED_AWS = 4566
# The name of a folder or file is none.
_WHERE_SECRETS_ARE, _KEY_FILE = re.compile("CREDENTIALS_DIRECTORY|[A-Z_]+_KEY_FILE"), re.compile("[A-Z_]+_KEY_FILE=")
_SECRET = re.compile(r"secret|password|passwd|token|credential|private|access_?key|api_?key", re.IGNORECASE)


def test_every_unit_runs_and_starts_at_boot(fleet: Fleet) -> None:
    states = {
        (host.name, unit): (state["ActiveState"], state["UnitFileState"])
        for host in fleet.hosts
        for unit, state in host.show("ActiveState", "UnitFileState").items()
    }
    assert {host for host, _ in states} == {host.name for host in fleet.hosts}
    assert {unit: state for unit, state in states.items() if state != ("active", "enabled")} == {}


def test_every_host_has_every_processor_of_this_machine(fleet: Fleet) -> None:
    ours = len(os.sched_getaffinity(0))
    assert {host.name: int(host.run("nproc")) for host in fleet.hosts} == {host.name: ours for host in fleet.hosts}


def test_a_sensor_host_runs_a_sensor_of_each_kind(fleet: Fleet) -> None:
    kinds = {"frota-sensor-client@temperature.service", "frota-sensor-client@humidity.service"}
    assert fleet.sensors
    assert {host.name: kinds - set(host.services()) for host in fleet.sensors} == {
        host.name: set() for host in fleet.sensors
    }


def test_systemd_finds_nothing_to_say_about_our_unit_files(fleet: Fleet) -> None:
    # It exits 0 on a misspelt key: any output is a fault.
    units = {host: " ".join(host.services()) for host in fleet.hosts}
    assert all(units.values())
    assert {host.name: host.run(f"systemd-analyze verify {services} 2>&1") for host, services in units.items()} == {
        host.name: "" for host in units
    }


def test_every_service_is_shut_in(fleet: Fleet) -> None:
    levels = {}
    for host in fleet.hosts:
        for unit in host.services():
            table = host.run(f"systemd-analyze security --no-pager {unit}")
            levels[host.name, unit] = float(re.findall(r"exposure level for .*: ([\d.]+)", table)[0])
    assert {host for host, _ in levels} == {host.name for host in fleet.hosts}
    assert {unit: level for unit, level in levels.items() if level > _EXPOSURE} == {}


def test_nothing_listens_on_a_host_but_ssh_and_what_is_declared(fleet: Fleet) -> None:
    declared = {host.name: {_SSH} for host in fleet.hosts}
    declared[fleet.server.name] |= {fleet.port}
    declared[fleet.list_server.name] |= {fleet.list_port, fleet.watch_port, fleet.clear_port}
    declared[fleet.cpu_server.name] |= {fleet.cpu_port}
    declared[fleet.image_producer.name] |= {fleet.images_port, fleet.images_clear_port}
    for host in fleet.brokers:
        declared[host.name] |= {fleet.rabbitmq_port}
    declared[fleet.embedded_aws.name] |= {_EMBEDDED_AWS}
    assert {host.name: _listening(host) for host in fleet.hosts} == declared


def _listening(host: Host) -> set[int]:
    """Return the ports, TCP and UDP, at which other hosts could knock."""
    addresses = [line.split()[4] for line in host.run("ss --no-header --listening --tcp --udp --numeric").splitlines()]
    return {int(port) for address, port in (one.rsplit(":", 1) for one in addresses) if not address.startswith("127.")}


def test_security_groups(fleet: Fleet) -> None:
    """Every open port is allowed by some security group, except the clear-text ports."""
    # Whose group is for the templates' own tests: the embedded AWS does not tell.
    groups = client(fleet, "ec2").describe_security_groups()["SecurityGroups"]
    rules = [rule for group in groups for rule in group["IpPermissions"] if "FromPort" in rule]
    let_in = {port for rule in rules for port in range(rule["FromPort"], rule["ToPort"] + 1)}
    used = {port for host in fleet.members.values() for port in _listening(host)}
    assert used - let_in == {fleet.clear_port, fleet.images_clear_port}


def test_no_unit_is_given_a_secret_in_its_environment(fleet: Fleet) -> None:
    for host in fleet.hosts:
        shown = host.show("MainPID", "ActiveState", units=SERVICES)
        for unit, state in shown.items():
            names = re.findall(r"(?:^|\0)([^=\0]+)=", host.run(f"cat /proc/{state['MainPID']}/environ"))
            assert "PATH" in names, f"{host.name}: {unit}"
            telling = [name for name in names if _SECRET.search(name) and not _WHERE_SECRETS_ARE.fullmatch(name)]
            assert telling == [], f"{host.name}: {unit}"


def test_the_environment_files_hold_no_secret(fleet: Fleet) -> None:
    # Of the fleet's own programs; a broker has others.
    written = {
        host.name: host.run("cat /etc/frota/*.env") for host in fleet.members.values() if host not in fleet.brokers
    }
    assert all(text.count("=") > 1 for text in written.values())
    told = [(host, line) for host, text in written.items() for line in text.splitlines() if _SECRET.search(line)]
    assert [(host, line) for host, line in told if not _KEY_FILE.match(line)] == []


def test_secret_keys_are_not_exposed(fleet: Fleet) -> None:
    """No setting, unit or journal of any host contains a secret key."""
    keys = [host.try_to_run("cat /etc/frota/credentials/*.key") for host in fleet.members.values()]
    # A line of 64 hexadecimal digits, or the lines of a PEM file between its first and its last.
    secrets = re.findall(r"^[\w+/=]{16,}$", "\n".join(keys), re.MULTILINE)
    assert len(secrets) == len(set(secrets)) > 3 + len(fleet.brokers) + len(fleet.image_workers)
    places = "cat /etc/frota/*.env /etc/systemd/system/*.service /proc/[0-9]*/environ; journalctl --output=export"
    for host in fleet.members.values():
        # They go there by standard input: a command line is in the journal of sudo.
        with host.start(f"exec 3<&0; ({places}) 2>/dev/null | grep --text --count --file=/dev/fd/3 || true") as looking:
            found, _ = looking.communicate("\n".join(secrets) + "\n", PATIENCE)
        assert found.strip() == "0", host.name
