"""The pool of child processes that convert images; all its children are real ones."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from frota.images.converter.grayscale import convert
from frota.images.converter.pool import DEFAULT_MEMORY_BYTES, ConverterPool
from frota.images.formats import BadImage, GreyImage
from frota.images.producer.submission import DECODE_MEMORY_BYTES
from support import FULL, TIMEOUT_S
from support.pictures import encode, photo, png_bomb, samples

GOOD = encode(photo(), "JPEG")
SLOW_SIDE, SLOW_PIXELS = 24_000, 600_000_000
LARGE_IMAGE_PIXELS = encode(photo().resize((3000, 2000)), "JPEG")
ENOUGH = 8 << 30  # bytes of address space, not of memory


@pytest.fixture(scope="module")
def slow() -> bytes:
    """Return an image that takes seconds."""
    return png_bomb(SLOW_SIDE)


def run(test: Callable[[], Coroutine[Any, Any, None]], loop: Callable[[], Any] = uvloop.new_event_loop) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(asyncio.wait_for(test(), 2 * TIMEOUT_S))


async def rejection(conversion: Coroutine[Any, Any, GreyImage] | asyncio.Task[GreyImage]) -> BadImage:
    with pytest.raises(BadImage) as caught:
        await conversion
    return caught.value


async def until(condition: Callable[[], bool]) -> None:
    """Poll a condition of another process until it is true."""
    while not condition():  # noqa: ASYNC110 -- another process sends no event
        await asyncio.sleep(0.01)


async def busy(pid: int) -> None:
    """Wait until a process has worked for a while."""
    before = ticks(pid)
    await until(lambda: ticks(pid) >= before + 5)


def ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def own_memory(pid: int) -> int:
    """Return the private memory of a process in bytes."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")) << 10


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_child_equals_the_parent(loop: Callable[[], Any]) -> None:
    """A child's result equals that of the parent."""

    async def test() -> None:
        async with ConverterPool(2, 10, DEFAULT_MEMORY_BYTES) as pool:
            for extension in (".jpg", ".png"):
                results = await asyncio.gather(*(pool.convert(data, extension) for data in samples().values()))
                assert results == [convert(data, extension) for data in samples().values()]

    run(test, loop)


def test_large_image_is_given_by_path(tmp_path: Path) -> None:
    """A large image is passed by its path."""
    path = tmp_path / "câmera \udcff.jpg"
    path.write_bytes(GOOD)

    async def test() -> None:
        async with ConverterPool(1, 10, DEFAULT_MEMORY_BYTES) as pool:
            assert await pool.convert(path, ".jpg") == convert(GOOD, ".jpg")
            assert (await rejection(pool.convert(tmp_path / "nothing", ".jpg"))).code == "unreadable"
            assert await pool.convert(path, ".jpg") == convert(GOOD, ".jpg")

    run(test)


@pytest.mark.parametrize("extension", [".PNG", "." + "é" * 300, ".\udcff", ""])
def test_any_extension_is_accepted(extension: str) -> None:
    """Any extension is accepted."""

    async def test() -> None:
        async with ConverterPool(1, 10, DEFAULT_MEMORY_BYTES) as pool:
            assert await pool.convert(GOOD, extension) == convert(GOOD, extension)

    run(test)


def test_image_larger_than_a_pipe() -> None:
    """An image larger than the pipes is converted."""
    picture = encode(photo().resize((1300, 1000)), "PNG", compress_level=0)
    assert len(picture) > 3 << 20

    async def test() -> None:
        async with ConverterPool(1, 10, DEFAULT_MEMORY_BYTES) as pool:
            results = await asyncio.gather(*(pool.convert(picture, ".png") for _ in range(5)))
            assert set(results) == {convert(picture, ".png")}

    run(test)


def test_bad_image_keeps_the_child() -> None:
    """After a bad image, the same child converts the next."""

    async def test() -> None:
        async with ConverterPool(1, 10, DEFAULT_MEMORY_BYTES) as pool:
            before = pool.pids()
            for bad, code in ((b"", "empty"), (b"only text\n", "unsupported"), (GOOD[:-20], "truncated")):
                assert (await rejection(pool.convert(bad, ".jpg"))).code == code
            for bad in (GOOD[:2000] + b"\xff\xd9", GOOD[:2000] + b"\xff\xd0" + GOOD[2000:]):
                error = await rejection(pool.convert(bad, ".jpg"))
                assert (error.code, "danificada" in error.text) == ("damaged", True)
            assert await pool.convert(GOOD, ".jpg") == convert(GOOD, ".jpg")
            assert pool.pids() == before

    run(test)


def test_timeout_rejects_one_image(slow: bytes) -> None:
    """An image that exceeds the timeout fails, and the next is converted."""

    async def test() -> None:
        async with ConverterPool(1, 1, ENOUGH, SLOW_PIXELS) as pool:
            before = pool.pids()
            endless = asyncio.create_task(pool.convert(slow, ".png"))
            behind = asyncio.create_task(pool.convert(GOOD, ".jpg"))
            assert (await rejection(endless)).code == "timeout"
            assert await behind == convert(GOOD, ".jpg")
            assert pool.pids() != before

    run(test)


def test_timeout_is_per_image() -> None:
    """The timeout counts per image."""

    async def test() -> None:
        async with ConverterPool(1, 1, DEFAULT_MEMORY_BYTES) as pool:
            await pool.convert(GOOD, ".jpg")
            before = pool.pids()
            await asyncio.sleep(1.2)  # longer than an image may take, and nothing happens
            assert await pool.convert(GOOD, ".jpg") == convert(GOOD, ".jpg")
            assert pool.pids() == before

    run(test)


def test_crash_fails_one_image(slow: bytes) -> None:
    """A crashed child fails only the image that it was converting."""

    async def test() -> None:
        async with ConverterPool(1, 30, ENOUGH, SLOW_PIXELS) as pool:
            (pid,) = pool.pids()
            tasks = [asyncio.create_task(pool.convert(data, ".jpg")) for data in (slow, GOOD, GOOD, GOOD)]
            await busy(pid)
            os.kill(pid, signal.SIGSEGV)
            crashed = await rejection(tasks[0])
            assert (crashed.code, "SIGSEGV" in crashed.text) == ("crashed", True)
            assert set(await asyncio.gather(*tasks[1:])) == {convert(GOOD, ".jpg")}

    run(test)


def test_idle_child_is_replaced() -> None:
    """A child that exits while idle is replaced."""

    async def test() -> None:
        async with ConverterPool(1, 10, DEFAULT_MEMORY_BYTES) as pool:
            for _ in range(3):
                (pid,) = pool.pids()
                os.kill(pid, signal.SIGKILL)
                await until(lambda pid=pid: pool.pids() not in ([pid], []))  # type: ignore[misc]
                assert await pool.convert(GOOD, ".jpg") == convert(GOOD, ".jpg")

    run(test)


def test_memory_limit_rejects_one_image() -> None:
    """An image that exceeds the memory limit fails, and the next is converted."""
    bomb = png_bomb(20_000, depth=8)

    async def test() -> None:
        async with ConverterPool(1, 20, 300 << 20, SLOW_PIXELS) as pool:
            before = pool.pids()
            assert (await rejection(pool.convert(bomb, ".jpg"))).code == "memory"
            assert await pool.convert(GOOD, ".jpg") == convert(GOOD, ".jpg")
            assert pool.pids() == before

    run(test)


def test_idle_child_is_small() -> None:
    """An idle child takes little memory."""

    async def test() -> None:
        async with ConverterPool(1, 10, DEFAULT_MEMORY_BYTES) as pool:
            await pool.convert(GOOD, ".jpg")
            assert own_memory(pool.pids()[0]) < 30 << 20

    run(test)


def test_group_signals_are_ignored() -> None:
    """Signals to the process group do not end a conversion."""

    async def test() -> None:
        async with ConverterPool(1, 20, DEFAULT_MEMORY_BYTES) as pool:
            (pid,) = pool.pids()
            task = asyncio.create_task(pool.convert(LARGE_IMAGE_PIXELS, ".png"))
            await busy(pid)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(pid, number)
            assert (await task).width == 3000
            assert pool.pids() == [pid]

    run(test)


def test_children_end_with_their_pool(slow: bytes) -> None:
    """Closing the pool ends the children, also during a conversion."""

    async def test() -> None:
        async with ConverterPool(2, 60, ENOUGH, SLOW_PIXELS) as pool:
            pids = pool.pids()
            task = asyncio.create_task(pool.convert(slow, ".png"))
            await asyncio.wait([asyncio.create_task(busy(pid)) for pid in pids], return_when=asyncio.FIRST_COMPLETED)
        assert not any(map(alive, pids))
        with pytest.raises(OSError, match="is closed"):
            await task

    run(test)


def test_children_end_with_a_killed_parent() -> None:
    """Children exit when their parent is killed."""
    parent = """
import asyncio
from frota.images.converter.pool import ConverterPool
async def main():
    async with ConverterPool(2, 10, 1 << 30) as pool:
        print(*pool.pids(), flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout
        children = [os.pidfd_open(int(pid)) for pid in process.stdout.readline().split()]
        process.kill()
        assert len(children) == 2
        for child in children:
            assert select.select([child], [], [], TIMEOUT_S)[0], "a child has outlived its parent"
            os.close(child)


def test_cancelled_caller_is_skipped() -> None:
    """The response of a cancelled caller is dropped."""

    async def test() -> None:
        async with ConverterPool(1, 20, DEFAULT_MEMORY_BYTES) as pool:
            task = asyncio.create_task(pool.convert(LARGE_IMAGE_PIXELS, ".png"))
            await busy(pool.pids()[0])
            task.cancel()
            assert await pool.convert(GOOD, ".jpg") == convert(GOOD, ".jpg")

    run(test)


def test_failed_start_is_reported() -> None:
    """A child that cannot start raises OSError at once."""

    async def test() -> None:
        with pytest.raises(OSError, match="cannot start: status 1"):
            async with ConverterPool(2, 10, 8 << 20):  # less than any Python needs, however little its libraries take
                pass

    run(test)


def test_decoder_output_is_discarded(capfd: pytest.CaptureFixture[str]) -> None:
    """The output of decoders does not reach the log."""
    data = bytearray(encode(photo().convert("1"), "TIFF", compression="group4"))
    data[60:400] = bytes(340)

    async def test() -> None:
        async with ConverterPool(1, 10, DEFAULT_MEMORY_BYTES) as pool:
            await asyncio.gather(pool.convert(bytes(data), ".jpg"), return_exceptions=True)

    run(test)
    assert capfd.readouterr().err == ""


def test_producer_memory_suffices_for_jpegs() -> None:
    """The producer's memory limit suffices for a large JPEG without its end marker."""
    width = 16_000 if FULL else 8_000
    panorama = encode(photo().resize((width, 4_000)), "JPEG").removesuffix(b"\xff\xd9")

    async def test() -> None:
        async with ConverterPool(1, 2 * TIMEOUT_S, DECODE_MEMORY_BYTES) as pool:
            grey = await pool.convert(panorama, ".jpg")
            assert (grey.width, grey.height) == (width, 4_000)
            assert (await rejection(pool.convert(panorama[: len(panorama) // 2], ".jpg"))).code == "truncated"

    run(test)
