"""A host that is left out of a run, or cannot be reached in it, empties no setting that others take from it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .fleet import Fleet
from .hosts import Host, until

_CONFIGURE = "playbooks/configure.yml"
_LIST = ("--limit", "localhost:list_server:list_client", "--tags", "list")
_ROTATE = "playbooks/rotate_list_keys.yml"
_SERVERS = "/etc/frota/frota-list-server.env"


@contextmanager
def _unreachable(fleet: Fleet, host: Host) -> Iterator[None]:
    """Stop the SSH server of a host, whose other services run on."""
    ssh = ("ssh.socket", "ssh.service")
    fleet.run_beside_ssh(host, "systemctl", "stop", *ssh)
    try:
        yield
    finally:
        fleet.run_beside_ssh(host, "systemctl", "start", ssh[1])
        until(lambda: host.try_to_run("echo back"), f"{host.name} over SSH")


def _settings(fleet: Fleet) -> dict[str, str]:
    """Return the digests of all settings and keys of ours on every host."""
    return {name: host.run("find /etc/frota -type f -exec sha256sum {} +") for name, host in fleet.members.items()}


def test_users_keep_what_they_know_of_servers_that_are_left_out(fleet: Fleet) -> None:
    before = _settings(fleet)
    played = fleet.play(_CONFIGURE, "--limit", f"{fleet.list_client.name},image_worker,sensor_client,localhost")
    assert _settings(fleet) == before
    assert played.changes() == []
    said = [str(one.result.get("msg")) for one in played.outcomes if one.host == fleet.list_client.name]
    assert [text for text in said if fleet.list_server.address in text and "--limit" in text]
    fleet.list_client.run_as_admin("frota list show")


def test_unreachable_list_server(fleet: Fleet) -> None:
    """A client of the list keeps the server's key while the server is unreachable."""
    before = _settings(fleet)
    with _unreachable(fleet, fleet.list_server), pytest.raises(AssertionError, match='"unreachable": 1'):
        fleet.play(_CONFIGURE, *_LIST)
    assert _settings(fleet) == before
    fleet.list_client.run_as_admin("frota list show")


def test_a_user_that_cannot_be_reached_stays_on_the_allow_list(fleet: Fleet) -> None:
    before = fleet.list_server.run(f"cat {_SERVERS}")
    assert f"{fleet.list_client.name}=" in before
    with _unreachable(fleet, fleet.list_client), pytest.raises(AssertionError, match='"unreachable": 1'):
        fleet.play(_CONFIGURE, *_LIST)
    assert fleet.list_server.run(f"cat {_SERVERS}") == before


def test_servers_keep_what_they_know_of_users_that_are_left_out(fleet: Fleet) -> None:
    before = _settings(fleet)
    assert fleet.play(_CONFIGURE, "--limit", "list_server,broker,cpu_server,localhost").changes() == []
    assert _settings(fleet) == before


def test_limit_without_localhost(fleet: Fleet) -> None:
    """A --limit without localhost is rejected at once, with the one that works."""
    sensor = fleet.sensors[0].name
    refused = (("site.yml", sensor, f"{sensor},localhost"), (_CONFIGURE, "fleet:!broker", "fleet:!broker:localhost"))
    for playbook, limit, right in refused:
        with pytest.raises(AssertionError) as failed:
            fleet.play(playbook, "--limit", limit)
        assert f"--limit '{right}'" in str(failed.value)


def test_rotation_needs_all_hosts(fleet: Fleet) -> None:
    """Keys are not rotated while --limit leaves out a host of the list."""
    before = _settings(fleet)
    with pytest.raises(AssertionError, match=rf"{fleet.list_server.name}.*--limit"):
        fleet.play(_ROTATE, "-e", "rotate=clients", "--limit", f"{fleet.list_client.name},localhost")
    assert _settings(fleet) == before
