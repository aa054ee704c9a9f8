"""A pool of child processes that convert images: a crash, a bomb or an endless decode costs one image."""

import asyncio
import fcntl
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from frota.images.converter.child import ANSWER, FAILED, MEDIA_TYPES, REQUEST
from frota.images.formats import DEFAULT_LIMITS, BadImage, GreyImage, Limits, makes_png, read_header

DEFAULT_TIMEOUT_S = 60.0  # per image
DEFAULT_MEMORY_BYTES = 768 << 20  # enough for the pixel limit, save the largest WebP and TIFF
LARGE_IMAGE_PIXELS = 16_000_000  # larger images are converted one at a time, to bound memory
IMAGES_PER_CHILD = 2  # one that it converts, and one in its pipe, so that it is never idle
_PIPE_BYTES = 1 << 20  # pipe capacity; Linux's default limit for users


class ConverterPool:
    """`count` child processes; limits per image: `seconds`, `memory` (bytes of address space) and `pixels`."""

    def __init__(
        self,
        count: int,
        seconds: float = DEFAULT_TIMEOUT_S,
        memory: int = DEFAULT_MEMORY_BYTES,
        pixels: int = DEFAULT_LIMITS.pixels,
    ) -> None:
        self._arguments = (f"{seconds:g}", str(memory), str(pixels))
        self._slots = asyncio.Semaphore(count * IMAGES_PER_CHILD)
        self._large_lock = asyncio.Lock()
        self._limits = Limits(pixels)
        self._count = count
        self._children: list[_Child] = []

    async def __aenter__(self) -> Self:
        """Start the children. Raises OSError if one cannot start."""
        self._children = [_Child(self._arguments, self._replace) for _ in range(self._count)]
        try:
            for child in self._children:
                await child.started
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the children; kill those that still convert an image, since no caller awaits the result."""
        await self._end()

    async def convert(self, source: bytes | Path, extension: str) -> GreyImage:
        """Return the grey image of bytes or of a file: a PNG if `extension` is .png, otherwise a JPEG.

        Raises BadImage, with code timeout, memory or crashed if the image exceeds the limits; OSError if no child
        can start.
        """
        large = isinstance(source, Path) or _pixels(source, self._limits) > LARGE_IMAGE_PIXELS
        async with self._large_lock if large else nullcontext(), self._slots:
            while self._children:
                child = min(self._children, key=lambda child: child.load)
                try:
                    return await child.convert(source, extension)
                except _ChildLost:
                    continue
                except OSError:
                    self._replace(child)
                    raise
            raise OSError("the converter pool is closed")

    def pids(self) -> list[int]:
        """Return the children's process ids."""
        return [child.pid for child in self._children if child.pid]

    def _replace(self, child: "_Child") -> None:
        if child in self._children:
            self._children[self._children.index(child)] = _Child(self._arguments, self._replace)

    async def _end(self) -> None:
        children, self._children = self._children, []
        await asyncio.gather(*(child.end() for child in children))


class _ChildLost(Exception):
    """The child exited, but not because of this image."""


class _Child:
    """One process, and its pending requests in their order."""

    def __init__(self, arguments: tuple[str, ...], on_exit: Callable[["_Child"], None]) -> None:
        self.load, self.pid = 0, 0
        self._arguments, self._on_exit = arguments, on_exit
        self._pending: deque[asyncio.Future[GreyImage]] = deque()
        self._exited = self._ending = False
        self.started = asyncio.create_task(self._start())

    async def convert(self, source: bytes | Path, extension: str) -> GreyImage:
        """Return the image in grey. Raises BadImage; _Innocent where another child must be asked; OSError."""
        self.load += 1
        try:
            await asyncio.shield(self.started)
            if self._exited:
                raise _ChildLost
            content = os.fsencode(source) if isinstance(source, Path) else source
            header = REQUEST.pack(isinstance(source, Path), makes_png(extension), len(content))
            future: asyncio.Future[GreyImage] = asyncio.get_running_loop().create_future()
            self._pending.append(future)
            self._requests.writelines((header, content))
            return await future
        finally:
            self.load -= 1

    async def end(self) -> None:
        """Close the process's input; kill it if it has pending requests."""
        with suppress(OSError):
            await self.started
            self._ending = True
            if self._pending:
                self._process.kill()
            self._requests.close()
            await self._reading

    async def _start(self) -> None:
        with ExitStack() as closing:
            theirs_in, ours_out = _pipe(closing)
            ours_in, theirs_out = _pipe(closing)
            # -P: import nothing from the current folder.
            command = [sys.executable, "-P", "-m", "frota.images.converter.child", *self._arguments]
            # Huge pages if the system allows: page faults take a quarter to a half of the time of 12 megapixels.
            environ = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=theirs_in, stdout=theirs_out, env=environ
            )
            self.pid = self._process.pid
            loop = asyncio.get_running_loop()
            self._requests, _ = await loop.connect_write_pipe(
                asyncio.BaseProtocol, os.fdopen(os.dup(ours_out), "wb", 0)
            )
            self._answers = asyncio.StreamReader(_PIPE_BYTES)
            protocol = asyncio.StreamReaderProtocol(self._answers)
            await loop.connect_read_pipe(lambda: protocol, os.fdopen(os.dup(ours_in), "rb", 0))
        if not await self._answers.read(1):
            self._requests.close()
            raise OSError(f"the converter process cannot start: {_exit_text(await self._process.wait())}")
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                await self._read_answer()
        self._exited, pending = True, list(self._pending)
        self._on_exit(self)  # at once, so that it gets no further request
        status = await self._process.wait()
        for index, future in enumerate(pending):
            if not future.done():
                blamed = index == 0 and not self._ending  # responses come in order: it was converting the first
                future.set_exception(_crash_of(status, self._arguments[0]) if blamed else _ChildLost())

    async def _read_answer(self) -> None:
        kind, width, height, length = ANSWER.unpack(await self._answers.readexactly(ANSWER.size))
        content = await self._answers.readexactly(length)
        future = self._pending.popleft()
        if future.done():  # its caller was cancelled
            return
        if kind == FAILED:
            future.set_exception(BadImage(*content.decode().split("\n", 1)))
        else:
            future.set_result(GreyImage(content, MEDIA_TYPES[kind], width, height))


def _pipe(closing: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        closing.callback(os.close, end)
    with suppress(OSError):  # the user's quota of pipe memory is used up; a smaller pipe works, too
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return ends


def _pixels(source: bytes, limits: Limits) -> int:
    header = read_header(source, limits)
    return header.width * header.height


def _exit_text(status: int) -> str:
    return f"status {status}" if status >= 0 else signal.Signals(-status).name


def _crash_of(status: int, seconds: str) -> BadImage:
    if status == -signal.SIGALRM:
        return BadImage("timeout", f"a conversão da imagem levou mais de {seconds} s")
    return BadImage("crashed", f"a conversão da imagem caiu ({_exit_text(status)})")
