"""Samples are of one reading, never negative, and go on without what cannot be read. The kernel's files are made up."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.cpu_metrics.agent import sampling
from frota.cpu_metrics.agent.sampling import Sampler
from frota.cpu_metrics.framing import Framer, SampleMessage


class Kernel:
    """A /proc and a /sys/block, with counters to set."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.block = folder / "proc", folder / "block"
        (self.proc / "net").mkdir(parents=True)
        self.block.mkdir()
        memory = {"MemTotal": 4096, "MemFree": 1024, "MemAvailable": 3072}
        memory |= dict.fromkeys(("Buffers", "Cached", "Shmem", "Active", "Inactive"), 0)
        (self.proc / "meminfo").write_text("".join(f"{name}: {size} kB\n" for name, size in memory.items()))
        self.cores([0] * 10)
        self.disks()
        self.interfaces()

    def cores(self, *cores: list[int]) -> None:
        """Set each core's ticks: user nice system idle iowait irq softirq steal guest guest_nice."""
        lines = [f"cpu{i} " + " ".join(map(str, core)) for i, core in enumerate(cores)]
        (self.proc / "stat").write_text("\n".join(["cpu 0 0 0 0 0 0 0 0 0 0", *lines, "intr 0", ""]))

    def disks(self, **disks: tuple[int, int]) -> None:
        """Set what each block device has read and written, in sectors of 512 bytes."""
        lines = [f"8 0 {name} 0 0 {read} 0 0 0 {written} 0 0 0 0" for name, (read, written) in disks.items()]
        (self.proc / "diskstats").write_text("\n".join([*lines, ""]))

    def physical(self, *names: str) -> None:
        """Make these devices hardware."""
        for name in names:
            (self.block / name / "device").mkdir(parents=True)

    def interfaces(self, **interfaces: tuple[int, int, int, int, int, int]) -> None:
        """Set received, errors, drops, sent, errors, drops of each."""
        lines = [
            f"{name}: {a} 0 {b} {c} 0 0 0 0 {d} 0 {e} {f} 0 0 0 0" for name, (a, b, c, d, e, f) in interfaces.items()
        ]
        (self.proc / "net" / "dev").write_text("\n".join(["head", "head", *lines, ""]))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    one = Kernel(tmp_path)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(one.proc))
    monkeypatch.setattr(sampling, "BLOCK_DEVICES", str(one.block))
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=4096)))
    ticking = iter(range(0, 10_000, 2))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ticking)))  # every reading is two seconds after the last
    return one


def core(busy: int, idle: int) -> list[int]:
    return [busy, 0, 0, idle, 0, 0, 0, 0, 0, 0]


def test_cores_and_mean_are_of_the_same_reading(kernel: Kernel) -> None:
    kernel.cores(core(1000, 500), core(1000, 500))
    sampler = Sampler()
    kernel.cores(core(1030, 570), core(1180, 520))
    sample = sampler.sample()
    assert sample.cpu == (30.0, 90.0)
    assert sample.mean == 70.0  # 210 of 300 ticks


def test_waiting_for_disks_is_idle_and_a_guest_is_counted_once(kernel: Kernel) -> None:
    sampler = Sampler()
    #              user nice system idle iowait irq softirq steal guest guest_nice
    kernel.cores([30, 10, 5, 20, 20, 5, 5, 5, 30, 10])
    assert sampler.sample().cpu == (60.0,)


def test_the_first_sample_is_measured_and_each_is_against_the_one_before(kernel: Kernel) -> None:
    kernel.cores(core(90_000, 10_000))
    sampler = Sampler()
    kernel.cores(core(90_010, 10_090))
    assert sampler.sample().mean == 10.0
    kernel.cores(core(90_060, 10_140))
    assert sampler.sample().mean == 50.0


def test_counters_that_go_back_are_nothing_and_never_less(kernel: Kernel) -> None:
    kernel.physical("sda", "sdb")
    kernel.cores(core(500, 500), core(500, 500))
    kernel.disks(sda=(1000, 1000), sdb=(0, 0))
    kernel.interfaces(eth0=(1000, 5, 5, 1000, 5, 5))
    sampler = Sampler()
    kernel.cores(core(400, 400), core(550, 550))
    kernel.disks(sda=(10, 10), sdb=(4, 8))
    kernel.interfaces(eth0=(10, 0, 0, 10, 0, 0))
    sample = sampler.sample()
    assert (sample.cpu, sample.mean) == ((0.0, 50.0), 50.0)
    assert sample.disk
    assert (sample.disk.read, sample.disk.write) == (1024.0, 2048.0)  # of the one whose counters went on
    assert sample.network == (0.0, 0.0, 0.0, 0.0)


def test_no_time_spent_is_no_load(kernel: Kernel) -> None:
    kernel.cores(core(5, 5))
    sample = Sampler().sample()
    assert (sample.cpu, sample.mean) == ((0.0,), 0.0)


@pytest.mark.parametrize("count", [1, 3])
def test_cores_that_come_and_go_are_measured_anew(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    kernel.cores(core(0, 0), core(1000, 0))
    sampler = Sampler()
    kernel.cores(*[core(5000, 5000)] * count)
    monkeypatch.setattr(time, "sleep", lambda _: kernel.cores(*[core(5020, 5080)] * count))
    assert sampler.sample().cpu == (20.0,) * count


def test_only_disks_themselves_are_counted_not_partitions_nor_what_lies_over_them(kernel: Kernel) -> None:
    kernel.physical("nvme0n1", "cciss!c0d0")
    names = ("nvme0n1", "nvme0n1p1", "dm-0", "loop0", "md0", "cciss/c0d0")
    kernel.disks(**dict.fromkeys(names, (0, 0)))
    sampler = Sampler()
    kernel.disks(**dict.fromkeys(names, (4, 8)))
    disk = sampler.sample().disk
    assert disk
    assert (disk.read, disk.write) == (2 * 4 * 512 / 2, 2 * 8 * 512 / 2)
    assert 0 < disk.used <= disk.total


def test_a_disk_or_interface_that_is_new_counts_from_its_second_reading(kernel: Kernel) -> None:
    kernel.physical("sda")
    sampler = Sampler()
    kernel.disks(sda=(1000, 1000))
    kernel.interfaces(eth0=(1000, 0, 0, 1000, 0, 0))
    sample = sampler.sample()
    assert sample.disk
    assert (sample.disk.read, sample.network) == (0.0, (0.0, 0.0, 0.0, 0.0))


def test_the_network_is_everything_but_loopback(kernel: Kernel) -> None:
    zero = (0, 0, 0, 0, 0, 0)
    kernel.interfaces(lo=zero, eth0=zero, eth1=zero)
    sampler = Sampler()
    kernel.interfaces(lo=(10**9,) * 6, eth0=(100, 1, 2, 200, 3, 4), eth1=(50, 0, 0, 0, 0, 0))
    network = sampler.sample().network
    assert network
    assert network._asdict() == {"received": 75.0, "sent": 100.0, "drops": 3.0, "errors": 2.0}


@pytest.mark.usefixtures("kernel")
def test_memory_load_and_own_cost_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.236, 2.0, 3.0))
    sample = Sampler().sample()
    assert sample.memory == (4096 << 10, 1 << 20, 3072 << 10)
    assert sample.load == (1.24, 2.0, 3.0)
    assert sample.own
    assert sample.own.cpu > 0
    assert sample.own.memory == 4096


@pytest.mark.parametrize(
    ("memory", "root", "expected"),
    [
        ((1000, -50, 2000), (1000, -7), ((1000, 0, 1000), (1000, 0))),
        ((1000, 5000, -1), (1000, 2**63), ((1000, 1000, 0), (1000, 1000))),
        ((-1, 0, 0), (2**64, 0), (None, None)),
        ((0, 0, 0), (0, 0), ((0, 0, 0), (0, 0))),
    ],
    ids=["more is free than there is", "more is used than there is", "beyond all measure", "nothing"],
)
def test_memory_and_disk_are_within_what_there_is_whatever_the_kernel_says(
    kernel: Kernel,
    monkeypatch: pytest.MonkeyPatch,
    memory: tuple[int, ...],
    root: tuple[int, ...],
    expected: tuple[tuple[int, ...] | None, tuple[int, ...] | None],
) -> None:
    total, used, available = memory
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=total, used=used, available=available))
    monkeypatch.setattr(psutil, "disk_usage", lambda _: SimpleNamespace(total=root[0], used=root[1]))
    sampler = Sampler()
    kernel.cores([1] * 10)
    found = sampler.sample()
    assert found.memory == expected[0]
    assert (found.disk and found.disk[:2]) == expected[1]
    read = list(Framer().feed(b"{" + found.native(1, 0.0)[1:]))
    assert [type(one) for one in read] == [SampleMessage]  # a server takes it


def test_counters_that_leap_are_a_sample_that_a_server_takes(kernel: Kernel) -> None:
    kernel.interfaces(eth0=(0, 0, 0, 0, 0, 0))
    sampler = Sampler()
    kernel.cores([2**62] * 10)
    kernel.interfaces(eth0=(2**64 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1))
    kernel.disks(sda=(2**64 - 1, 2**64 - 1))
    assert [type(one) for one in Framer().feed(sampler.sample().native(1, 0.0))] == [SampleMessage]


@pytest.mark.parametrize(
    ("file", "part"), [("meminfo", "memory"), ("diskstats", "disk"), ("net/dev", "network"), ("loadavg", "load")]
)
def test_a_part_that_cannot_be_read_is_left_out_and_told_once(
    kernel: Kernel, file: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("frota.logs.log.record", lambda *words, **_: told.append(words[1]))
    exists = os.path.exists
    monkeypatch.setattr(
        os.path, "exists", lambda path: path != "/sys/block" and exists(path)
    )  # psutil looks there, too

    def fail() -> None:
        raise OSError("no load")

    if part == "load":
        monkeypatch.setattr(os, "getloadavg", fail)
    else:
        (kernel.proc / file).unlink()
    sampler = Sampler()
    kernel.cores(core(50, 50))
    sample = sampler.sample()
    sampler.sample()
    assert sample.mean == 50.0
    missing = [name for name in ("load", "memory", "disk", "network", "own") if getattr(sample, name) is None]
    assert missing == [part]
    assert told == ["source_unavailable"]


def test_without_the_cpu_there_is_no_sampler(kernel: Kernel) -> None:
    (kernel.proc / "stat").unlink()
    with pytest.raises(FileNotFoundError):
        Sampler()
    kernel.cores()
    with pytest.raises(OSError, match="names no core"):
        Sampler()


TICKS = st.lists(st.integers(0, 2**63), min_size=10, max_size=10)
CORES = st.lists(TICKS, min_size=1, max_size=4)


@given(st.tuples(CORES, CORES).filter(lambda both: len(both[0]) == len(both[1])))
def test_whatever_counters_say_percentages_are_percentages(both: tuple[list[list[int]], list[list[int]]]) -> None:
    times = type(psutil.cpu_times())
    before, now = ([times(*core[: len(times._fields)]) for core in cores] for cores in both)
    shares, mean = sampling.usage(before, now)
    assert len(shares) == len(now)
    assert all(0 <= one <= 100 for one in (*shares, mean))


def test_this_computer_can_be_measured() -> None:
    sample = Sampler().sample()
    assert len(sample.cpu) == len(psutil.cpu_times(percpu=True))
    assert sample.memory
    assert sample.own
    assert sample.own.memory > 1 << 20
