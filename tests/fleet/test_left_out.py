"""Hosts that a run excludes or cannot reach: other hosts keep the settings that depend on them."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .fleet import Fleet
from .hosts import Host, until

_CONFIGURE = "playbooks/configure.yml"
_LIST = ("--limit", "localhost:list_server:list_client", "--tags", "list")
_ROTATE = "playbooks/rotate_list_keys.yml"
_SERVER_ENV = "/etc/frota/frota-list-server.env"


@contextmanager
def _unreachable(fleet: Fleet, host: Host) -> Iterator[None]:
    """Stop the SSH server of a host for the time of a block; its other services continue."""
    ssh = ("ssh.socket", "ssh.service")
    fleet.run_beside_ssh(host, "systemctl", "stop", *ssh)
    try:
        yield
    finally:
        fleet.run_beside_ssh(host, "systemctl", "start", ssh[1])
        until(lambda: host.try_to_run("echo back"), f"{host.name} is not reachable over SSH")


def _settings(fleet: Fleet) -> dict[str, str]:
    """Return the digests of all settings and keys on every host."""
    return {name: host.run("find /etc/frota -type f -exec sha256sum {} +") for name, host in fleet.members.items()}


def test_clients_keep_settings_of_excluded_servers(fleet: Fleet) -> None:
    """A run that excludes the servers keeps their addresses and keys on the clients, with a warning."""
    before = _settings(fleet)
    played = fleet.play(_CONFIGURE, "--limit", f"{fleet.list_client.name},image_worker,sensor_client,localhost")
    assert _settings(fleet) == before
    assert played.changes() == []
    messages = [str(outcome.result.get("msg")) for outcome in played.outcomes if outcome.host == fleet.list_client.name]
    assert [text for text in messages if fleet.list_server.address in text and "--limit" in text]
    fleet.list_client.run_as_admin("frota list show")


def test_unreachable_list_server(fleet: Fleet) -> None:
    """A client of the list keeps the server's key while the server is unreachable."""
    before = _settings(fleet)
    with _unreachable(fleet, fleet.list_server), pytest.raises(AssertionError, match='"unreachable": 1'):
        fleet.play(_CONFIGURE, *_LIST)
    assert _settings(fleet) == before
    fleet.list_client.run_as_admin("frota list show")


def test_unreachable_client_stays_allowed(fleet: Fleet) -> None:
    """A client that is unreachable in a run stays on the allow-list."""
    before = fleet.list_server.run(f"cat {_SERVER_ENV}")
    assert f"{fleet.list_client.name}=" in before
    with _unreachable(fleet, fleet.list_client), pytest.raises(AssertionError, match='"unreachable": 1'):
        fleet.play(_CONFIGURE, *_LIST)
    assert fleet.list_server.run(f"cat {_SERVER_ENV}") == before


def test_servers_keep_settings_of_excluded_clients(fleet: Fleet) -> None:
    """A run that excludes the clients changes no setting of the servers."""
    before = _settings(fleet)
    assert fleet.play(_CONFIGURE, "--limit", "list_server,broker,cpu_server,localhost").changes() == []
    assert _settings(fleet) == before


def test_limit_without_localhost(fleet: Fleet) -> None:
    """A --limit without localhost is rejected at once, with the one that works."""
    sensor = fleet.sensors[0].name
    rejected = (("site.yml", sensor, f"{sensor},localhost"), (_CONFIGURE, "fleet:!broker", "fleet:!broker:localhost"))
    for playbook, limit, valid in rejected:
        with pytest.raises(AssertionError) as failed:
            fleet.play(playbook, "--limit", limit)
        assert f"--limit '{valid}'" in str(failed.value)


def test_rotation_needs_all_hosts(fleet: Fleet) -> None:
    """Keys are not rotated while --limit leaves out a host of the list."""
    before = _settings(fleet)
    with pytest.raises(AssertionError, match=rf"{fleet.list_server.name}.*--limit"):
        fleet.play(_ROTATE, "-e", "rotate=clients", "--limit", f"{fleet.list_client.name},localhost")
    assert _settings(fleet) == before
