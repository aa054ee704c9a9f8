"""The CPU time of one conversion to grey: frota, the legacy worker, and Pillow at its best."""

import json
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.core.compare import Claim, Column, Figures, Scenario
from bench.core.errors import CannotRunError, InvalidRunError
from bench.core.machine import on_load_cpus
from bench.core.options import Options
from bench.images.photos import jpeg

FROTA, DRAFT, LEGACY = "frota", 'draft("L")', "legacy design"
SIDES = {FROTA: "frota", DRAFT: "draft", LEGACY: "legacy"}
SIZES = {"1 MP": (1152, 864, 1.3), "12 MP": (4000, 3000, 1.8)}  # pixels, and how much faster we must be
QUALITIES = (85, 92)

COLUMNS = (
    Column("cpu_ms", "CPU ms", ",.2f"),
    Column("rate", "images/s", ",.1f"),
    Column("bytes", "bytes", ",.0f"),
    Column("largest", "levels off", ",.0f"),
    Column("within_2", "within 2", ".2%"),
)


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return a scenario for each size and quality. Raises CannotRunError where there is no Python beside frota."""
    python = options.frota.with_name("python")
    if not python.exists():
        raise CannotRunError(f"{python} does not exist: frota must be installed in a virtual environment")
    return [scenario(options, python, size, quality) for size in SIZES for quality in QUALITIES]


def scenario(options: Options, python: Path, size: str, quality: int) -> Scenario:
    """Return one scenario, its image ready on disk."""
    width, height, faster = SIZES[size]
    data = jpeg(width, height, quality)
    path = options.folder / f"{width}x{height}-{quality}.jpg"
    path.write_bytes(data)
    measured = {side: partial(measure, python, name, path, options.seconds) for side, name in SIDES.items()}
    claims = (
        Claim("images/s ÷ legacy design", "rate", FROTA, LEGACY, at_least=faster),
        Claim('images/s ÷ draft("L")', "rate", FROTA, DRAFT),
        Claim("levels off, save where RGB is cut", "largest", FROTA, at_most=2, shape=".0f"),
        Claim("bytes ÷ legacy design", "bytes", FROTA, LEGACY),
    )
    return Scenario(f"grey, {size}, quality {quality}", measured, COLUMNS, claims)


def measure(python: Path, side: str, path: Path, seconds: float) -> Figures:
    """Return what a side says of itself, alone on one CPU. Raises InvalidRunError where it fails."""
    command = [str(python), "-m", "bench.images.convert_side", side, str(path), str(seconds)]
    with on_load_cpus():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InvalidRunError(done.stderr.strip()[-500:])
    figures: Figures = json.loads(done.stdout)
    return figures
