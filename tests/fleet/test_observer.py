"""The observer has the journal of every host, complete after it was away, and the metrics of every service."""

import json
import secrets
import time
from typing import Any

from .faults import reboot
from .fleet import Fleet
from .hosts import Host, until

_JOURNALS = "/var/log/journal/remote"
_RECEIVER = "systemd-journal-remote.socket systemd-journal-remote.service"
_RECORDS = 500
_PROMETHEUS = "http://127.0.0.1:9090/api/v1"
_GET = "python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=60).read().decode())'"


def _write(host: Host, marker: str) -> None:
    """Write numbered records to the journal of a host."""
    host.run(f"seq 1 {_RECORDS} | systemd-cat --identifier={marker}")


def _write_in_background(host: Host, marker: str) -> None:
    """Start to write numbered records to the journal of a host, for some ten seconds."""
    numbers = f"seq 1 {_RECORDS} | while read number; do echo $number; sleep 0.02; done"
    host.run(f"systemd-run --quiet sh -c '{numbers} | systemd-cat --identifier={marker}'")


def _missing(fleet: Fleet, marker: str) -> dict[str, int]:
    """Return the number of records that the observer does not have, by host; a record may be there twice."""
    query = f"journalctl --directory={_JOURNALS} --quiet --output=json SYSLOG_IDENTIFIER={marker}"
    records = [json.loads(line) for line in fleet.observer.try_to_run(query).splitlines()]  # none while it boots
    numbers = {(record["_HOSTNAME"], int(record["MESSAGE"])) for record in records}
    counts = {name: sum(host == name for host, _ in numbers) for name in fleet.members}
    return {name: _RECORDS - count for name, count in counts.items() if count != _RECORDS}


def _wait_for_all(fleet: Fleet, marker: str) -> None:
    until(
        lambda: not _missing(fleet, marker), f"every record of every host on the observer: SYSLOG_IDENTIFIER={marker}"
    )


def test_records_of_every_host_arrive(fleet: Fleet) -> None:
    """Every record of every host is on the observer, in a file of its own."""
    marker = f"arrive{secrets.token_hex(4)}"
    for host in fleet.members.values():
        _write(host, marker)
    written = time.monotonic()
    _wait_for_all(fleet, marker)
    print(f"all records are searchable {time.monotonic() - written:.1f} s after the last one was written")
    for name, host in fleet.members.items():
        file = f"{_JOURNALS}/remote-{host.address}*.journal"
        query = f"journalctl --file='{file}' --quiet --output=cat --output-fields=_HOSTNAME"
        assert set(fleet.observer.run_as_admin(f"{query} SYSLOG_IDENTIFIER={marker}").split()) == {name}


def test_records_written_while_the_receiver_is_stopped(fleet: Fleet) -> None:
    """Records that are written while the observer receives nothing arrive when it does again."""
    marker = f"stopped{secrets.token_hex(4)}"
    fleet.observer.run(f"systemctl stop {_RECEIVER}")
    try:
        for host in fleet.members.values():
            _write(host, marker)
        assert set(_missing(fleet, marker)) == set(fleet.members)
    finally:
        fleet.observer.run(f"systemctl start {_RECEIVER}")
    _wait_for_all(fleet, marker)


def test_records_written_while_the_observer_reboots(fleet: Fleet) -> None:
    """Records that other hosts write while the observer reboots arrive, those that were on their way included."""
    marker = f"reboot{secrets.token_hex(4)}"
    _write(fleet.observer, marker)
    for host in fleet.members.values():
        if host != fleet.observer:
            _write_in_background(host, marker)
    reboot(fleet.observer, "")
    _wait_for_all(fleet, marker)


def _query(fleet: Fleet, path: str) -> Any:
    """Return the data of Prometheus's response to a request."""
    return json.loads(fleet.observer.run(f"{_GET} '{_PROMETHEUS}/{path}'"))["data"]


def test_every_service_is_scraped(fleet: Fleet) -> None:
    """Every service of every host is a target that is up, under the names of its host and its unit."""

    def down() -> list[str]:
        targets = _query(fleet, "targets?state=active")["activeTargets"]
        return [target["scrapeUrl"] for target in targets if target["health"] != "up"]

    until(lambda: not down(), "every target is up")
    found = [sample["metric"] for sample in _query(fleet, "query?query=up")["result"]]
    by_host = {(metric["host"], int(metric["instance"].rpartition(":")[2])) for metric in found}
    expected = {(name, port) for name, ports in fleet.metrics_ports.items() for port in ports}
    assert by_host == expected | {(fleet.observer.name, 9090), (fleet.observer.name, 9093)}
    units = {(host.name, unit.removesuffix(".service")) for host in fleet.members.values() for unit in host.services()}
    scraped = {(metric["host"], metric["unit"]) for metric in found}
    assert units - scraped == set()


def test_metrics_are_for_the_observer(fleet: Fleet) -> None:
    """A host that is neither the observer nor a client of a service does not reach its metrics."""
    client = fleet.sensors[0]
    script = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{fleet.image_client.address}/9406' 2>&1 && echo open || echo closed"
    assert client.run(script).splitlines()[-1] == "closed"
    assert fleet.observer.run(script).splitlines()[-1] == "open"
