"""Confirms: each message is settled once, by its own confirm, by one for several, by a return, or by a loss."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pika
import pytest

from frota.images.broker import AwayError
from frota.images.publishing import FullError, UnroutableError, _Confirms


def confirm(tag: int, *, several: bool = False, ack: bool = True) -> Any:
    """Return a frame as pika hands it over."""
    kind = pika.spec.Basic.Ack if ack else pika.spec.Basic.Nack
    return SimpleNamespace(method=kind(tag, several))


async def settled(futures: "list[asyncio.Future[None]]") -> list[Any]:
    """Return what each future holds: None, the class of an error, or "waiting"."""
    return [
        type(one.exception()) if one.done() and one.exception() else one.result() if one.done() else "waiting"
        for one in futures
    ]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([confirm(2)], ["waiting", None, "waiting"]),
        ([confirm(2, several=True)], [None, None, "waiting"]),
        ([confirm(1, ack=False), confirm(3, several=True)], [FullError, None, None]),
        ([confirm(3, several=True, ack=False)], [FullError, FullError, FullError]),
        ([confirm(9)], ["waiting", "waiting", "waiting"]),
    ],
)
def test_a_confirm_settles_its_message_or_all_up_to_it(frames: list[Any], expected: list[Any]) -> None:
    async def run() -> list[Any]:
        confirms = _Confirms()
        futures = [confirms.expect(name)[1] for name in ("a", "b", "c")]
        for frame in frames:
            confirms.confirm(frame)
        return await settled(futures)

    assert asyncio.run(run()) == expected


def test_a_message_that_came_back_is_no_success_even_if_it_is_confirmed_afterwards_nor_is_its_twin() -> None:
    async def run() -> list[Any]:
        confirms = _Confirms()
        futures = [confirms.expect(name)[1] for name in ("a", "b", "a")]
        confirms.give_back("a")
        confirms.confirm(confirm(3, several=True))
        return await settled(futures)

    assert asyncio.run(run()) == [UnroutableError, None, UnroutableError]


def test_what_was_not_confirmed_when_the_connection_was_lost_is_told_to_be_in_doubt() -> None:
    async def run() -> list[Any]:
        confirms = _Confirms()
        futures = [confirms.expect(name)[1] for name in ("a", "b")]
        confirms.confirm(confirm(1))
        confirms.lose("gone")
        return await settled(futures)

    assert asyncio.run(run()) == [None, AwayError]
