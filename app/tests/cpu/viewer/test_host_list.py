"""The list of hosts: sort key, filter and selected host."""

from typing import Any

from frota.cpu.viewer.host_list import HostList
from frota.cpu.viewer.host_status import SORTS, Host
from support.viewer import host


def hosts_of(*names: str, **options: Any) -> HostList:
    hosts = HostList(**options)
    hosts.update(as_hosts(*names))
    return hosts


def as_hosts(*names: str) -> list[Host]:
    return [Host(host(name), b"") for name in names]


def selected(hosts: HostList) -> str:
    assert hosts.selected
    return hosts.selected.name


def test_sort_goes_through_all_keys() -> None:
    """Each step sorts by the next key, and the first follows the last."""
    hosts, keys = hosts_of("b", "a"), []
    for _ in SORTS:
        hosts.sort_by_next()
        keys.append(hosts.sort)
    assert keys == ["cpu", "memory", "disk", "network", "state", "name"]
    assert [host.name for host in hosts.shown] == ["a", "b"]


def test_selected_host_keeps_selected() -> None:
    """The selected host is still selected after sorting and after new responses, as long as it is there."""
    hosts = hosts_of("a", "b", "c")
    hosts.select(2)
    hosts.reverse = True
    hosts.arrange()
    assert (selected(hosts), hosts.index) == ("c", 0)
    hosts.update(as_hosts("x", "c"))
    assert selected(hosts) == "c"
    hosts.update(as_hosts("x"))
    assert selected(hosts) == "x"


def test_first_host_is_selected_by_place() -> None:
    """While the first host is selected, a new first host becomes the selected one, unless the host is pinned."""
    hosts = hosts_of("d", "e")
    hosts.update(as_hosts("c", "d"))
    assert selected(hosts) == "c"
    hosts.select(1)
    hosts.select(-5)
    hosts.update(as_hosts("b", "c"))
    assert selected(hosts) == "b"
    hosts.select(0, pinned=True)
    hosts.update(as_hosts("a", "b"))
    assert (selected(hosts), hosts.index) == ("b", 1)


def test_filter_ignores_case_and_may_match_nothing() -> None:
    """The filter is a part of the name in any case; without a match no host is selected."""
    hosts = hosts_of("web-1", "db-1", filter_text="WEB")
    assert [host.name for host in hosts.shown] == ["web-1"]
    hosts.filter_text = "zz"
    hosts.arrange()
    hosts.select(3)
    assert (hosts.selected, hosts.index, hosts.total) == (None, 0, 2)
