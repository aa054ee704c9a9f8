"""Hosts and their rows: bounded, and the same after a restart."""

import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from frota.cpu.framing import Hello, SampleMessage
from frota.cpu.server.history import MAX_CHUNK_SAMPLES, History, HostRow
from frota.cpu.server.host import Host
from frota.cpu.server.hosts import Hosts
from support.metrics import RUN, SAMPLE

DAY = 17_280


def take(hosts: Hosts, name: str, *numbers: int, run: str = RUN) -> None:
    host = hosts.greet(Hello(name, run, 5.0, 0))
    for number in numbers:
        hosts.take(host, SampleMessage(number, 0.0, SAMPLE))


def settled(hosts: Hosts, *names: str) -> None:
    """Let so much time pass for these that all they sent becomes chunks."""
    for host in filter(None, map(hosts.get, names)):
        host.tail_since -= 901
    hosts.chunk_old_tails(time.monotonic())


def restored(history: History) -> Hosts:
    hosts = Hosts()
    hosts.restore(*history.load())
    return hosts


def test_silent_host_bounds_recent_rows(tmp_path: Path) -> None:
    """One silent host does not keep the other hosts' samples out of chunks."""
    hosts, history = Hosts(), History(tmp_path)
    history.open()
    take(hosts, "silent", 1, 2, 3)
    for start in range(1, 2000, 20):
        take(hosts, "busy", *range(start, start + 20))
        history.write(hosts.take_changes(DAY))
    assert len(history.load()[1]) < MAX_CHUNK_SAMPLES + 3
    before = rows(history)
    hosts.chunk_old_tails(min(host.tail_since for host in hosts) + 899)  # however long it took until here
    history.write(hosts.take_changes(DAY))
    assert rows(history) == before
    hosts.chunk_old_tails(hosts_since(hosts) + 901)
    history.write(hosts.take_changes(DAY))
    assert rows(history) == 0
    assert {host.row.name: host.row.samples for host in restored(history)} == {"silent": 3, "busy": 2000}
    history.close()


def test_returning_hosts_bound_recent_rows(tmp_path: Path) -> None:
    """Hosts that return one by one do not keep the other hosts' samples out of chunks."""
    hosts, history = Hosts(), History(tmp_path)
    history.open()
    for name in ("one", "other"):
        take(hosts, name, *range(1, 61))
    settled(hosts, "one", "other")
    take(hosts, "busy", *range(1, 1001))
    take(hosts, "one", 61)
    history.write(hosts.take_changes(DAY))
    take(hosts, "busy", *range(1001, 2001))
    take(hosts, "other", 61)
    settled(hosts, "one", "busy")
    history.write(hosts.take_changes(DAY))
    assert rows(history) == 1
    assert {host.row.name: host.row.samples for host in restored(history)} == {"one": 61, "other": 61, "busy": 2000}
    history.close()


def test_deleted_id_is_not_reused(tmp_path: Path) -> None:
    """The samples of a deleted host never belong to a new one."""
    hosts, history = Hosts(), History(tmp_path)
    history.open()
    take(hosts, "other", 1)
    gone = hosts.get_or_create("gone", "original", 5.0)
    hosts.take(gone, SampleMessage(0, 0.0, SAMPLE))
    history.write(hosts.take_changes(DAY))
    hosts.forget(gone)
    history.write(hosts.take_changes(DAY))
    reloaded = restored(history)
    reloaded.take(reloaded.get_or_create("new", "original", 5.0), SampleMessage(0, 0.0, SAMPLE))
    history.write(reloaded.take_changes(DAY))
    assert {host.row.name: host.row.samples for host in restored(history)} == {"other": 1, "new": 1}
    history.close()


def facts(host: Host) -> HostRow:
    return host.row._replace(heard=0.0)


def hosts_since(hosts: Hosts) -> float:
    return max(host.tail_since for host in hosts)


def rows(history: History) -> int:
    return int(history._opened.execute("SELECT count(*) FROM recent").fetchone()[0])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([RUN, "cd" * 16]), st.integers(1, 90)), max_size=40))
def test_restart_restores_all_hosts(events: list[tuple[str, str, int]]) -> None:
    """After a restart every host is as it was."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        hosts, history = Hosts(), History(Path(folder))
        history.open()
        for name, run, count in events:
            last = hosts.greet(Hello(name, run, 5.0, 0)).row.last
            take(hosts, name, *range(last + 2, last + 2 + count), run=run)
            history.write(hosts.take_changes(DAY))
        reloaded = restored(history)
        assert {host.row.name: facts(host) for host in reloaded} == {host.row.name: facts(host) for host in hosts}
        assert {host.row.name: host.tail for host in reloaded} == {host.row.name: host.tail for host in hosts}
        history.close()


def test_counters_are_bounded(tmp_path: Path) -> None:
    """Counters stop at what SQLite can store."""
    hosts, history = Hosts(), History(tmp_path)
    history.open()
    for run in range(1100):
        take(hosts, "a", 2**53, run=f"{run:032x}")
    history.write(hosts.take_changes(DAY))
    assert [host.row.missing for host in restored(history)] == [2**53]
    history.close()


def test_deleted_host_leaves_nothing(tmp_path: Path) -> None:
    """A deleted host leaves no rows; a host of the same name starts with an empty history."""
    hosts, history = Hosts(), History(tmp_path)
    history.open()
    take(hosts, "a", *range(1, 200))
    history.write(hosts.take_changes(DAY))
    host = hosts.get("a")
    assert host
    hosts.forget(host)
    history.write(hosts.take_changes(DAY))
    assert history.chunks(host.row.id, 0.0, 0, 1000, 1000) == []
    reloaded = restored(history)
    assert len(reloaded) == 0
    take(reloaded, "a", 1)
    history.write(reloaded.take_changes(DAY))
    assert [entry.row.samples for entry in restored(history)] == [1]
    history.close()
