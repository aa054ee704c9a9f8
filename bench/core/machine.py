"""The machine on which the benchmark runs, and the speed of its disk."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.errors import CannotRunError

MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}


def cpus() -> list[int]:
    """Return the numbers of the CPUs that this process may use, in ascending order."""
    return sorted(os.sched_getaffinity(0))


def load_cpus() -> list[int]:
    """Return the CPU of the load generators: the last one, so that the scheduler never moves them."""
    return cpus()[-1:]


@contextmanager
def on_load_cpu() -> Iterator[None]:
    """Pin this thread, and the threads and processes that it starts, to the CPU of the load generators."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, load_cpus())
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def placement() -> str:
    """Return a description of which process runs on which CPU."""
    return f"servers on CPUs {', '.join(map(str, cpus()))}, load on CPU {load_cpus()[0]}"


def cpu_model() -> str:
    """Return the processor's name, or its architecture if the kernel does not report a name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(folder: Path) -> str:
    """Return the type of the file system that contains `folder` (proc(5), mountinfo)."""
    mount_point, fs_type = Path("/"), "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        point = Path(mount.split()[4].encode().decode("unicode_escape"))
        if folder.resolve().is_relative_to(point) and point.is_relative_to(mount_point):
            mount_point, fs_type = point, source.split()[0]
    return fs_type


def require_disk(folder: Path) -> None:
    """Raise CannotRunError if `folder` is on a file system in memory."""
    if file_system(folder) in MEMORY_FILE_SYSTEMS:
        raise CannotRunError(
            f"{folder} is in memory, where fdatasync costs nothing: choose a folder on a disk with --state-root"
        )


def fdatasync_rate(folder: Path, seconds: float = 0.2) -> float:
    """Return how many appends of 4 KiB, each followed by fdatasync, the disk does per second."""
    path = folder / "fdatasync-probe"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        count, start = 0, time.monotonic()
        while (elapsed := time.monotonic() - start) < seconds:
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
            count += 1
        return count / elapsed
    finally:
        os.close(descriptor)
        path.unlink()


def describe(state_root: Path) -> dict[str, str | int]:
    """Return the properties of this machine that influence the figures."""
    return {
        "cpu": cpu_model(),
        "cpus": len(cpus()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": file_system(state_root),
    }
