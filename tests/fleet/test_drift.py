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
_KEY = "/etc/frota/credentials/image_client.key"
_CERTIFICATE = "/etc/frota/certificates/image_client.crt"
_DAY = 86400


class Drift(NamedTuple):
    """Something that is changed by hand on a host: how, and what prints `mended` once it is as it should be."""

    host: str
    change: str
    mended: str


_DRIFTS = {
    "a unit that was stopped": Drift(
        "server",
        "systemctl stop frota-sensor-server.socket frota-sensor-server.service",
        "systemctl -q is-active frota-sensor-server.service",
    ),
    "a unit that does not start at boot": Drift(
        "cpu_server",
        "systemctl -q disable frota-cpu-server.service",
        "systemctl -q is-enabled frota-cpu-server.service",
    ),
    "a byte": Drift(
        "list_server",
        "sed -i 's/REMOTE_LIST_MAX_LISTS=.1000/REMOTE_LIST_MAX_LISTS=\"1001/' /etc/frota/frota-list-server.env",
        "grep -q 'REMOTE_LIST_MAX_LISTS=.1000\"' /etc/frota/frota-list-server.env",
    ),
    "a mode": Drift(
        "cpu_server",
        "chmod 0666 /etc/frota/frota-cpu-server.env",
        "test $(stat --format=%a /etc/frota/frota-cpu-server.env) = 644",
    ),
    "a unit file": Drift(
        "image_producer",
        "sed -i s/^MemoryMax=.*/MemoryMax=infinity/ /etc/systemd/system/frota-image-producer.service",
        "grep -q ^MemoryMax=1G /etc/systemd/system/frota-image-producer.service",
    ),
    "a link": Drift(
        "list_client", "ln -sfn /opt/frota/releases /opt/frota/current", "/opt/frota/current/bin/frota --help"
    ),
    "a key that was removed": Drift("image_client", f"rm {_KEY}", f"test -s {_KEY}"),
    "settings of the broker": Drift(
        "broker",
        "rabbitmqctl -q clear_policy --vhost frota images",
        "rabbitmqctl -q list_policies --vhost frota | grep -q '^frota.images[^.]'",
    ),
    "a drop-in of the host": Drift(
        "image_client",
        "rm /etc/systemd/journald.conf.d/frota.conf",
        "grep -q ^SystemMaxUse= /etc/systemd/journald.conf.d/frota.conf",
    ),
}


def _host(fleet: Fleet, drift: Drift) -> Host:
    host: Host = fleet.brokers[0] if drift.host == "broker" else getattr(fleet, drift.host)
    return host


def _is_mended(fleet: Fleet, drift: Drift) -> bool:
    return _host(fleet, drift).try_to_run(f"{drift.mended} >/dev/null; echo mended") == "mended\n"


def _played(played: Played) -> set[str]:
    """Return the hosts, besides the control node, on which tasks of systems' roles ran."""
    looks = {"Look at every host", "Forget what is about to change", "Record what was left"}
    looks |= {"Require localhost in the limit", "Check the tags"}
    return {one.host for one in played.outcomes if one.play not in looks and one.host != "localhost"}


@pytest.fixture(scope="module")
def mended(fleet: Fleet) -> Iterator[Played]:
    """Give the run of site.yml after all of these were changed, the fleet being whole before."""
    fleet.play("site.yml")
    for drift in _DRIFTS.values():
        _host(fleet, drift).run(drift.change)
        assert not _is_mended(fleet, drift), drift
    yield fleet.play("site.yml")
    fleet.play("site.yml", "-e", "everything=true")


@pytest.mark.parametrize("drift", _DRIFTS)
def test_what_was_changed_by_hand_is_mended(fleet: Fleet, mended: Played, drift: str) -> None:
    assert mended.changes()
    assert _is_mended(fleet, _DRIFTS[drift])


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
    assert _played(played) == set()
    assert played.changes() == []
    assert fleet.restarted_since(before) == set()


@pytest.mark.usefixtures("mended")
def test_only_the_system_that_differs_is_gone_through_on_all_its_hosts(fleet: Fleet) -> None:
    fleet.server.run(_DRIFTS["a unit that was stopped"].change)
    played = fleet.play("site.yml")
    assert _played(played) == {fleet.server.name, *(host.name for host in fleet.sensors)}
    assert {one.host for one in played.outcomes if one.changed} == {fleet.server.name}


@pytest.mark.usefixtures("mended")
def test_a_preview_shows_what_would_be_mended_and_forgets_nothing(fleet: Fleet) -> None:
    fleet.server.run(_DRIFTS["a unit that was stopped"].change)
    before = fleet.server.run(f"cat {_RECORD}")
    played = fleet.play("site.yml", "--check", "--diff")
    assert [one.host for one in played.outcomes if one.changed] == [fleet.server.name]
    assert fleet.server.run(f"cat {_RECORD}") == before
    assert fleet.play("site.yml").changes() != []


@pytest.mark.usefixtures("mended")
def test_a_certificate_near_its_end_is_renewed(fleet: Fleet, tmp_path: Path) -> None:
    host, authority = fleet.image_client, fleet.root / ".local/ca"
    request, certificate = tmp_path / "request", tmp_path / "certificate"
    request.write_text(host.run(f"openssl req -new -key {_KEY} -subj /CN=image_client"))
    signing = ["-CA", f"{authority}/ca.crt", "-CAkey", f"{authority}/ca.key", "-days", "20"]
    command = ["openssl", "x509", "-req", "-in", str(request), *signing, "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    host.run(f"cat >{_CERTIFICATE} <<'END'\n{certificate.read_text()}END")
    _record_as_it_is(fleet, host)

    played = fleet.play("site.yml")

    assert any(one.changed for one in played.outcomes if one.host == host.name)
    host.run(f"openssl x509 -checkend {30 * _DAY} -noout -in {_CERTIFICATE}")


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
    options = {"systems": {"images": system}, "found": {}, "state": "recorded", "file": _RECORD, "check_mode": False}
    call = f"run({options!r})"
    host.run(f"python3 -IS - <<'END_OF_CODE'\n{code}\n{call}\nEND_OF_CODE")


@pytest.mark.usefixtures("mended")
def test_an_authority_that_was_lost_is_made_anew_and_so_is_every_certificate(fleet: Fleet) -> None:
    (fleet.root / ".local/ca/ca.crt").unlink()
    fleet.play("site.yml")
    authority = (fleet.root / ".local/ca/ca.crt").read_text()
    for host in (fleet.brokers[0], fleet.image_producer, fleet.image_client):
        assert host.run("cat /etc/frota/certificates/ca.crt") == authority, host.name


@pytest.mark.usefixtures("mended")
def test_a_run_that_was_killed_half_way_is_finished_by_the_next(fleet: Fleet) -> None:
    setting = ("-e", "sensors_max_errors=8")
    environ = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"}
    command = [str(fleet.root / "tools/play"), "site.yml", *setting]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if "Run the sensors" in line:  # the server's host is configured, nothing was verified
                os.killpg(run.pid, signal.SIGKILL)
                break
    assert 'SENSORS_MAX_ERRORS="8"' in fleet.server.run("cat /etc/frota/frota-sensor-server.env")
    try:
        played = fleet.play("site.yml", *setting)
        assert _played(played) == {fleet.server.name, *(host.name for host in fleet.sensors)}
    finally:
        fleet.play("site.yml")
    assert 'SENSORS_MAX_ERRORS="10"' in fleet.server.run("cat /etc/frota/frota-sensor-server.env")


@pytest.mark.usefixtures("mended")
def test_a_part_of_a_run_is_not_taken_for_a_whole_one(fleet: Fleet) -> None:
    fleet.play("site.yml", "--limit", f"localhost,{fleet.sensors[0].name}")
    played = fleet.play("site.yml")
    assert fleet.sensors[0].name in _played(played)
    assert _played(fleet.play("site.yml")) == set()


@pytest.mark.usefixtures("mended")
def test_everything_is_gone_through_where_that_is_asked_for(fleet: Fleet) -> None:
    played = fleet.play("site.yml", "-e", "everything=true")
    assert _played(played) >= set(fleet.members)
    assert played.changes() == []


def test_a_reading_arrives_after_all_of_this(fleet: Fleet) -> None:
    since = time.time()
    until(lambda: fleet.numbers(since), "a reading")
