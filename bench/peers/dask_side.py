"""Dask's distributed scheduler with no-op tasks, as three processes like those of frota.

    python -m bench.peers.dask_side schedule PORT FOLDER
    python -m bench.peers.dask_side work PORT FOLDER WORKERS    one process; each worker has one thread
    python -m bench.peers.dask_side submit PORT FOLDER WORKERS SECONDS PID,…
                                                                one client; prints the statistics

The client keeps WINDOW batches of BATCH tasks outstanding: it submits the next one when the scheduler has told it of
each task of a batch that it is finished. It gathers no results. FOLDER is for files of the workers. The statistics are
those of steady_state.py, with the CPU time of processes PID.
"""

import asyncio
import sys
from collections.abc import Sequence
from functools import partial

# Dask is not in .venv: tools/baselines fetches it into bench/build.
import dask  # type: ignore[import-not-found]  # only tools/baselines fetches it
import distributed  # type: ignore[import-not-found]  # as above

from bench.core.errors import InvalidRunError
from bench.core.load import Stats, print_stats
from bench.peers.steady_state import SteadyState, parse_pids

WINDOW, BATCH = 4, 250
STEP = 100  # tasks: they finish one by one
START_TIMEOUT_S = 60.0
HOST = "127.0.0.1"
WITHOUT_DASHBOARD = {"dashboard": False, "dashboard_address": f"{HOST}:0"}


def noop(_number: int) -> None:
    """Do nothing."""


async def schedule(port: int) -> None:
    """Schedule until the process is killed."""
    async with distributed.Scheduler(host=HOST, port=port, **WITHOUT_DASHBOARD) as scheduler:
        await scheduler.finished()


async def work(port: int, folder: str, workers: int) -> None:
    """Work until the process is killed."""
    address = f"tcp://{HOST}:{port}"
    options = {"nthreads": 1, "memory_limit": 0, "host": HOST, "local_directory": folder, **WITHOUT_DASHBOARD}
    started = [await distributed.Worker(address, name=f"worker-{number}", **options) for number in range(workers)]
    await asyncio.gather(*(worker.finished() for worker in started))


async def submit(port: int, workers: int, seconds: float, pids: Sequence[int]) -> Stats:
    """Submit tasks, and return the statistics. Raises InvalidRunError."""
    async with distributed.Client(f"tcp://{HOST}:{port}", asynchronous=True, timeout=START_TIMEOUT_S) as client:
        await client.wait_for_workers(workers, timeout=START_TIMEOUT_S)
        state = SteadyState(seconds, STEP, pids)

        async def keep_submitting() -> None:
            while not state.over:
                async for future in distributed.as_completed(client.map(noop, range(BATCH), pure=False)):
                    if future.status != "finished":
                        raise InvalidRunError(f"a task of Dask is {future.status}")
                    state.finish()

        await asyncio.gather(*(keep_submitting() for _ in range(WINDOW)))
    return state.stats(1)


if __name__ == "__main__":
    role, port, folder, *more = sys.argv[1:]
    dask.config.set({"temporary_directory": folder})
    if role == "schedule":
        asyncio.run(schedule(int(port)))
    elif role == "work":
        asyncio.run(work(int(port), folder, int(more[0])))
    else:
        print_stats(partial(asyncio.run, submit(int(port), int(more[0]), float(more[1]), parse_pids(more[2]))))
