"""The servers that are compared: how each is started, and how its store is read back."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import CannotRunError, InvalidRunError

LEGACY = Path(__file__).with_name("legacy_server.py")


@dataclass(frozen=True)
class Side:
    """`command` takes port and state directory; `stored` counts the texts of the readings kept there."""

    command: Callable[[int, Path], list[str]]
    stored: Callable[[Path, int], Counter[str]]
    cpus: Collection[int]


def frota(program: Path, cpus: Collection[int]) -> Side:
    """Return our own server. Raises CannotRunError where there is no such program."""
    if not program.exists():
        raise CannotRunError(f"there is no {program}: run `make venv`, or name one with --frota")

    def command(port: int, state: Path) -> list[str]:
        return [str(program), "sensors", "serve", "--host", "127.0.0.1", "--port", str(port), "--state-dir", str(state)]

    def stored(state: Path, count: int) -> Counter[str]:
        return history(program, state, count)

    return Side(command, stored, cpus)


def history(program: Path, state: Path, count: int) -> Counter[str]:
    """Read back one reading more than there should be, so that a surplus shows."""
    command = [str(program), "sensors", "history", "--state-dir", str(state), "--last", str(count + 1), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        texts = Counter(json.loads(line)["text"] for line in process.stdout or ())
    if process.returncode != 0:
        raise InvalidRunError(f"`frota sensors history` ended with {process.returncode}")
    return texts


def legacy(cpus: Collection[int]) -> Side:
    """Return the legacy design; its store is its log."""

    def command(port: int, state: Path) -> list[str]:
        return [sys.executable, str(LEGACY), str(port), str(state / "log")]

    def stored(state: Path, _count: int) -> Counter[str]:
        with (state / "log").open(encoding="utf-8") as log:
            return Counter(line.rstrip("\n").partition("): ")[2] for line in log if " - Recebido de " in line)

    return Side(command, stored, cpus)


def epoll(program: Path, cpus: Collection[int]) -> Side:
    """Return the plain server in C; its store is a file with a reading on each line."""

    def command(port: int, state: Path) -> list[str]:
        return [str(program), str(port), str(state / "readings")]

    def stored(state: Path, _count: int) -> Counter[str]:
        with (state / "readings").open(encoding="utf-8") as readings:
            return Counter(line.rstrip("\n") for line in readings)

    return Side(command, stored, cpus)
