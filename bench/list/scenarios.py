"""What is measured of the remote list, and what it must reach."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.core.build import compile_c
from bench.core.compare import Claim, Column, Scenario
from bench.core.load import Generator
from bench.core.options import Options
from bench.list import show, sides, waits
from bench.list.measure import measure
from bench.list.sides import LegacyClients, Side

HERE = Path(__file__).parent
MAX_APPENDS = 400_000  # of one measurement, so that reading back a list does not take longer than filling it
SHOWN = 100_000
MANY = 1_000_000

LEGACY = "frota (legacy)"
NATIVE = "frota (native)"
REDIS = "Redis (fsync always)"
ECHO = "bare pyzmq REP echo"
REPR = "repr in plain Python"
FROTA = "frota"
PLAIN_SORT = "list.sort in one call"
COMPACTING = "frota (compacting)"
QUIET = "frota (no snapshot)"

APPEND_COLUMNS = (
    Column("rate", "appends/s", ",.0f"),
    Column("p50_ms", "p50 ms", ",.2f"),
    Column("p99_ms", "p99 ms", ",.2f"),
    Column("peak_mib", "peak MiB", ",.1f"),
    Column("load_busy", "load CPU", ".0%"),
)
SHOW_COLUMNS = (
    Column("first_ms", "changed ms", ",.2f"),
    Column("longest_ms", "longest ms", ",.2f"),
    Column("again_ms", "again ms", ",.2f"),
    Column("rounds", "rounds", ",.0f"),
)
WAIT_COLUMNS = (
    Column("longest_ms", "longest ms", ",.2f"),
    Column("p50_ms", "p50 ms", ",.2f"),
    Column("requests", "requests", ",.0f"),
)
SORT_COLUMNS = (*WAIT_COLUMNS, Column("sort_ms", "sort ms", ",.0f"))
COMPACTION_COLUMNS = (*WAIT_COLUMNS, Column("snapshots", "snapshots", ",.0f"))

DURABLE_CLAIMS = (
    Claim("native ÷ Redis (aim: 1)", "rate", NATIVE, REDIS, at_least=0.5),
    Claim("legacy ÷ Redis (aim: 1)", "rate", LEGACY, REDIS, at_least=0.5),
)
MEMORY_CLAIMS = (
    Claim("legacy ÷ bare echo", "rate", LEGACY, ECHO, at_least=0.75),
    Claim("native ÷ bare echo", "rate", NATIVE, ECHO),
)
# Clients that cost next to nothing leave both CPUs to the servers, whose whole cost then shows.
LIMIT_CLAIMS = tuple(Claim(claim.text, claim.figure, claim.side, claim.against) for claim in MEMORY_CLAIMS)
SHOW_CLAIMS = (
    Claim("legacy, changed, ms", "first_ms", LEGACY, at_most=15),
    Claim("native, changed, ms", "first_ms", NATIVE, at_most=15),
    Claim("legacy ÷ repr", "first_ms", LEGACY, REPR),
    Claim("native ÷ repr", "first_ms", NATIVE, REPR),
)
SORT_CLAIMS = (
    Claim("longest wait meanwhile, ms", "longest_ms", FROTA, at_most=100, shape=".1f"),
    Claim("time to sort ÷ list.sort", "sort_ms", FROTA, PLAIN_SORT),
    Claim("peak memory, MiB", "peak_mib", FROTA, shape=".1f"),
)
COMPACTION_CLAIMS = (
    Claim("longest wait meanwhile, ms", "longest_ms", COMPACTING, at_most=50, shape=".1f"),
    Claim("longest wait ÷ without snapshot", "longest_ms", COMPACTING, QUIET),
    Claim("peak memory, MiB", "peak_mib", COMPACTING, shape=".1f"),
)


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return what `python -m bench list` measures.

    Raises CannotRunError where the compiler, frota or Redis is missing.
    """
    return [*appends(options), showing(options), *waiting(options)]


def smoke(options: Options) -> Scenario:
    """Return what shows that the benchmark runs. Raises CannotRunError as `scenarios` does."""
    return appends(options)[1].first_alone()


def appends(options: Options) -> list[Scenario]:
    """Return the scenarios that count appends: on disk, and in memory."""
    program = compile_c(HERE / "load.c")

    def frota(load: Generator | LegacyClients, durable: bool) -> dict[str, Side]:
        protocols = {NATIVE: "native", LEGACY: "legacy"}
        return {side: sides.frota(options.frota, load, protocol, durable) for side, protocol in protocols.items()}

    def scenario(title: str, compared: dict[str, Side], claims: Sequence[Claim]) -> Scenario:
        measured = {name: partial(measure, side, options.folder) for name, side in compared.items()}
        return Scenario(title, measured, APPEND_COLUMNS, claims)

    def generator(clients: int) -> Generator:
        return Generator(program, clients, options.seconds, MAX_APPENDS)

    def durable(clients: int) -> dict[str, Side]:
        load = generator(clients)
        return {**frota(load, durable=True), REDIS: sides.redis_side(load)}

    def in_memory(load: Generator | LegacyClients) -> dict[str, Side]:
        return {**frota(load, durable=False), ECHO: sides.echo(load)}

    legacy_clients, light = LegacyClients(16, options.seconds), generator(16)
    return [
        scenario("durable, 1 client", durable(1), DURABLE_CLAIMS),
        scenario("durable, 16 clients", durable(16), DURABLE_CLAIMS),
        scenario("memory, 16 legacy clients", in_memory(legacy_clients), MEMORY_CLAIMS),
        scenario("memory, 16 light clients", in_memory(light), LIMIT_CLAIMS),
    ]


def showing(options: Options) -> Scenario:
    """Return the scenario of a long list that is shown."""
    compared = {
        NATIVE: partial(show.measure_show, options, show.NATIVE, SHOWN),
        LEGACY: partial(show.measure_show, options, show.LEGACY, SHOWN),
        REPR: partial(show.measure_repr, options, SHOWN),
    }
    return Scenario(f"show {SHOWN:,}", compared, SHOW_COLUMNS, SHOW_CLAIMS)


def waiting(options: Options) -> list[Scenario]:
    """Return the scenarios in which one client waits because of another, or of the server itself."""
    sorting = {FROTA: partial(waits.measure_sort, options, MANY), PLAIN_SORT: partial(waits.measure_plain_sort, MANY)}
    compacting = {
        COMPACTING: partial(waits.measure_compaction, options, MANY, compacts=True),
        QUIET: partial(waits.measure_compaction, options, MANY, compacts=False),
    }
    return [
        Scenario(f"sort {MANY:,}", sorting, SORT_COLUMNS, SORT_CLAIMS),
        Scenario(f"compact {MANY:,}", compacting, COMPACTION_COLUMNS, COMPACTION_CLAIMS),
    ]
