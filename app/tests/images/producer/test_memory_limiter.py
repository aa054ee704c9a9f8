"""The memory limiter: first come, first served, never beyond the limit."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.images import messages
from frota.images.producer.memory_limiter import MemoryLimiter
from frota.images.producer.submission import RejectionKind, SubmissionRejected
from support import TIMEOUT_S


@given(st.lists(st.tuples(st.integers(1, 10), st.booleans()), max_size=30))
def test_limit_holds_and_memory_is_released(wishes: list[tuple[int, bool]]) -> None:
    """Reservations never exceed the limit, and all are released."""

    async def run() -> None:
        limiter, reserved_bytes = MemoryLimiter(10), [0]

        async def use(size: int) -> None:
            async with limiter.reserve(size, TIMEOUT_S):
                reserved_bytes[0] += size
                try:
                    assert reserved_bytes[0] <= 10
                    await asyncio.sleep(0)
                finally:
                    reserved_bytes[0] -= size

        tasks = []
        for size, cancelled in wishes:
            tasks.append(asyncio.ensure_future(use(size)))
            if cancelled:
                await asyncio.sleep(0)
                tasks[-1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        async with asyncio.timeout(1), limiter.reserve(10, TIMEOUT_S):
            pass

    asyncio.run(run())


def test_large_reservation_is_not_starved() -> None:
    """A large reservation keeps its place before later, smaller ones."""

    async def run() -> list[str]:
        limiter, order = MemoryLimiter(10), list[str]()

        async def use(name: str, size: int) -> None:
            async with limiter.reserve(size, TIMEOUT_S):
                order.append(name)
                await asyncio.sleep(0)

        await asyncio.gather(use("first", 6), use("much", 10), use("little", 1))
        return order

    assert asyncio.run(run()) == ["first", "much", "little"]


def test_shrinking_admits_the_next() -> None:
    """Shrinking a reservation admits the next waiter, and releases each byte once."""

    async def run() -> None:
        limiter = MemoryLimiter(10)
        async with limiter.reserve(10, TIMEOUT_S) as reservation:
            waiting = asyncio.ensure_future(limiter.acquire(7, TIMEOUT_S))
            await asyncio.sleep(0)
            assert not waiting.done()
            reservation.shrink(3)
            await waiting
        limiter.release(7)
        async with limiter.reserve(10, 0):
            pass

    asyncio.run(run())


def test_timeout_rejects_and_releases() -> None:
    """A waiter is rejected after its timeout, and changes nothing for the others."""

    async def run() -> None:
        limiter = MemoryLimiter(10)
        async with limiter.reserve(6, 0):
            with pytest.raises(SubmissionRejected, match=messages.BUSY) as refused:
                await limiter.acquire(5, 0.01)
            assert refused.value.kind is RejectionKind.UNAVAILABLE
            async with limiter.reserve(4, 0):
                pass
        async with limiter.reserve(10, 0):
            pass

    asyncio.run(run())
