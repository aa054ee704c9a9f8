"""State folders with a long list: filled once, copied for every measurement."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.core.errors import InvalidRunError
from bench.core.machine import cpus
from bench.core.options import Options
from bench.core.process import free_port, fresh_state, on_cpus, running
from bench.list.client import Client, connected, fill
from bench.list.elements import strings
from bench.list.sides import serve

NO_SNAPSHOT = ("--snapshot-bytes", str(2**30))
"""A limit that the write-ahead log of no list here reaches."""


@contextmanager
def serving(options: Options, state: Path, log: Path, *flags: str) -> Iterator[tuple[int, int]]:
    """Start frota on a state folder; yield its port and process id."""
    port = free_port()
    with running(on_cpus(serve(options.frota, *flags)(port, state), cpus()), port, log) as server:
        yield port, server


@contextmanager
def filled_state(options: Options, name: str, count: int) -> Iterator[tuple[Path, Path]]:
    """Yield a new state folder, with `count` elements in the list `name`, and a file for a server's output."""
    source = options.folder / f"{name}-{count}"
    if not source.exists():
        fill_state(options, name, count, source)
    with fresh_state(options.folder) as (state, log):
        shutil.copytree(source, state, dirs_exist_ok=True)
        yield state, log


def fill_state(options: Options, name: str, count: int, target: Path) -> None:
    """Create the state folder of a server that was killed after `count` appends, without a snapshot."""
    with fresh_state(options.folder) as (state, log):
        with serving(options, state, log, *NO_SNAPSHOT) as (port, _):
            fill(port, name, strings(count))
            with connected(port) as client:
                read_list(client, name, count)
        state.rename(target)


def read_list(client: Client, name: str, count: int) -> list[str]:
    """Return a filled list, in its order. Raises InvalidRunError if it has other elements."""
    elements = list(client.elements(name))
    if sorted(elements) != sorted(strings(count)):
        raise InvalidRunError(f"the {len(elements)} elements of the list {name} are not the {count} that were appended")
    return elements
