"""Threads for calls that may block for ever, such as a request to a server that does not respond."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads(Executor):
    """At most `count` threads. Unlike ThreadPoolExecutor's, they do not keep the process from ending."""

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads: list[Thread] = []

    def submit(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run a function in one of the threads."""
        future: Future[T] = Future()
        self._waiting.put((future, partial(work, *args, **kwargs)))
        if len(self._threads) < self._count:
            self._threads.append(Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True))
            self._threads[-1].start()
        return future

    def close(self) -> None:
        """Cancel what has not started; the threads end after their current call, without being waited for."""
        with suppress(Empty):
            while True:
                if waiting := self._waiting.get_nowait():
                    waiting[0].cancel()
        for _ in self._threads:
            self._waiting.put(None)

    def _run(self) -> None:
        while waiting := self._waiting.get():
            future, work = waiting
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 -- passed to the future
                    future.set_exception(error)
            del waiting, future, work  # no reference to a finished call while the next is awaited
