"""The scenarios of the peers, and their targets."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial

from bench.core import chroot, rabbitmq
from bench.core.build import BASELINES
from bench.core.compare import Claim, Column, Figures, Scenario
from bench.core.load import MEBIBYTE, figures_of, run_generator, run_pinned
from bench.core.machine import cpus
from bench.core.options import Options
from bench.core.process import allow_open_files, free_port, fresh_state, peak_memory, running
from bench.peers import burst, mariadb, sides
from bench.peers.sides import NewStorage, program, serve

COUNTS = (10, 100)  # of workers
RATE = 1000  # tasks a second while the hand-out is measured
MANY_WORKERS, WAITING_TASKS = 1000, 100_000
OPEN_FILES = 2 * MANY_WORKERS + 500

MEMORY, SQLITE, MARIADB = "frota (memory)", "frota (SQLite)", "frota (MariaDB)"
UPDATES = "frota (MariaDB, UPDATE)"
DASK, CELERY, PING_PONG = "Dask", "Celery, RabbitMQ", "bare ping-pong"
LENDING, ALONE = "lending", "no lending"

Sides = dict[str, Callable[[], Figures]]

RATE_COLUMNS = (
    Column("rate", "tasks/s", ",.0f"),
    Column("cpu_us", "CPU µs", ",.1f"),
    Column("count", "tasks", ",.0f"),
)
HAND_OUT_COLUMNS = (
    Column("p50_ms", "p50 ms", ",.2f"),
    Column("p99_ms", "p99 ms", ",.2f"),
    Column("max_ms", "max ms", ",.2f"),
    Column("count", "tasks", ",.0f"),
    Column("load_busy", "load CPU", ".0%"),
)
BURST_COLUMNS = (
    Column("total_s", "total s", ",.2f"),
    Column("at_work_s", "at work s", ",.2f"),
    Column("home_s", "home s", ",.2f"),
)
# The ratio of the rates, and without a target the inverse ratio of the CPU times, which other work disturbs less.
DASK_CLAIMS = (
    Claim("memory ÷ Dask", "rate", MEMORY, DASK, at_least=25, format_spec=".1f"),
    Claim("CPU: Dask ÷ memory", "cpu_us", DASK, MEMORY, format_spec=".1f"),
)
PING_PONG_CLAIMS = (
    Claim("memory ÷ bare ping-pong", "rate", MEMORY, PING_PONG, at_least=0.6),
    Claim("CPU: bare ping-pong ÷ memory", "cpu_us", PING_PONG, MEMORY),
)
CELERY_CLAIMS = {
    side: (
        Claim(f"{side} ÷ Celery", "rate", side, CELERY, at_least=10, format_spec=".1f"),
        Claim(f"CPU: Celery ÷ {side}", "cpu_us", CELERY, side, format_spec=".1f"),
    )
    for side in (SQLITE, MARIADB)
}
HAND_OUT_CLAIM = Claim("memory: p99, ms", "p99_ms", MEMORY, at_most=25)
WAITING_CLAIM = Claim("memory: peak, MiB", "peak_mib", MEMORY, at_most=200, format_spec=".0f")
BURST_CLAIMS = (
    Claim("total time ÷ no lending", "total_s", LENDING, ALONE, at_most=0.6),
    Claim("all 8 at work after, s", "at_work_s", LENDING, at_most=2),
    Claim("all at home after the end, s", "home_s", LENDING, at_most=5),
)


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios of `python -m bench peers`. Raises CannotRunError without frota."""
    allow_open_files(OPEN_FILES)
    return [
        *(in_memory(options, count) for count in COUNTS),
        *(durable(options, count) for count in COUNTS),
        hand_out(options),
        waiting(options),
        bursts(options),
    ]


def smoke(options: Options) -> Scenario:
    """Return the scenario of --quick."""
    measure = partial(sides.measure_frota, options, sides.memory, COUNTS[0])
    return Scenario(f"memory, {COUNTS[0]} workers", {MEMORY: measure}, RATE_COLUMNS, [])


def in_memory(options: Options, workers: int) -> Scenario:
    """Return the scenario of no-op tasks in memory."""
    sides_by_name: Sides = {
        MEMORY: partial(sides.measure_frota, options, sides.memory, workers),
        PING_PONG: partial(sides.measure_ping_pong, options, workers),
    }
    claims = [*PING_PONG_CLAIMS]
    if has_baseline("distributed", DASK):
        sides_by_name[DASK] = partial(sides.measure_dask, options, workers)
        claims = [*DASK_CLAIMS, *claims]
    return Scenario(f"memory, {workers} workers", sides_by_name, RATE_COLUMNS, claims)


def durable(options: Options, workers: int) -> Scenario:
    """Return the scenario of durable tasks, with the databases and baselines that can run here."""
    storages = durable_storages()
    sides_by_name: Sides = {
        side: partial(sides.measure_frota, options, storage, workers) for side, storage in storages.items()
    }
    if MARIADB in storages:
        sides_by_name[UPDATES] = partial(sides.measure_frota, options, sides.in_mariadb, workers, "update")
    claims: list[Claim] = []
    if has_baseline("celery", CELERY) and can_run(rabbitmq.NAME):
        sides_by_name[CELERY] = partial(sides.measure_celery, options, workers)
        claims += [claim for side in storages for claim in CELERY_CLAIMS[side]]
    return Scenario(f"durable, {workers} workers", sides_by_name, RATE_COLUMNS, claims)


def hand_out(options: Options) -> Scenario:
    """Return the scenario of the latency from a client to a worker."""
    storages = {MEMORY: sides.memory, **durable_storages()}
    sides_by_name: Sides = {side: partial(measure_hand_out, options, storage) for side, storage in storages.items()}
    return Scenario(f"hand-out, {COUNTS[-1]} workers", sides_by_name, HAND_OUT_COLUMNS, [HAND_OUT_CLAIM])


def waiting(options: Options) -> Scenario:
    """Return the scenario of a full queue."""
    sides_by_name: Sides = {
        MEMORY: partial(measure_waiting, options, sides.memory),
        SQLITE: partial(measure_waiting, options, sides.sqlite),
    }
    columns = (Column("peak_mib", "peak MiB", ",.1f"),)
    return Scenario(f"{WAITING_TASKS:,} waiting tasks", sides_by_name, columns, [WAITING_CLAIM])


def bursts(options: Options) -> Scenario:
    """Return the scenario of lending."""
    sides_by_name: Sides = {
        LENDING: partial(burst.measure, options, lends=True),
        ALONE: partial(burst.measure, options, lends=False),
    }
    return Scenario(f"a burst of {burst.TASKS:,}", sides_by_name, BURST_COLUMNS, BURST_CLAIMS)


def measure_hand_out(options: Options, storage: NewStorage) -> Figures:
    """Return the latencies from a client to a worker. Raises InvalidRunError."""
    with storage(options) as kept, fresh_state(options.folder) as (state, log):
        port = free_port()
        with running(serve(options, port, state, kept.flags), port, log) as server:
            load = program("hand_out", port, options.seconds, COUNTS[-1], RATE)
            return figures_of(run_generator(load, options.seconds), peak_memory(server))


def measure_waiting(options: Options, storage: NewStorage) -> Figures:
    """Return the memory of a server with a full queue. Raises InvalidRunError."""
    with storage(options) as kept, fresh_state(options.folder) as (state, log):
        port = free_port()
        with running(serve(options, port, state, kept.flags), port, log) as server:
            load = program("waiting", port, MANY_WORKERS, WAITING_TASKS, server)
            output, _ = run_pinned(load, options.seconds, cpus())
    return {"peak_mib": json.loads(output)["peak"] / MEBIBYTE}


def durable_storages() -> dict[str, NewStorage]:
    """Return the databases that can run here."""
    return {SQLITE: sides.sqlite, **({MARIADB: sides.in_mariadb} if can_run(mariadb.NAME) else {})}


@cache
def can_run(server: str) -> bool:
    """Return whether a server of tools/ can run here; if not, report why."""
    reason = chroot.find_obstacle(server)
    if reason:
        report_skipped(server, reason)
    return not reason


@cache
def has_baseline(package: str, side: str) -> bool:
    """Return whether tools/baselines has fetched a package; if not, report it."""
    found = (BASELINES / package).exists()
    if not found:
        report_skipped(side, "run tools/baselines, which fetches it")
    return found


def report_skipped(side: str, reason: str) -> None:
    """Report that a side is not measured."""
    print(f"bench: the peers are measured without the {side}: {reason}", file=sys.stderr)
