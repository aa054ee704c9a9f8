"""The servers to compare: how to start each, and how to read its store."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import InvalidRunError
from bench.core.process import require_frota

LEGACY = Path(__file__).with_name("legacy_server.py")


@dataclass(frozen=True)
class Side:
    """`command` starts a server on a port with a state folder; `stored` counts the texts in its store."""

    command: Callable[[int, Path], list[str]]
    stored: Callable[[Path, int], Counter[str]]
    cpus: Collection[int]


def frota(program: Path, cpus: Collection[int]) -> Side:
    """Return the sensor server of frota. Raises CannotRunError if `program` does not exist."""
    require_frota(program)

    def command(port: int, state: Path) -> list[str]:
        return [str(program), "sensors", "serve", "--host", "127.0.0.1", "--port", str(port), "--state-dir", str(state)]

    def stored(state: Path, count: int) -> Counter[str]:
        return history(program, state, count)

    return Side(command, stored, cpus)


def history(program: Path, state: Path, count: int) -> Counter[str]:
    """Return the stored readings, at most one more than `count`, so that a surplus shows."""
    command = [str(program), "sensors", "history", "--state-dir", str(state), "--last", str(count + 1), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        texts = Counter(json.loads(line)["text"] for line in process.stdout or ())
    if process.returncode != 0:
        raise InvalidRunError(f"`frota sensors history` exited with status {process.returncode}")
    return texts


def legacy(cpus: Collection[int]) -> Side:
    """Return the legacy design, whose store is its log file."""

    def command(port: int, state: Path) -> list[str]:
        return [sys.executable, str(LEGACY), str(port), str(state / "log")]

    def stored(state: Path, _count: int) -> Counter[str]:
        with (state / "log").open(encoding="utf-8") as log:
            return Counter(line.rstrip("\n").partition("): ")[2] for line in log if " - Recebido de " in line)

    return Side(command, stored, cpus)


def epoll(program: Path, cpus: Collection[int]) -> Side:
    """Return the server in C, whose store is a file with one reading per line."""

    def command(port: int, state: Path) -> list[str]:
        return [str(program), str(port), str(state / "readings")]

    def stored(state: Path, _count: int) -> Counter[str]:
        with (state / "readings").open(encoding="utf-8") as readings:
            return Counter(line.rstrip("\n") for line in readings)

    return Side(command, stored, cpus)
