"""The CPU time of one conversion to grey: frota, the legacy worker, and Pillow at its best."""

import json
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.core.compare import Claim, Column, Figures, Scenario
from bench.core.errors import CannotRunError, InvalidRunError
from bench.core.machine import on_load_cpu
from bench.core.options import Options
from bench.images.photos import jpeg

FROTA, DRAFT, LEGACY = "frota", 'draft("L")', "legacy design"
SIDES = {FROTA: "frota", DRAFT: "draft", LEGACY: "legacy"}
SIZES = {"1 MP": (1152, 864, 1.3), "12 MP": (4000, 3000, 1.8)}  # pixels, target for the ratio of the rates
QUALITIES = (85, 92)

COLUMNS = (
    Column("cpu_ms", "CPU ms", ",.2f"),
    Column("rate", "images/s", ",.1f"),
    Column("bytes", "bytes", ",.0f"),
    Column("largest", "levels off", ",.0f"),
    Column("within_2", "within 2", ".2%"),
)


def scenarios(options: Options) -> Sequence[Scenario]:
    """Return a scenario for each size and quality. Raises CannotRunError if frota has no virtual environment."""
    python = options.frota.with_name("python")
    if not python.exists():
        raise CannotRunError(f"{python} does not exist: frota must be installed in a virtual environment")
    return [scenario(options, python, size, quality) for size in SIZES for quality in QUALITIES]


def scenario(options: Options, python: Path, size: str, quality: int) -> Scenario:
    """Return a scenario, with its image on disk."""
    width, height, ratio = SIZES[size]
    data = jpeg(width, height, quality)
    path = options.folder / f"{width}x{height}-{quality}.jpg"
    path.write_bytes(data)
    measured = {side: partial(measure, python, name, path, options.seconds) for side, name in SIDES.items()}
    claims = (
        Claim("images/s ÷ legacy design", "rate", FROTA, LEGACY, at_least=ratio),
        Claim('images/s ÷ draft("L")', "rate", FROTA, DRAFT),
        Claim("levels off, except clipped RGB", "largest", FROTA, at_most=2, format_spec=".0f"),
        Claim("bytes ÷ legacy design", "bytes", FROTA, LEGACY),
    )
    return Scenario(f"grey, {size}, quality {quality}", measured, COLUMNS, claims)


def measure(python: Path, side: str, path: Path, seconds: float) -> Figures:
    """Return the figures of a side, which runs alone on one CPU. Raises InvalidRunError if it fails."""
    command = [str(python), "-m", "bench.images.convert_side", side, str(path), str(seconds)]
    with on_load_cpu():
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise InvalidRunError(result.stderr.strip()[-500:])
    figures: Figures = json.loads(result.stdout)
    return figures
