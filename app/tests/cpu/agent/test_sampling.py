"""The sampler, with counters from files that stand in for the kernel's."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.cpu.agent.sampling import Sampler, usage
from frota.cpu.framing import Framer, SampleMessage
from frota.cpu.messages import Sample


class Kernel:
    """Stands in for /proc and /sys/block, with counters that a test sets."""

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

    def sampler(self) -> Sampler:
        """Return a sampler that reads these files."""
        return Sampler(str(self.block))

    def cores(self, *cores: list[int]) -> None:
        """Set each core's ticks: user nice system idle iowait irq softirq steal guest guest_nice."""
        lines = [f"cpu{i} " + " ".join(map(str, core)) for i, core in enumerate(cores)]
        (self.proc / "stat").write_text("\n".join(["cpu 0 0 0 0 0 0 0 0 0 0", *lines, "intr 0", ""]))

    def disks(self, **disks: tuple[int, int]) -> None:
        """Set what each block device has read and written, in sectors of 512 bytes."""
        lines = [f"8 0 {name} 0 0 {read} 0 0 0 {written} 0 0 0 0" for name, (read, written) in disks.items()]
        (self.proc / "diskstats").write_text("\n".join([*lines, ""]))

    def physical(self, *names: str) -> None:
        """Make these devices physical disks."""
        for name in names:
            (self.block / name / "device").mkdir(parents=True)

    def interfaces(self, **interfaces: tuple[int, int, int, int, int, int]) -> None:
        """Set bytes received, errors, drops, bytes sent, errors, drops of each."""
        lines = [
            f"{name}: {a} 0 {b} {c} 0 0 0 0 {d} 0 {e} {f} 0 0 0 0" for name, (a, b, c, d, e, f) in interfaces.items()
        ]
        (self.proc / "net" / "dev").write_text("\n".join(["head", "head", *lines, ""]))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel(tmp_path)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(kernel.proc))
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=4096)))
    seconds = iter(range(0, 10_000, 2))  # every reading is two seconds after the one before
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    return kernel


def is_accepted(sample: Sample) -> bool:
    """Tell whether the server accepts a sample."""
    return [type(message) for message in Framer().feed(sample.native(1, 0.0))] == [SampleMessage]


def core(busy: int, idle: int) -> list[int]:
    return [busy, 0, 0, idle, 0, 0, 0, 0, 0, 0]


def test_cores_and_mean_have_the_same_reading(kernel: Kernel) -> None:
    """The cores and their mean are calculated from the same reading."""
    kernel.cores(core(1000, 500), core(1000, 500))
    sampler = kernel.sampler()
    kernel.cores(core(1030, 570), core(1180, 520))
    sample = sampler.sample()
    assert sample.cpu == (30.0, 90.0)
    assert sample.mean == 70.0  # 210 of 300 ticks


def test_iowait_is_idle(kernel: Kernel) -> None:
    """Waiting for disks counts as idle, and guests' time, which `user` contains, counts once."""
    sampler = kernel.sampler()
    #              user nice system idle iowait irq softirq steal guest guest_nice
    kernel.cores([30, 10, 5, 20, 20, 5, 5, 5, 30, 10])
    assert sampler.sample().cpu == (60.0,)


def test_first_sample_is_a_measurement(kernel: Kernel) -> None:
    """The first sample compares with the start, each further one with the one before."""
    kernel.cores(core(90_000, 10_000))
    sampler = kernel.sampler()
    kernel.cores(core(90_010, 10_090))
    assert sampler.sample().mean == 10.0
    kernel.cores(core(90_060, 10_140))
    assert sampler.sample().mean == 50.0


def test_counters_that_go_back(kernel: Kernel) -> None:
    """A counter that goes back counts 0, and hides no other counter."""
    kernel.physical("sda", "sdb")
    kernel.cores(core(500, 500), core(500, 500))
    kernel.disks(sda=(1000, 1000), sdb=(0, 0))
    kernel.interfaces(eth0=(1000, 5, 5, 1000, 5, 5))
    sampler = kernel.sampler()
    kernel.cores(core(400, 400), core(550, 550))
    kernel.disks(sda=(10, 10), sdb=(4, 8))
    kernel.interfaces(eth0=(10, 0, 0, 10, 0, 0))
    sample = sampler.sample()
    assert (sample.cpu, sample.mean) == ((0.0, 50.0), 50.0)
    assert sample.disk
    assert (sample.disk.read, sample.disk.write) == (1024.0, 2048.0)  # of sdb alone
    assert sample.network == (0.0, 0.0, 0.0, 0.0)


def test_no_time_between_readings(kernel: Kernel) -> None:
    """Without a tick between two readings the CPU is idle."""
    kernel.cores(core(5, 5))
    sample = kernel.sampler().sample()
    assert (sample.cpu, sample.mean) == ((0.0,), 0.0)


@pytest.mark.parametrize("count", [1, 3])
def test_cores_added_or_removed(kernel: Kernel, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """When cores are added or removed, the sampler measures again from there."""
    kernel.cores(core(0, 0), core(1000, 0))
    sampler = kernel.sampler()
    kernel.cores(*[core(5000, 5000)] * count)
    monkeypatch.setattr(time, "sleep", lambda _: kernel.cores(*[core(5020, 5080)] * count))
    assert sampler.sample().cpu == (20.0,) * count


def test_only_physical_disks_count(kernel: Kernel) -> None:
    """Only physical disks count, neither partitions nor layers over disks."""
    kernel.physical("nvme0n1", "cciss!c0d0")
    names = ("nvme0n1", "nvme0n1p1", "dm-0", "loop0", "md0", "cciss/c0d0")
    kernel.disks(**dict.fromkeys(names, (0, 0)))
    sampler = kernel.sampler()
    kernel.disks(**dict.fromkeys(names, (4, 8)))
    disk = sampler.sample().disk
    assert disk
    assert (disk.read, disk.write) == (2 * 4 * 512 / 2, 2 * 8 * 512 / 2)
    assert 0 < disk.used <= disk.total


def test_new_devices_count_from_the_second_reading(kernel: Kernel) -> None:
    """A new disk or interface counts from its second reading."""
    kernel.physical("sda")
    sampler = kernel.sampler()
    kernel.disks(sda=(1000, 1000))
    kernel.interfaces(eth0=(1000, 0, 0, 1000, 0, 0))
    sample = sampler.sample()
    assert sample.disk
    assert (sample.disk.read, sample.network) == (0.0, (0.0, 0.0, 0.0, 0.0))


def test_network_without_loopback(kernel: Kernel) -> None:
    """The network is the sum of all interfaces without loopback."""
    zero = (0, 0, 0, 0, 0, 0)
    kernel.interfaces(lo=zero, eth0=zero, eth1=zero)
    sampler = kernel.sampler()
    kernel.interfaces(lo=(10**9,) * 6, eth0=(100, 1, 2, 200, 3, 4), eth1=(50, 0, 0, 0, 0, 0))
    network = sampler.sample().network
    assert network
    assert network._asdict() == {"received": 75.0, "sent": 100.0, "drops": 3.0, "errors": 2.0}


def test_memory_load_and_own_usage(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample has the memory, the load averages and the agent's own usage."""
    monkeypatch.setattr(os, "getloadavg", lambda: (1.236, 2.0, 3.0))
    sample = kernel.sampler().sample()
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
    ids=["more free than total", "more used than total", "invalid total", "zero"],
)
def test_memory_and_disk_are_clamped(
    kernel: Kernel,
    monkeypatch: pytest.MonkeyPatch,
    memory: tuple[int, ...],
    root: tuple[int, ...],
    expected: tuple[tuple[int, ...] | None, tuple[int, ...] | None],
) -> None:
    """Memory and disk never exceed their total, and a sample without a valid total goes without them."""
    total, used, available = memory
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=total, used=used, available=available))
    monkeypatch.setattr(psutil, "disk_usage", lambda _: SimpleNamespace(total=root[0], used=root[1]))
    sampler = kernel.sampler()
    kernel.cores([1] * 10)
    sample = sampler.sample()
    assert sample.memory == expected[0]
    assert (sample.disk and sample.disk[:2]) == expected[1]
    assert is_accepted(sample)


def test_jumping_counters_are_valid(kernel: Kernel) -> None:
    """Counters that jump as far as they can give a sample that the server accepts."""
    kernel.interfaces(eth0=(0, 0, 0, 0, 0, 0))
    sampler = kernel.sampler()
    kernel.cores([2**62] * 10)
    kernel.interfaces(eth0=(2**64 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1, 2**64 - 1))
    kernel.disks(sda=(2**64 - 1, 2**64 - 1))
    assert is_accepted(sampler.sample())


@pytest.mark.parametrize(
    ("file", "part"), [("meminfo", "memory"), ("diskstats", "disk"), ("net/dev", "network"), ("loadavg", "load")]
)
def test_unavailable_source_is_logged_once(
    kernel: Kernel, file: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that cannot be read is missing from the samples, and logged once."""
    events: list[str] = []
    monkeypatch.setattr("frota.logs.log.record", lambda _level, event, _text, **_: events.append(event))
    exists = os.path.exists
    monkeypatch.setattr(
        os.path, "exists", lambda path: path != "/sys/block" and exists(path)
    )  # psutil's other source of disks

    def fail() -> None:
        raise OSError("no load")

    if part == "load":
        monkeypatch.setattr(os, "getloadavg", fail)
    else:
        (kernel.proc / file).unlink()
    sampler = kernel.sampler()
    kernel.cores(core(50, 50))
    sample = sampler.sample()
    sampler.sample()
    assert sample.mean == 50.0
    missing = [name for name in ("load", "memory", "disk", "network", "own") if getattr(sample, name) is None]
    assert missing == [part]
    assert events == ["source_unavailable"]


def test_cpu_that_cannot_be_read(kernel: Kernel) -> None:
    """Without the CPU's counters there is no sampler."""
    (kernel.proc / "stat").unlink()
    with pytest.raises(FileNotFoundError):
        kernel.sampler()
    kernel.cores()
    with pytest.raises(OSError, match="lists no core"):
        kernel.sampler()


TICKS = st.lists(st.integers(0, 2**63), min_size=10, max_size=10)
CORES = st.lists(TICKS, min_size=1, max_size=4)


@given(st.tuples(CORES, CORES).filter(lambda pair: len(pair[0]) == len(pair[1])))
def test_usage_is_always_a_percentage(pair: tuple[list[list[int]], list[list[int]]]) -> None:
    """Whatever the counters say, usage is from 0 to 100 percent."""
    times = type(psutil.cpu_times())
    before, now = ([times(*core[: len(times._fields)]) for core in cores] for cores in pair)
    percentages, mean = usage(before, now)
    assert len(percentages) == len(now)
    assert all(0 <= percentage <= 100 for percentage in (*percentages, mean))


def test_real_kernel() -> None:
    """The sampler measures the computer that the tests run on."""
    sample = Sampler().sample()
    assert len(sample.cpu) == len(psutil.cpu_times(percpu=True))
    assert sample.memory
    assert sample.own
    assert sample.own.memory > 1 << 20
