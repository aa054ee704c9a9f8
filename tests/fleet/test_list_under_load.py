"""Whatever happens to the remote list under load, its clients see a pause, and every answered change is there, once."""

import json
from collections.abc import Callable
from functools import partial

import pytest

from .blows import kill, reboot, restart
from .fleet import Fleet
from .hosts import Host
from .loads import ENOUGH, load

_UNIT = "frota-list-server.service"
_KEY = "/etc/frota/credentials/frota-list-client.key"
_OWN = "carga"
_WAITS = "does not answer, trying again"


def _prove(fleet: Fleet, *happenings: Callable[[], object], pace: float = 0.005) -> None:
    """Let things happen under load, and see that nobody was told of more than a pause, and that nothing is lost."""
    fleet.list_client.run_as_admin(f"frota list clear --list {_OWN}")
    with load(fleet.list_client, "list_load.py", _OWN, str(pace)) as running:
        running.wait_for_more()
        for happen in happenings:
            happen()
            running.wait_for_more()
        report = running.stop()
    kept = json.loads(fleet.list_client.run_as_admin(f"frota list show --list {_OWN} --json"))["elements"]
    fleet.list_client.run_as_admin(f"frota list clear --list {_OWN}")
    assert [line for line in report["said"] if not line.endswith(_WAITS)] == []
    assert len(kept) > (len(happenings) + 1) * ENOUGH
    for client, acknowledged in enumerate(report["acknowledged"]):
        of_client = [element for element in kept if element.startswith(f"{client}-")]
        assert of_client == [f"{client}-{number}" for number in range(acknowledged)]


@pytest.mark.beside(system="list")
def test_list_survives_failures(
    fleet: Fleet,
) -> None:
    """Clients see restarts, kills and a reboot as pauses; no acknowledged change is lost or applied twice."""
    _prove(fleet, *(partial(blow, fleet.list_server, _UNIT) for blow in (restart, kill, restart, kill, reboot)))


def _public(host: Host) -> str:
    return host.run(f"frota list keygen --public {_KEY}; grep SERVER_KEY /etc/frota/frota-list-client.env")


def test_list_key_rotation(
    fleet: Fleet,
) -> None:
    """Clients see a rotation of all keys as a pause, and the old keys are rejected."""
    hosts = (fleet.list_server, fleet.list_client)
    before = [_public(host) for host in hosts]
    fleet.list_client.run(f"install --mode=600 {_KEY} /run/former.key")

    # All the time of a playbook, to which it leaves some of the machine.
    _prove(fleet, lambda: fleet.play("playbooks/rotate_list_keys.yml", "-e", "rotate=all"), pace=0.1)

    assert not {line for text in before for line in text.split()} & {
        line for host in hosts for line in _public(host).split()
    }
    refused = fleet.list_client.run("! frota list show --key-file /run/former.key --timeout 2 2>&1; rm /run/former.key")
    assert "does not accept our key" in refused


def test_rotating_nobodys_keys_says_whose_could_be(fleet: Fleet) -> None:
    with pytest.raises(AssertionError, match="Add -e rotate="):
        fleet.play("playbooks/rotate_list_keys.yml")
