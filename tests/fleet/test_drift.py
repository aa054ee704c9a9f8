"""What was changed behind the playbooks' back is seen and mended by the next site.yml, and the rest is left out."""

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
    """Something that is changed by hand on a host: how, what the look has to say, and what succeeds once it is mended.

    One run mends them all, and goes through a system for any of them: that each was seen is told by the look alone.
    """

    host: str
    change: str
    told: str
    mended: str


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


def _is_mended(fleet: Fleet, drift: Drift) -> bool:
    return _host(fleet, drift).try_to_run(f"{drift.mended} >/dev/null; echo mended") == "mended\n"


def _sensor_hosts(fleet: Fleet) -> set[str]:
    return {fleet.server.name, *(host.name for host in fleet.sensors)}


@pytest.fixture(scope="module", autouse=True)
def _setting_as_before(fleet: Fleet) -> Iterator[None]:
    yield
    if _OLD not in fleet.server.run(f"cat {_SETTINGS}"):
        fleet.play("site.yml")


@pytest.fixture(scope="module")
def mended(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Give the run of site.yml that follows on a whole one, on one for one host alone, and on all of these changes."""
    fleet.play("site.yml")
    fleet.play("playbooks/configure.yml", "--limit", f"localhost,{fleet.sensors[0].name}")
    for drift in _DRIFTS.values():
        _host(fleet, drift).run(drift.change)
        assert not _is_mended(fleet, drift), drift
    _certify_for_20_days(fleet, fleet.image_workers[0], tmp_path_factory.mktemp("certificate"))
    return fleet.play("site.yml")


@pytest.mark.parametrize("drift", _DRIFTS)
def test_what_was_changed_by_hand_is_seen_and_mended(fleet: Fleet, mended: Played, drift: str) -> None:
    assert mended.told(_host(fleet, _DRIFTS[drift]).name, _DRIFTS[drift].told)
    assert _is_mended(fleet, _DRIFTS[drift])


def test_a_certificate_near_its_end_is_seen_and_renewed(fleet: Fleet, mended: Played) -> None:
    host = fleet.image_workers[0]
    assert mended.told(host.name, f"images: {_CERTIFICATE} expires within 30 days")
    host.run(f"openssl x509 -checkend {30 * _DAY} -noout -in {_CERTIFICATE}")


def _certify_for_20_days(fleet: Fleet, host: Host, folder: Path) -> None:
    """Give a host a certificate of the fleet's authority that ends soon, and nothing else that would be seen."""
    key, authority = "/etc/frota/credentials/image_worker.key", fleet.root / ".local/ca"
    request, certificate = folder / "request", folder / "certificate"
    request.write_text(host.run(f"openssl req -new -key {key} -subj /CN=image_worker"))
    signing = ["-CA", f"{authority}/ca.crt", "-CAkey", f"{authority}/ca.key", "-days", "20"]
    command = ["openssl", "x509", "-req", "-in", str(request), *signing, "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    host.run(f"cat >{_CERTIFICATE} <<'END'\n{certificate.read_text()}END")
    _record_as_it_is(fleet, host)


def _record_as_it_is(fleet: Fleet, host: Host) -> None:
    """Let the host's record say that what is there now is what the last run left."""
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


def test_a_part_of_a_run_is_not_taken_for_a_whole_one(fleet: Fleet, mended: Played) -> None:
    for system in ("base", "sensors", "cpu"):
        assert mended.told(fleet.sensors[0].name, f"{system}: {_NO_RECORD}")
    assert fleet.sensors[0].name in mended.hosts_of_systems()


@pytest.mark.usefixtures("mended")
def test_whatever_roles_left_on_a_host_is_in_its_record(fleet: Fleet) -> None:
    # What is written after the host's first boot. What starts at boot is told by the units' states.
    places = "/etc/frota /etc/rabbitmq /etc/systemd /opt/frota/current /usr/local/bin"
    found = f"find {places} -newer /etc/machine-id ! -type d ! -path '*.wants/*' 2>/dev/null || true"
    for host in fleet.members.values():
        record = json.loads(host.run(f"cat {_RECORD}"))
        told = {path for system in record.values() for path in system["state"]["files"]}
        left = set(host.run(found).splitlines())
        assert left, host.name
        assert left - told == set(), host.name


@pytest.mark.usefixtures("mended")
def test_a_fleet_that_was_mended_is_left_out_of_the_next_run(fleet: Fleet) -> None:
    before = fleet.invocations()
    played = fleet.play("site.yml")
    assert played.hosts == {host.name for host in fleet.hosts} | {"localhost"}
    assert played.left_out() == fleet.systems
    assert played.hosts_of_systems() == set()
    assert played.changes() == []
    assert fleet.restarted_since(before) == set()


@pytest.fixture
def _runs_afterwards(fleet: Fleet) -> Iterator[None]:
    yield
    fleet.server.run("systemctl start frota-sensor-server.socket frota-sensor-server.service")


@pytest.mark.usefixtures("mended", "_runs_afterwards")
def test_check_mode(fleet: Fleet) -> None:
    """Check mode shows what would change, changes nothing, and keeps the recorded state."""
    fleet.server.run(_STOP)
    read = f"cat {_RECORD} {_SETTINGS}; systemctl is-active frota-sensor-server.service || true"
    before, units = fleet.server.run(read), fleet.invocations()
    played = fleet.play("site.yml", "--check", "--diff", *_CHANGED)
    assert played.changed_hosts() == {fleet.server.name}
    shown = [(one.host, one.diff()) for one in played.outcomes if _NEW in one.diff()]
    assert [host for host, _ in shown] == [fleet.server.name]
    assert _OLD in shown[0][1]
    assert "frota-sensor-server.service" in shown[0][1]
    assert fleet.server.run(read) == before
    assert fleet.restarted_since(units) == set()


@pytest.fixture(scope="module")
def finished(fleet: Fleet, mended: Played) -> Played:
    """Give the run that follows on one that was killed half way through a change, and on the loss of the authority."""
    del mended  # nothing else differs
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
    assert finished.told(fleet.server.name, f"sensors: {_NO_RECORD}")
    assert finished.changed_hosts() & _sensor_hosts(fleet) == {fleet.server.name}
    assert _OLD in fleet.server.run(f"cat {_SETTINGS}")


def test_only_differing_systems_are_configured(fleet: Fleet, finished: Played) -> None:
    """Only systems with differences are configured, each on all its hosts."""
    hosts_of_images = {fleet.image_producer.name, fleet.image_client.name}
    hosts_of_images |= {host.name for host in [*fleet.brokers, *fleet.image_workers]}
    assert finished.left_out() == fleet.systems - {"sensors", "certificates", "rabbitmq", "images"}
    assert finished.hosts_of_systems() == _sensor_hosts(fleet) | hosts_of_images


def test_lost_certificate_authority(fleet: Fleet, finished: Played) -> None:
    """A lost certificate authority is recreated, with every certificate."""
    assert finished.told("localhost", f"certificates: {fleet.root}/.local/ca/ca.crt is gone")
    authority = (fleet.root / ".local/ca/ca.crt").read_text()
    for host in (fleet.brokers[0], fleet.image_producer, fleet.image_client):
        assert host.run("cat /etc/frota/certificates/ca.crt") == authority, host.name
        certificates = "/etc/frota/certificates/[!c]*.crt"  # all but the authority's
        host.run(f"openssl verify -CAfile /etc/frota/certificates/ca.crt {certificates}")


def test_a_reading_arrives_after_all_of_this(fleet: Fleet) -> None:
    since = time.time()
    until(lambda: fleet.numbers(since), "a reading")
