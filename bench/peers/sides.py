"""The sides: how to start frota with each storage, Dask, Celery and the ping-pong, and how to load them."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.core import rabbitmq
from bench.core.build import with_baselines
from bench.core.compare import Figures
from bench.core.errors import InvalidRunError
from bench.core.load import Stats, figures_of, run_generator
from bench.core.machine import cpus
from bench.core.options import Options
from bench.core.process import free_port, fresh_state, on_cpus, peak_memory, require_frota, running, started
from bench.peers import mariadb
from bench.peers.client import UPDATE, connected
from bench.peers.mariadb import Schema

START_FLAGS = ("--host", "127.0.0.1", "--metrics-port", "0")


@dataclass(frozen=True)
class Storage:
    """Where a server keeps its tasks: the options of `serve`, and the database in MariaDB, if there is one."""

    flags: Sequence[str]
    durable: bool
    schema: Schema | None = None


NewStorage = Callable[[Options], AbstractContextManager[Storage]]


@contextmanager
def memory(_options: Options) -> Iterator[Storage]:
    """Keep tasks in memory."""
    yield Storage(("--durable", "no"), durable=False)


@contextmanager
def sqlite(_options: Options) -> Iterator[Storage]:
    """Keep tasks in a new SQLite file in the state folder."""
    yield Storage((), durable=True)


@contextmanager
def in_mariadb(options: Options) -> Iterator[Storage]:
    """Keep tasks in a new database of the MariaDB of the run."""
    with mariadb.new_schema(options) as schema:
        yield Storage(schema.flags, durable=True, schema=schema)


def program(module: str, *arguments: object) -> list[str]:
    """Return the command of a program in this folder."""
    return [sys.executable, "-m", f"bench.peers.{module}", *map(str, arguments)]


def serve(options: Options, port: int, state: Path, flags: Sequence[str]) -> list[str]:
    """Return the command of a server, on all CPUs. Raises CannotRunError without frota."""
    require_frota(options.frota)
    address = [*START_FLAGS, "--port", str(port), "--state-dir", str(state)]
    return on_cpus([str(options.frota), "peers", "serve", *address, *flags], cpus())


def measure_frota(options: Options, storage: NewStorage, workers: int, kind: str = "noop") -> Figures:
    """Return the figures of frota. Raises InvalidRunError."""
    with storage(options) as kept, fresh_state(options.folder) as (state, log):
        port = free_port()
        database = (kept.schema.address, kept.schema.password_file) if kept.schema and kind == "update" else ()
        work = on_cpus(program("workers", port, workers, *database), cpus())
        server = running(serve(options, port, state, kept.flags), port, log)
        with server as pid, started(work, output(state)) as worker:
            pids = [pid, worker.pid, *([kept.schema.server.pid] if kept.schema else [])]
            load = program("submit", port, options.seconds, workers, kind, join(pids))
            stats = run_generator(load, options.seconds, cpus())
            peak = peak_memory(pid)
        if kept.durable:
            require_durable(options, state, log, kept, stats["ids"])
        if kept.schema and kind == "update":
            require_updated(kept.schema, len(stats["ids"]))
    return rate_figures(stats, peak)


def require_durable(options: Options, state: Path, log: Path, kept: Storage, ids: Sequence[str]) -> None:
    """Start a server that was killed again. Raises InvalidRunError unless it has the result of each task."""
    port = free_port()
    with running(serve(options, port, state, kept.flags), port, log), connected(port) as client:
        client.require_done(ids)


def require_updated(schema: Schema, count: int) -> None:
    """Raise InvalidRunError unless each of the UPDATEs has changed the balance once."""
    if (found := schema.changes(UPDATE["CPF"])) != (count, count):
        raise InvalidRunError(f"{count} UPDATEs have made {found[0]} changes of {found[1]} tasks")


def measure_ping_pong(options: Options, workers: int) -> Figures:
    """Return the figures of ping_pong.py. Raises InvalidRunError."""
    port = free_port()
    command = on_cpus(program("ping_pong", "serve", port), cpus())
    with fresh_state(options.folder) as (_, log), running(command, port, log) as server:
        work = program("ping_pong", "work", port, workers, options.seconds, server)
        return rate_figures(run_generator(work, options.seconds, cpus()), peak_memory(server))


def measure_dask(options: Options, workers: int) -> Figures:
    """Return the figures of Dask. Raises InvalidRunError."""

    def role(name: str, *arguments: object) -> list[str]:
        return with_baselines(program("dask_side", name, port, state, *arguments))

    with fresh_state(options.folder) as (state, log):
        port = free_port()
        work = on_cpus(role("work", workers), cpus())
        scheduler = running(on_cpus(role("schedule"), cpus()), port, log)
        with scheduler as pid, started(work, output(state)) as worker:
            load = role("submit", workers, options.seconds, join([pid, worker.pid]))
            return rate_figures(run_generator(load, options.seconds, cpus()), peak_memory(pid))


def measure_celery(options: Options, workers: int) -> Figures:
    """Return the figures of Celery with the broker of the run; the memory is its workers'. Raises InvalidRunError."""
    broker = rabbitmq.of_run(options)
    broker.start()
    broker.set_cpus(cpus())
    queue = f"bench-{uuid4().hex}"
    environ = [f"BENCH_BROKER=amqp://127.0.0.1:{broker.port}//", f"BENCH_QUEUE={queue}"]

    def with_broker(command: Sequence[str]) -> list[str]:
        return on_cpus(["env", *environ, *with_baselines(command)], cpus())

    flags = ["--pool", "threads", "--concurrency", str(workers), "--loglevel", "WARNING"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    work = [sys.executable, "-m", "celery", "--app", "bench.peers.celery_app", "worker", *flags, *quiet]
    with fresh_state(options.folder) as (_, log), started(with_broker(work), log) as server:
        load = program("celery_load", options.seconds, join([server.pid, broker.pid]))
        stats = run_generator(with_broker(load), options.seconds, cpus())
        figures = rate_figures(stats, peak_memory(server.pid))
    channel = broker.channel()
    channel.queue_delete(queue)
    channel.connection.close()
    return figures


def rate_figures(stats: Stats, peak: int) -> Figures:
    """Return the figures of a rate, with the CPU time of a task in all processes of the side (µs)."""
    return {**figures_of(stats, peak), "cpu_us": stats["cpu_us"]}


def join(pids: Iterable[int]) -> str:
    """Return process ids as an argument."""
    return ",".join(map(str, pids))


def output(state: Path) -> Path:
    """Return the file for the output of the workers."""
    return state.with_name("workers")
