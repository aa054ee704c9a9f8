"""Failures under load: clients of the list see pauses, and every acknowledged change is applied exactly once."""

import json
from collections.abc import Callable
from functools import partial

import pytest

from .faults import kill, reboot, restart
from .fleet import Fleet
from .hosts import Host
from .load import MIN_REQUESTS, load

_UNIT = "frota-list-server.service"
_KEY = "/etc/frota/credentials/frota-list-client.key"
_OWN = "carga"
_RETRY_WARNING = "does not answer, trying again"


def _verify(fleet: Fleet, *faults: Callable[[], object], interval_s: float = 0.005) -> None:
    """Inject faults under load; check that clients only report pauses, and that no acknowledged element is lost."""
    fleet.list_client.run_as_admin(f"frota list clear --list {_OWN}")
    with load(fleet.list_client, "list_load.py", _OWN, str(interval_s)) as running:
        running.wait_for_more()
        for fault in faults:
            fault()
            running.wait_for_more()
        report = running.stop()
    elements = json.loads(fleet.list_client.run_as_admin(f"frota list show --list {_OWN} --json"))["elements"]
    fleet.list_client.run_as_admin(f"frota list clear --list {_OWN}")
    assert [line for line in report["output"] if not line.endswith(_RETRY_WARNING)] == []
    assert len(elements) > (len(faults) + 1) * MIN_REQUESTS
    for client, acknowledged in enumerate(report["acknowledged"]):
        appended = [element for element in elements if element.startswith(f"{client}-")]
        assert appended == [f"{client}-{number}" for number in range(acknowledged)]


@pytest.mark.beside(system="list")
def test_list_survives_failures(
    fleet: Fleet,
) -> None:
    """Clients see restarts, kills and a reboot as pauses; no acknowledged change is lost or applied twice."""
    _verify(fleet, *(partial(fault, fleet.list_server, _UNIT) for fault in (restart, kill, restart, kill, reboot)))


def _public_keys(host: Host) -> str:
    return host.run(f"frota list keygen --public {_KEY}; grep SERVER_KEY /etc/frota/frota-list-client.env")


def test_list_key_rotation(
    fleet: Fleet,
) -> None:
    """Clients see a rotation of all keys as a pause, and the old keys are rejected."""
    hosts = (fleet.list_server, fleet.list_client)
    before = [_public_keys(host) for host in hosts]
    fleet.list_client.run(f"install --mode=600 {_KEY} /run/former.key")

    # The load lasts as long as the playbook, and leaves it some CPU.
    _verify(fleet, lambda: fleet.play("playbooks/rotate_list_keys.yml", "-e", "rotate=all"), interval_s=0.1)

    assert not {line for text in before for line in text.split()} & {
        line for host in hosts for line in _public_keys(host).split()
    }
    output = fleet.list_client.run("! frota list show --key-file /run/former.key --timeout 2 2>&1; rm /run/former.key")
    assert "does not accept our key" in output


def test_rotation_needs_a_choice(fleet: Fleet) -> None:
    """A rotation without a choice of keys fails, and names the choices."""
    with pytest.raises(AssertionError, match="Add -e rotate="):
        fleet.play("playbooks/rotate_list_keys.yml")
