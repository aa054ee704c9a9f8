"""Commands of the system that run in parallel, each with its time and its output bounded."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from frota.logs.log import printable

MAX_OUTPUT_BYTES = 32 * 1024 * 1024  # of one command; the rest is not read
_MAX_ERROR_BYTES = 4096
_CHUNK_BYTES = 64 * 1024


class Outcome(NamedTuple):
    """A command's output, which may be incomplete, and why it failed: printable text, "" if it did not."""

    output: str
    error: str


def run(commands: Mapping[str, Sequence[str]], timeout_s: float, parallel: int) -> dict[str, Outcome]:
    """Run commands, at most `parallel` at the same time; return the outcome of each by its name, in the same order.

    Raises nothing for a command that fails, is not found or takes longer than `timeout_s`.
    """
    return asyncio.run(_run(commands, timeout_s, parallel))


async def _run(commands: Mapping[str, Sequence[str]], timeout_s: float, parallel: int) -> dict[str, Outcome]:
    slots = asyncio.Semaphore(parallel)

    async def outcome(command: Sequence[str]) -> Outcome:
        async with slots:
            return await _outcome(command, timeout_s)

    outcomes = await asyncio.gather(*map(outcome, commands.values()))
    return dict(zip(commands, outcomes, strict=True))


async def _outcome(command: Sequence[str], timeout_s: float) -> Outcome:
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    except OSError as error:
        return Outcome("", printable(f"{command[0]}: {error.strerror}"))
    output, errors = bytearray(), bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(
                _collect(process.stdout, output, MAX_OUTPUT_BYTES), _collect(process.stderr, errors, _MAX_ERROR_BYTES)
            )
            reason = _reason(await process.wait(), errors.decode(errors="replace"))
    except TimeoutError:
        reason = f"no complete response within {timeout_s:g} s"
    finally:
        await _end(process)
    if len(output) > MAX_OUTPUT_BYTES:
        reason = f"more than {MAX_OUTPUT_BYTES} bytes of output, the rest is not shown"
    return Outcome(output[:MAX_OUTPUT_BYTES].decode(errors="replace"), reason)


async def _collect(stream: asyncio.StreamReader | None, data: bytearray, limit: int) -> None:
    """Read a stream to its end; keep little more than `limit` bytes of it."""
    assert stream is not None  # noqa: S101 -- both are pipes
    while chunk := await stream.read(_CHUNK_BYTES):
        if len(data) <= limit:
            data += chunk


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _reason(status: int, errors: str) -> str:
    """Return why a command failed: the last line that it printed, or its status."""
    if status == 0:
        return ""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return printable(lines[-1][:300]) if lines else f"exit status {status}"
