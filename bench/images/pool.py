"""The worker's converters alone: `python -m bench.images.pool CONVERTERS COUNT FILE…`.

Converts COUNT images, the files in turn, from memory, with the worker's concurrency. Prints one JSON object: the time
of each result (time.monotonic, s), the CPU time (s) after the first PREFETCH_PER_CONVERTER * CONVERTERS results, and
the highest resident set (bytes), the latter two of all processes together.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from bench.core.process import cpu_seconds, peak_memory
from frota.images.converter.pool import ConverterPool

PREFETCH_PER_CONVERTER = 5  # unacknowledged images of the worker


async def main(converters: int, count: int, images: list[bytes]) -> None:
    """Convert the images, and print the statistics."""
    times: list[float] = []
    cpu: list[float] = []
    numbers = iter(range(count))

    async def convert_some(pool: ConverterPool) -> None:
        for number in numbers:
            await pool.convert(images[number % len(images)], ".jpg")
            times.append(time.monotonic())
            if len(times) in (PREFETCH_PER_CONVERTER * converters, count):
                cpu.append(cpu_seconds(os.getpid()))

    async with ConverterPool(converters) as pool:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(PREFETCH_PER_CONVERTER * converters):
                tasks.create_task(convert_some(pool))
        peak = peak_memory(os.getpid())
    print(json.dumps({"times": times, "cpu": cpu[1] - cpu[0], "peak": peak}))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), [Path(name).read_bytes() for name in sys.argv[3:]]))
