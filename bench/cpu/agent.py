"""The cost of an agent: memory, CPU time, and the time to start."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from bench.core.build import BASELINES
from bench.core.compare import Claim, Column, Figures, Scenario
from bench.core.errors import InvalidRunError
from bench.core.options import Options
from bench.core.process import require_frota
from bench.cpu import agent_sides as sides
from bench.cpu.agent_sides import Started

FROTA, BARE, EXPORTER, GLANCES = "frota", "psutil in a loop", "node-exporter", "Glances"
NOTHING = "python -c pass"
INTERVAL, SLOW_INTERVAL = 0.1, 1.0  # seconds; Glances measures no faster
SAMPLES_OF_AN_HOUR = 720  # one every 5 s
LENGTH_FACTOR = 4  # a longer measurement than others, since a sample takes only 1 ms of CPU time
WARM_UP_SAMPLES = 3  # not counted, because they load modules
STARTS = 5  # the best of which counts

COLUMNS = (
    Column("resident_mib", "RSS MiB", ",.1f"),
    Column("sample_ms", "CPU ms", ",.2f"),
    Column("hour_s", "CPU s/h", ",.2f"),
)
START_COLUMNS = (Column("start_ms", "start ms", ",.0f"),)

CLAIMS = (
    Claim("RSS ÷ psutil in a loop", "resident_mib", FROTA, BARE),
    Claim("CPU ÷ psutil in a loop", "hour_s", FROTA, BARE),
)
EXPORTER_CLAIMS = (
    Claim("RSS ÷ node-exporter", "resident_mib", FROTA, EXPORTER, at_most=1.2),
    Claim("CPU ÷ node-exporter", "hour_s", FROTA, EXPORTER, at_most=0.3),
)
GLANCES_CLAIMS = (Claim("RSS ÷ Glances", "resident_mib", FROTA, GLANCES, at_most=0.25),)
START_CLAIMS = (
    Claim("first line of frota, ms", "start_ms", FROTA, at_most=150, format_spec=".0f"),
    Claim("÷ python -c pass", "start_ms", FROTA, NOTHING, format_spec=".1f"),
)


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the scenarios of the agent, without baselines that are missing. Raises CannotRunError without frota."""
    require_frota(options.frota)
    start(options)  # compiles Python modules that have no bytecode yet
    seconds = LENGTH_FACTOR * options.seconds
    sides_by_name: dict[str, Callable[[], Figures]] = {
        FROTA: partial(measure_frota, options, seconds),
        BARE: partial(measure, partial(sides.bare, INTERVAL), seconds),
    }
    claims = [*CLAIMS]
    if file := sides.exporter_file():
        sides_by_name[EXPORTER] = partial(measure, partial(sides.exporter, file, INTERVAL), seconds)
        claims += EXPORTER_CLAIMS
    else:
        report_missing(EXPORTER)
    if BASELINES.exists():
        sides_by_name[GLANCES] = partial(measure, partial(sides.glances, SLOW_INTERVAL), seconds)
        claims += GLANCES_CLAIMS
    else:
        report_missing(GLANCES)
    started: dict[str, Callable[[], Figures]] = {FROTA: partial(start, options), NOTHING: start_nothing}
    return [
        Scenario("agent", sides_by_name, COLUMNS, claims),
        Scenario("agent, start", started, START_COLUMNS, START_CLAIMS),
    ]


def report_missing(baseline: str) -> None:
    """Report a baseline that is skipped."""
    print(f"bench: {baseline} is skipped because it is missing; tools/baselines fetches it", file=sys.stderr)


def measure_frota(options: Options, seconds: float) -> Figures:
    """Measure the agent of frota with a new state folder."""
    with tempfile.TemporaryDirectory(dir=options.folder) as state:
        return measure(partial(sides.frota, options.frota, Path(state), INTERVAL), seconds)


def measure(side: Callable[[], AbstractContextManager[Started]], seconds: float) -> Figures:
    """Return the resident memory at the end, the CPU time per sample, and per hour with a sample every 5 s."""
    with side() as (pid, samples):
        for _ in range(WARM_UP_SAMPLES):
            wait_for_sample(samples)
        before, start_time, count = sides.figures(pid), time.monotonic(), 0
        while time.monotonic() - start_time < seconds:
            wait_for_sample(samples)
            count += 1
        after = sides.figures(pid)
    spent = (after["cpu"] - before["cpu"]) / count
    return {"resident_mib": after["resident_mib"], "sample_ms": spent * 1e3, "hour_s": spent * SAMPLES_OF_AN_HOUR}


def wait_for_sample(samples: Iterator[None]) -> None:
    """Wait for the next sample. Raises InvalidRunError if the agent sends no more."""
    if next(samples, 0) is not None:
        raise InvalidRunError("the agent sends no more samples")


def start(options: Options) -> Mapping[str, float]:
    """Return the time from the start of the agent to its first line at the server; the best of STARTS."""
    best = float("inf")
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory(dir=options.folder) as state:
            start_time = time.monotonic()
            with sides.frota(options.frota, Path(state), INTERVAL) as (_pid, samples):
                best = min(best, time.monotonic() - start_time)
                wait_for_sample(samples)
    return {"start_ms": best * 1e3}


def start_nothing() -> Mapping[str, float]:
    """Return the time to start and end Python; the best of STARTS."""
    best = float("inf")
    for _ in range(STARTS):
        start_time = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        best = min(best, time.monotonic() - start_time)
    return {"start_ms": best * 1e3}
