"""What an agent costs the computer that it measures: memory, CPU, and the time until it is there."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from bench.core.compare import Claim, Column, Figures, Scenario
from bench.core.errors import CannotRunError, InvalidRunError
from bench.core.options import Options
from bench.cpu import agent_sides as sides
from bench.cpu.agent_sides import Started

FROTA, BARE, EXPORTER, GLANCES = "frota", "psutil in a loop", "node-exporter", "Glances"
NOTHING = "python -c pass"
INTERVAL, SLOW_INTERVAL = 0.1, 1.0  # seconds; Glances measures no faster
SAMPLES_OF_AN_HOUR = 720  # one every 5 s
LONGER = 4  # than other measurements: a sample takes a thousandth of a second of CPU
SETTLED = 3  # samples that are not counted: whatever is loaded only once it is needed
STARTS = 5

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
    Claim("frota's first line, ms", "start_ms", FROTA, at_most=150, shape=".0f"),
    Claim("÷ python -c pass", "start_ms", FROTA, NOTHING, shape=".1f"),
)


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return the agent's scenarios; a peer that is not here is left out with a sentence. Raises CannotRunError."""
    if not options.frota.exists():
        raise CannotRunError(f"there is no {options.frota}: run `make venv`, or name one with --frota")
    start(options)  # compiles what has not been compiled yet
    seconds = LONGER * options.seconds
    compared: dict[str, Callable[[], Figures]] = {
        FROTA: partial(measure_ours, options, seconds),
        BARE: partial(measure, partial(sides.bare, INTERVAL), seconds),
    }
    claims = [*CLAIMS]
    if file := sides.exporter_file():
        compared[EXPORTER] = partial(measure, partial(sides.exporter, file, INTERVAL), seconds)
        claims += EXPORTER_CLAIMS
    else:
        missing(EXPORTER)
    if sides.GLANCES.exists():
        compared[GLANCES] = partial(measure, partial(sides.glances, SLOW_INTERVAL), seconds)
        claims += GLANCES_CLAIMS
    else:
        missing(GLANCES)
    started: dict[str, Callable[[], Figures]] = {FROTA: partial(start, options), NOTHING: start_nothing}
    return [
        Scenario("agent", compared, COLUMNS, claims),
        Scenario("agent, start", started, START_COLUMNS, START_CLAIMS),
    ]


def missing(peer: str) -> None:
    """Say what is not compared, and how it would be."""
    print(f"bench: no {peer} here, so it is left out: tools/peers fetches it", file=sys.stderr)


def measure_ours(options: Options, seconds: float) -> Figures:
    """Measure our agent, on a state folder of its own."""
    with tempfile.TemporaryDirectory(dir=options.folder) as state:
        return measure(partial(sides.frota, options.frota, Path(state), INTERVAL), seconds)


def measure(side: Callable[[], AbstractContextManager[Started]], seconds: float) -> Figures:
    """Return memory at the end, CPU a sample, and CPU of an hour with a sample every 5 s."""
    with side() as (pid, samples):
        for _ in range(SETTLED):
            expect(samples)
        before, began, count = sides.figures(pid), time.monotonic(), 0
        while time.monotonic() - began < seconds:
            expect(samples)
            count += 1
        after = sides.figures(pid)
    spent = (after["cpu"] - before["cpu"]) / count
    return {"resident_mib": after["resident_mib"], "sample_ms": spent * 1e3, "hour_s": spent * SAMPLES_OF_AN_HOUR}


def expect(samples: Iterator[None]) -> None:
    """Wait for the next sample. Raises InvalidRunError where there is none."""
    if next(samples, 0) is not None:
        raise InvalidRunError("the agent gives no more samples")


def start(options: Options) -> Mapping[str, float]:
    """Return how long our agent takes from its start to its first line with the server; the best of some."""
    best = float("inf")
    for _ in range(STARTS):
        with tempfile.TemporaryDirectory(dir=options.folder) as state:
            began = time.monotonic()
            with sides.frota(options.frota, Path(state), INTERVAL) as (_pid, samples):
                best = min(best, time.monotonic() - began)
                expect(samples)
    return {"start_ms": best * 1e3}


def start_nothing() -> Mapping[str, float]:
    """Return how long a Python takes that does nothing; the best of some."""
    best = float("inf")
    for _ in range(STARTS):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        best = min(best, time.monotonic() - began)
    return {"start_ms": best * 1e3}
