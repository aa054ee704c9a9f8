"""The machine that the figures belong to, and what its disk can do."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.errors import CannotRunError

MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}


def cpus() -> list[int]:
    """Return the numbers of the CPUs that this process may use, ascending."""
    return sorted(os.sched_getaffinity(0))


def load_cpus() -> list[int]:
    """Return where the load runs: the last CPU, alone, so that it never moves."""
    return cpus()[-1:]


@contextmanager
def on_load_cpus() -> Iterator[None]:
    """Keep this thread, and threads and processes that it starts, where the load runs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, load_cpus())
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def placement() -> str:
    """Return how the CPUs are shared, in words."""
    return f"servers on CPUs {', '.join(map(str, cpus()))}, load on CPU {load_cpus()[0]}"


def cpu_model() -> str:
    """Return the processor's name where the kernel tells it, else its architecture."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(folder: Path) -> str:
    """Return the type of the file system that holds `folder` (proc(5), mountinfo)."""
    found, found_type = Path("/"), "unknown"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        point = Path(mount.split()[4].encode().decode("unicode_escape"))
        if folder.resolve().is_relative_to(point) and point.is_relative_to(found):
            found, found_type = point, source.split()[0]
    return found_type


def require_disk(folder: Path) -> None:
    """Raise CannotRunError where `folder` is in memory."""
    if file_system(folder) in MEMORY_FILE_SYSTEMS:
        raise CannotRunError(
            f"{folder} is in memory, where fdatasync costs nothing: name a folder on a disk with --state-root"
        )


def fdatasync_rate(folder: Path, seconds: float = 0.2) -> float:
    """Return how often a second 4 KiB can be appended to a file and fdatasynced."""
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
    """Return what figures from this machine must be read with."""
    return {
        "cpu": cpu_model(),
        "cpus": len(cpus()),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "file_system": file_system(state_root),
    }
