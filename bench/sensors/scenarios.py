"""The scenarios of the sensor server, and their targets."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bench.core.build import compile_c
from bench.core.compare import Claim, Column, Scenario
from bench.core.load import Generator, Stats
from bench.core.machine import cpus
from bench.core.options import Options
from bench.core.process import allow_open_files
from bench.sensors import sides
from bench.sensors.measure import measure
from bench.sensors.sides import Side

HERE = Path(__file__).parent
OPEN_FILES = 4096
MAX_READINGS = 400_000  # of one measurement, so that reading back a store does not take longer than filling it
PIPELINED_WINDOW = 8192

FROTA = "frota"
LEGACY = "legacy design"
LEGACY_ONE_CPU = "legacy, one CPU"
EPOLL = "epoll server in C"

COLUMNS = (
    Column("rate", "readings/s", ",.0f"),
    Column("p50_ms", "p50 ms", ",.2f"),
    Column("p99_ms", "p99 ms", ",.2f"),
    Column("peak_mib", "peak MiB", ",.1f"),
    Column("load_busy", "load CPU", ".0%"),
)

MANY_CLAIMS = (
    Claim("readings/s ÷ legacy design", "rate", FROTA, LEGACY, at_least=5),
    Claim("readings/s ÷ legacy, one CPU", "rate", FROTA, LEGACY_ONE_CPU),
    Claim("readings/s ÷ epoll server in C", "rate", FROTA, EPOLL, at_least=0.5),
)
THOUSAND_CLAIMS = (
    *MANY_CLAIMS,
    Claim("p99 ÷ legacy design", "p99_ms", FROTA, LEGACY, at_most=0.1, format_spec=".3f"),
    Claim("frota's peak memory, MiB", "peak_mib", FROTA, at_most=60, format_spec=".1f"),
)
PIPELINED_CLAIMS = (
    Claim("readings/s", "rate", FROTA, at_least=150_000, format_spec=".0f"),
    Claim("readings/s ÷ epoll server in C", "rate", FROTA, EPOLL, format_spec=".3f"),
)


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios of `python -m bench sensors`.

    Raises CannotRunError without a compiler or frota, or if the limit of open files is too low.
    """
    allow_open_files(OPEN_FILES)
    program = compile_c(HERE / "load.c")
    everywhere, first = cpus(), cpus()[:1]
    pipelining = {
        FROTA: sides.frota(options.frota, everywhere),
        EPOLL: sides.epoll(compile_c(HERE / "epoll_server.c"), everywhere),
    }
    all_sides = {
        FROTA: pipelining[FROTA],
        LEGACY: sides.legacy(everywhere),
        LEGACY_ONE_CPU: sides.legacy(first),
        EPOLL: pipelining[EPOLL],
    }

    def scenario(
        title: str, sides_by_name: dict[str, Side], load: Callable[[int], Stats], claims: Sequence[Claim]
    ) -> Scenario:
        measured = {name: partial(measure, side, load, options.folder) for name, side in sides_by_name.items()}
        return Scenario(title, measured, COLUMNS, claims)

    def load(connections: int, protocol: str, window: int) -> Callable[[int], Stats]:
        return partial(Generator(program, connections, options.seconds, MAX_READINGS, [window]).run, protocol=protocol)

    return [
        scenario("100 connections", all_sides, load(100, "legacy", 1), MANY_CLAIMS),
        scenario("1,000 connections", all_sides, load(1000, "legacy", 1), THOUSAND_CLAIMS),
        scenario("1 connection, pipelined", pipelining, load(1, "native", PIPELINED_WINDOW), PIPELINED_CLAIMS),
    ]


def smoke(options: Options) -> Scenario:
    """Return the scenario of --quick. Raises CannotRunError as `scenarios` does."""
    return scenarios(options)[0].only_first_side()
