"""The budget of bytes: its bound, whose turn it is, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable

import pytest

from clip_scoring.images.budget import ByteBudget


async def starts(work: Awaitable[None]) -> asyncio.Task[None]:
    """Begins the work and lets it come as far as it can."""
    task = asyncio.ensure_future(work)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def test_what_fits_is_taken_at_once_and_free_again_at_the_end() -> None:
    async def work() -> None:
        budget = ByteBudget(100)
        async with budget.share() as share:
            await share.grow(60)
            await share.grow(40)
            assert budget.bytes_in_use == 100
        assert budget.bytes_in_use == 0

    asyncio.run(work())


def test_the_oldest_share_never_waits_and_the_others_do() -> None:
    async def work() -> None:
        budget = ByteBudget(100)
        async with budget.share() as old, budget.share() as middle, budget.share() as young:
            await young.grow(100)
            await asyncio.wait_for(old.grow(70), timeout=1)
            waiting = await starts(middle.grow(1))
            assert not waiting.done()
            assert budget.bytes_in_use == 170
            waiting.cancel()

    asyncio.run(work())


def test_when_one_is_done_the_oldest_that_waits_goes_on() -> None:
    async def work() -> list[str]:
        budget, order = ByteBudget(10), []

        async def grows(name: str, size: int) -> None:
            async with budget.share() as share:
                await share.grow(1)
                await share.grow(size)
                order.append(name)

        async with budget.share() as first:
            await first.grow(11)
            others = [await starts(grows(name, 50)) for name in "abc"]
        await asyncio.gather(*others)
        return order

    assert asyncio.run(work()) == ["a", "b", "c"]


def test_an_older_share_that_has_not_begun_does_not_keep_the_others_waiting() -> None:
    async def work() -> None:
        budget = ByteBudget(10)
        async with budget.share(), budget.share() as receiving:
            await receiving.grow(10)
            await asyncio.wait_for(receiving.grow(10), timeout=1)

    asyncio.run(work())


def test_what_is_given_back_is_free_before_the_end() -> None:
    async def work() -> None:
        budget = ByteBudget(10)
        async with budget.share() as one, budget.share() as other:
            await one.grow(15)
            waiting = await starts(other.grow(5))
            assert not waiting.done()
            one.give_back()
            await asyncio.wait_for(waiting, timeout=1)
            assert budget.bytes_in_use == 5

    asyncio.run(work())


def test_one_that_is_cancelled_while_it_waits_leaves_nothing_behind() -> None:
    async def work() -> None:
        budget = ByteBudget(10)

        async def grows(size: int) -> None:
            async with budget.share() as share:
                await share.grow(1)
                await share.grow(size)

        async with budget.share() as first:
            await first.grow(20)
            cancelled, other = await starts(grows(5)), await starts(grows(5))
            cancelled.cancel()
        await asyncio.wait_for(other, timeout=1)
        assert budget.bytes_in_use == 0

    asyncio.run(work())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_held_never_exceeds_the_limit_and_one_body(seed: int) -> None:
    chosen, limit, largest = random.Random(seed), 1000, 400
    highest = 0

    async def receive(budget: ByteBudget) -> None:
        nonlocal highest
        async with budget.share() as share:
            left = chosen.randint(1, largest)
            while left:
                block = min(left, chosen.randint(1, 50))
                await share.grow(block)
                highest, left = max(highest, budget.bytes_in_use), left - block
                for _ in range(chosen.randint(0, 3)):
                    await asyncio.sleep(0)

    async def work() -> int:
        budget = ByteBudget(limit)
        await asyncio.wait_for(asyncio.gather(*(receive(budget) for _ in range(60))), timeout=20)
        return budget.bytes_in_use

    assert asyncio.run(work()) == 0
    assert limit - 50 < highest <= limit + largest
