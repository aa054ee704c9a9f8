"""Servers that hold a long list already: filled once, copied for every measurement."""

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
"""More than the journal of any list here."""


@contextmanager
def serving(options: Options, state: Path, log: Path, *flags: str) -> Iterator[tuple[int, int]]:
    """Start frota on a state folder; give its port and process id."""
    port = free_port()
    everywhere = cpus()
    with running(on_cpus(serve(options.frota, *flags)(port, state), everywhere), port, log) as server:
        yield port, server


@contextmanager
def holding(options: Options, name: str, count: int) -> Iterator[tuple[Path, Path]]:
    """Give a fresh state folder in which the list `name` has `count` elements, and a file for a server's output."""
    source = options.folder / f"{name}-{count}"
    if not source.exists():
        make(options, name, count, source)
    with fresh_state(options.folder) as (state, log):
        shutil.copytree(source, state, dirs_exist_ok=True)
        yield state, log


def make(options: Options, name: str, count: int, target: Path) -> None:
    """Leave the state folder of a server that was killed after `count` appends, without a snapshot."""
    with fresh_state(options.folder) as (state, log):
        with serving(options, state, log, *NO_SNAPSHOT) as (port, _):
            fill(port, name, strings(count))
            with connected(port) as client:
                read_back(client, name, count)
        state.rename(target)


def read_back(client: Client, name: str, count: int) -> list[str]:
    """Return the list, in the order that it got when it was filled. Raises InvalidRunError for other elements."""
    found = list(client.elements(name))
    if sorted(found) != sorted(strings(count)):
        raise InvalidRunError(f"the list {name} holds {len(found)} elements that are not the {count} appended to it")
    return found
