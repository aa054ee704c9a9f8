"""Drift: the next site.yml detects and repairs changes by hand, and skips systems without changes."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .fleet import Fleet, Played
from .hosts import Host, until

_RECORD = "/var/lib/frota/applied.json"
_NO_RECORD = "no whole run is recorded since the last change"
_SETTINGS = "/etc/frota/frota-sensor-server.env"
_CHANGED, _OLD, _NEW = ("-e", "sensors_max_errors=8"), 'SENSORS_MAX_ERRORS="10"', 'SENSORS_MAX_ERRORS="8"'
_STOP = "systemctl stop frota-sensor-server.socket frota-sensor-server.service"
_KEY = "/etc/frota/credentials/image_client.key"
_CERTIFICATE = "/etc/frota/certificates/image_worker.crt"
_DAY = 86400
pytestmark = pytest.mark.whole


class Drift(NamedTuple):
    """A change by hand on a host: the command, the reported difference, and a check that succeeds after the repair.

    One run repairs all of them, and any of them makes it configure the whole system: that each is detected, only the
    report shows.
    """

    host: str
    change: str
    report: str
    check: str


_DRIFTS = {
    "a unit that was stopped": Drift(
        "server",
        _STOP,
        "sensors: frota-sensor-server.service is inactive",
        "systemctl -q is-active frota-sensor-server.service",
    ),
    "a unit that does not start at boot": Drift(
        "cpu_server",
        "systemctl -q disable frota-cpu-server.service",
        "cpu: frota-cpu-server.service is active, disabled",
        "systemctl -q is-enabled frota-cpu-server.service",
    ),
    "a byte": Drift(
        "list_server",
        "sed -i 's/LIST_MAX_LISTS=.1000/LIST_MAX_LISTS=\"1001/' /etc/frota/frota-list-server.env",
        "list: /etc/frota/frota-list-server.env has changed",
        "grep -q 'LIST_MAX_LISTS=.1000\"' /etc/frota/frota-list-server.env",
    ),
    "a mode": Drift(
        "cpu_server",
        "chmod 0666 /etc/frota/frota-cpu-server.env",
        "cpu: /etc/frota/frota-cpu-server.env has changed",
        "test $(stat --format=%a /etc/frota/frota-cpu-server.env) = 644",
    ),
    "a unit file": Drift(
        "image_producer",
        "sed -i s/^MemoryMax=.*/MemoryMax=infinity/ /etc/systemd/system/frota-image-producer.service",
        "images: /etc/systemd/system/frota-image-producer.service has changed",
        "grep -q ^MemoryMax=1G /etc/systemd/system/frota-image-producer.service",
    ),
    "a link": Drift(
        "list_client",
        "ln -sfn /opt/frota/releases /opt/frota/current",
        "base: /opt/frota/current has changed",
        "/opt/frota/current/bin/frota --help",
    ),
    "a key that was removed": Drift("image_client", f"rm {_KEY}", f"images: {_KEY} is gone", f"test -s {_KEY}"),
    "settings of the broker": Drift(
        "broker",
        "rabbitmqctl -q clear_policy --vhost frota images",
        "rabbitmq: Api(15672).get('definitions') has changed",
        "rabbitmqctl -q list_policies --vhost frota | grep -q '^frota.images[^.]'",
    ),
    "a right in the database": Drift(
        "database",
        "mariadb -e \"UPDATE mysql.tables_priv SET Table_priv = 'Select,Insert,Delete' "
        "WHERE Table_name = 'balance_history'; FLUSH PRIVILEGES\"",
        "mariadb: mariadb --no-defaults",
        'test $(mariadb -BNe "SELECT COUNT(*) FROM mysql.tables_priv '
        "WHERE Table_name = 'balance_history' AND Table_priv LIKE '%Delete%'\") = 0",
    ),
    "settings of an uploader": Drift(
        "observer",
        "rm /etc/systemd/journal-upload.conf.d/frota.conf",
        "observer: /etc/systemd/journal-upload.conf.d/frota.conf is gone",
        "grep -q ^URL=https: /etc/systemd/journal-upload.conf.d/frota.conf",
    ),
    "a drop-in of the host": Drift(
        "image_client",
        "rm /etc/systemd/journald.conf.d/frota.conf",
        "base: /etc/systemd/journald.conf.d/frota.conf is gone",
        "grep -q ^SystemMaxUse= /etc/systemd/journald.conf.d/frota.conf",
    ),
}


def _host(fleet: Fleet, drift: Drift) -> Host:
    host: Host = fleet.brokers[0] if drift.host == "broker" else getattr(fleet, drift.host)
    return host


def _is_repaired(fleet: Fleet, drift: Drift) -> bool:
    return _host(fleet, drift).try_to_run(f"{drift.check} >/dev/null; echo repaired") == "repaired\n"


def _sensor_hosts(fleet: Fleet) -> set[str]:
    return {fleet.server.name, *(host.name for host in fleet.sensors)}


@pytest.fixture(scope="module", autouse=True)
def _restore_setting(fleet: Fleet) -> Iterator[None]:
    yield
    if _OLD not in fleet.server.run(f"cat {_SETTINGS}"):
        fleet.play("site.yml")


@pytest.fixture(scope="module")
def repaired(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Give a run of site.yml after a whole run, a run for one host only, and all of these changes."""
    fleet.play("site.yml")
    fleet.play("playbooks/configure.yml", "--limit", f"localhost,{fleet.sensors[0].name}")
    for drift in _DRIFTS.values():
        _host(fleet, drift).run(drift.change)
        assert not _is_repaired(fleet, drift), drift
    _certify_for_20_days(fleet, fleet.image_workers[0], tmp_path_factory.mktemp("certificate"))
    return fleet.play("site.yml")


@pytest.mark.parametrize("drift", _DRIFTS)
def test_drift_is_detected_and_repaired(fleet: Fleet, repaired: Played, drift: str) -> None:
    """A change by hand is reported, and undone by the same run."""
    assert repaired.reported(_host(fleet, _DRIFTS[drift]).name, _DRIFTS[drift].report)
    assert _is_repaired(fleet, _DRIFTS[drift])


def test_expiring_certificate_is_renewed(fleet: Fleet, repaired: Played) -> None:
    """A certificate that expires within 30 days is reported and renewed."""
    host = fleet.image_workers[0]
    assert repaired.reported(host.name, f"images: {_CERTIFICATE} expires within 30 days")
    host.run(f"openssl x509 -checkend {30 * _DAY} -noout -in {_CERTIFICATE}")


def _certify_for_20_days(fleet: Fleet, host: Host, folder: Path) -> None:
    """Give a host a certificate that expires soon, and make it the recorded state, so that only the expiry differs."""
    key, authority = "/etc/frota/credentials/image_worker.key", fleet.root / ".local/ca"
    request, certificate = folder / "request", folder / "certificate"
    request.write_text(host.run(f"openssl req -new -key {key} -subj /CN=image_worker"))
    signing = ["-CA", f"{authority}/ca.crt", "-CAkey", f"{authority}/ca.key", "-days", "20"]
    command = ["openssl", "x509", "-req", "-in", str(request), *signing, "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    host.run(f"cat >{_CERTIFICATE} <<'END'\n{certificate.read_text()}END")
    _record_current_state(fleet, host)


def _record_current_state(fleet: Fleet, host: Host) -> None:
    """Record the present state of a host as the one that the last run left."""
    code = (fleet.root / "plugins/modules/host_state.py").read_text()
    record = json.loads(host.run(f"cat {_RECORD}"))["images"]
    system = {
        "inputs": record["inputs"],
        "paths": list(record["state"]["files"]),
        "units": ["frota-image-*"],
        "certificates": list(record["ends"]),
    }
    options = {"systems": {"images": system}, "control_node_state": {}, "state": "recorded", "file": _RECORD}
    call = f"run({options | {'check_mode': False}!r})"
    host.run(f"python3 -IS - <<'END_OF_CODE'\n{code}\n{call}\nEND_OF_CODE")


def test_partial_run_leaves_no_record(fleet: Fleet, repaired: Played) -> None:
    """A host that only a partial run configured is configured again by the next whole run."""
    for system in ("base", "sensors", "cpu"):
        assert repaired.reported(fleet.sensors[0].name, f"{system}: {_NO_RECORD}")
    assert fleet.sensors[0].name in repaired.hosts_of_systems()


@pytest.mark.usefixtures("repaired")
def test_record_has_every_file_of_the_roles(fleet: Fleet) -> None:
    """The record of a host has every file that roles wrote there."""
    # Files that are newer than the first boot. Links of units that start at boot are recorded as states of the units.
    places = "/etc/frota /etc/rabbitmq /etc/systemd /opt/frota/current /usr/local/bin"
    find = f"find {places} -newer /etc/machine-id ! -type d ! -path '*.wants/*' 2>/dev/null || true"
    for host in fleet.members.values():
        record = json.loads(host.run(f"cat {_RECORD}"))
        recorded = {path for system in record.values() for path in system["state"]["files"]}
        written = set(host.run(find).splitlines())
        assert written, host.name
        assert written - recorded == set(), host.name


@pytest.mark.usefixtures("repaired")
def test_repaired_fleet_is_skipped(fleet: Fleet) -> None:
    """The run after the repair skips every system, and changes and restarts nothing."""
    before = fleet.invocations()
    played = fleet.play("site.yml")
    assert played.hosts == {host.name for host in fleet.hosts} | {"localhost"}
    assert played.unchanged_systems() == fleet.systems
    assert played.hosts_of_systems() == set()
    assert played.changes() == []
    assert fleet.restarted_since(before) == set()


@pytest.fixture
def _start_server_afterwards(fleet: Fleet) -> Iterator[None]:
    yield
    fleet.server.run("systemctl start frota-sensor-server.socket frota-sensor-server.service")


@pytest.mark.usefixtures("repaired", "_start_server_afterwards")
def test_check_mode(fleet: Fleet) -> None:
    """Check mode shows what would change, changes nothing, and keeps the recorded state."""
    fleet.server.run(_STOP)
    read = f"cat {_RECORD} {_SETTINGS}; systemctl is-active frota-sensor-server.service || true"
    before, units = fleet.server.run(read), fleet.invocations()
    played = fleet.play("site.yml", "--check", "--diff", *_CHANGED)
    assert played.changed_hosts() == {fleet.server.name}
    diffs = [(outcome.host, outcome.diff()) for outcome in played.outcomes if _NEW in outcome.diff()]
    assert [host for host, _ in diffs] == [fleet.server.name]
    assert _OLD in diffs[0][1]
    assert "frota-sensor-server.service" in diffs[0][1]
    assert fleet.server.run(read) == before
    assert fleet.restarted_since(units) == set()


@pytest.fixture(scope="module")
def finished(fleet: Fleet, repaired: Played) -> Played:
    """Give a run after one that was killed half way through a change, and after the loss of the authority."""
    del repaired  # so that nothing else differs
    environ = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
    command = [str(fleet.root / "tools/play"), "site.yml", *_CHANGED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if "Run the sensors" in line:  # the server's host is configured, nothing was verified
                os.killpg(run.pid, signal.SIGKILL)
                break
    assert _NEW in fleet.server.run(f"cat {_SETTINGS}")
    (fleet.root / ".local/ca/ca.crt").unlink()
    return fleet.play("site.yml")


def test_killed_run(fleet: Fleet, finished: Played) -> None:
    """The next run detects a run that was killed, and reverts its change."""
    assert finished.reported(fleet.server.name, f"sensors: {_NO_RECORD}")
    plays = ("Run the sensor server", "Run the sensors")
    changed = {outcome.host for outcome in finished.outcomes if outcome.changed and outcome.play in plays}
    assert changed == {fleet.server.name}
    assert _OLD in fleet.server.run(f"cat {_SETTINGS}")


def test_only_differing_systems_are_configured(fleet: Fleet, finished: Played) -> None:
    """Only systems with differences are configured, each on all its hosts."""
    changed = {"sensors", "certificates", "rabbitmq", "images", "mariadb", "peers", "observer"}
    assert finished.unchanged_systems() == fleet.systems - changed
    # The authority was lost, by which every host knows the observer.
    assert finished.hosts_of_systems() == set(fleet.members)
    configured = {outcome.host for outcome in finished.outcomes if outcome.play == "Run the remote list"}
    assert configured == set()


def test_lost_certificate_authority(fleet: Fleet, finished: Played) -> None:
    """A lost certificate authority is recreated, with every certificate."""
    assert finished.reported("localhost", f"certificates: {fleet.root}/.local/ca/ca.crt is gone")
    authority = (fleet.root / ".local/ca/ca.crt").read_text()
    for host in (fleet.brokers[0], fleet.image_producer, fleet.image_client, fleet.observer, *fleet.peer_servers):
        assert host.run("cat /etc/frota/certificates/ca.crt") == authority, host.name
        certificates = "/etc/frota/certificates/[!c]*.crt"  # all but the authority's
        host.run(f"openssl verify -CAfile /etc/frota/certificates/ca.crt {certificates}")


def test_readings_arrive_after_the_repairs(fleet: Fleet) -> None:
    """After all repairs, the server stores new readings."""
    since = time.time()
    until(lambda: fleet.numbers(since), "no reading arrives")
