"""The worker's converters alone: `python -m bench.images.pool CONVERTERS COUNT FILE…`.

Converts COUNT images, the files in turn and from memory, as many at a time as the worker does. Prints one JSON
object: when each was ready, in seconds of time.monotonic; the CPU seconds spent since the first images were ready, as
many as are handed out at a time; and the peak of the memory in bytes; all processes together.
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

HANDED_OUT = 5  # images for each converter, as the worker has


async def main(converters: int, count: int, images: list[bytes]) -> None:
    """Convert, and print."""
    times: list[float] = []
    used: list[float] = []
    numbers = iter(range(count))

    async def convert_some(pool: ConverterPool) -> None:
        for number in numbers:
            await pool.convert(images[number % len(images)], ".jpg")
            times.append(time.monotonic())
            if len(times) in (HANDED_OUT * converters, count):
                used.append(cpu_seconds(os.getpid()))

    async with ConverterPool(converters) as pool:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(HANDED_OUT * converters):
                tasks.create_task(convert_some(pool))
        peak = peak_memory(os.getpid())
    print(json.dumps({"times": times, "cpu": used[1] - used[0], "peak": peak}))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), [Path(name).read_bytes() for name in sys.argv[3:]]))
