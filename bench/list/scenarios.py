"""The scenarios of the remote list, and their targets."""

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
SHOW_ELEMENTS = 100_000
MANY_ELEMENTS = 1_000_000

LEGACY = "frota (legacy)"
NATIVE = "frota (native)"
REDIS = "Redis (fsync always)"
ECHO = "bare pyzmq REP echo"
REPR = "repr in plain Python"
FROTA = "frota"
PLAIN_SORT = "list.sort in one call"
SNAPSHOT = "frota (snapshot)"
NO_SNAPSHOT = "frota (no snapshot)"

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
SNAPSHOT_COLUMNS = (*WAIT_COLUMNS, Column("snapshots", "snapshots", ",.0f"))

DURABLE_CLAIMS = (
    Claim("native ÷ Redis (aim: 1)", "rate", NATIVE, REDIS, at_least=0.5),
    Claim("legacy ÷ Redis (aim: 1)", "rate", LEGACY, REDIS, at_least=0.5),
)
MEMORY_CLAIMS = (
    Claim("legacy ÷ bare echo", "rate", LEGACY, ECHO, at_least=0.75),
    Claim("native ÷ bare echo", "rate", NATIVE, ECHO),
)
# Without targets: these clients use so little CPU that the servers get both CPUs.
LIMIT_CLAIMS = tuple(Claim(claim.text, claim.figure, claim.side, claim.against) for claim in MEMORY_CLAIMS)
SHOW_CLAIMS = (
    Claim("legacy, changed, ms", "first_ms", LEGACY, at_most=15),
    Claim("native, changed, ms", "first_ms", NATIVE, at_most=15),
    Claim("legacy ÷ repr", "first_ms", LEGACY, REPR),
    Claim("native ÷ repr", "first_ms", NATIVE, REPR),
)
SORT_CLAIMS = (
    Claim("longest wait, ms", "longest_ms", FROTA, at_most=100, format_spec=".1f"),
    Claim("time to sort ÷ list.sort", "sort_ms", FROTA, PLAIN_SORT),
    Claim("peak memory, MiB", "peak_mib", FROTA, format_spec=".1f"),
)
SNAPSHOT_CLAIMS = (
    Claim("longest wait, ms", "longest_ms", SNAPSHOT, at_most=50, format_spec=".1f"),
    Claim("longest wait ÷ without snapshot", "longest_ms", SNAPSHOT, NO_SNAPSHOT),
    Claim("peak memory, MiB", "peak_mib", SNAPSHOT, format_spec=".1f"),
)


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios of `python -m bench list`. Raises CannotRunError without a compiler, frota or Redis."""
    return [*appends(options), showing(options), *waiting(options)]


def smoke(options: Options) -> Scenario:
    """Return the scenario of --quick. Raises CannotRunError as `scenarios` does."""
    return appends(options)[1].only_first_side()


def appends(options: Options) -> list[Scenario]:
    """Return the scenarios of appends, on disk and in memory."""
    program = compile_c(HERE / "load.c")

    def frota(load: Generator | LegacyClients, durable: bool) -> dict[str, Side]:
        protocols = {NATIVE: "native", LEGACY: "legacy"}
        return {side: sides.frota(options.frota, load, protocol, durable) for side, protocol in protocols.items()}

    def scenario(title: str, sides_by_name: dict[str, Side], claims: Sequence[Claim]) -> Scenario:
        measured = {name: partial(measure, side, options.folder) for name, side in sides_by_name.items()}
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
    """Return the scenario that shows a long list."""
    sides_by_name = {
        NATIVE: partial(show.measure_show, options, show.NATIVE, SHOW_ELEMENTS),
        LEGACY: partial(show.measure_show, options, show.LEGACY, SHOW_ELEMENTS),
        REPR: partial(show.measure_repr, options, SHOW_ELEMENTS),
    }
    return Scenario(f"show {SHOW_ELEMENTS:,}", sides_by_name, SHOW_COLUMNS, SHOW_CLAIMS)


def waiting(options: Options) -> list[Scenario]:
    """Return the scenarios in which a client waits while the server sorts or writes a snapshot."""
    sorting = {
        FROTA: partial(waits.measure_sort, options, MANY_ELEMENTS),
        PLAIN_SORT: partial(waits.measure_plain_sort, MANY_ELEMENTS),
    }
    snapshots = {
        SNAPSHOT: partial(waits.measure_snapshot, options, MANY_ELEMENTS, with_snapshot=True),
        NO_SNAPSHOT: partial(waits.measure_snapshot, options, MANY_ELEMENTS, with_snapshot=False),
    }
    return [
        Scenario(f"sort {MANY_ELEMENTS:,}", sorting, SORT_COLUMNS, SORT_CLAIMS),
        Scenario(f"snapshot {MANY_ELEMENTS:,}", snapshots, SNAPSHOT_COLUMNS, SNAPSHOT_CLAIMS),
    ]
