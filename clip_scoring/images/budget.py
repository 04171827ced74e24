"""How many bytes of bodies may be in memory at once: whoever would exceed it waits its turn."""

from __future__ import annotations

from asyncio import Future, get_running_loop
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class ByteBudget:
    """Bytes held by the shares of one event loop, at most `limit` and one body above it.

    One share may exceed the limit at a time, so that somebody always gets done: the oldest of
    those that would have to wait. An older one that has not begun to receive does not count; it
    may itself be waiting for a connection that a younger one holds.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes_in_use = 0
        self._numbers = count()
        self._exempt: Share | None = None
        self._waiting: dict[Share, Future[None]] = {}

    @property
    def bytes_in_use(self) -> int:
        """Bytes of all open shares."""
        return self._bytes_in_use

    @asynccontextmanager
    async def share(self) -> AsyncIterator[Share]:
        """A share for one body; what it holds is free again when the context ends."""
        share = Share(self, next(self._numbers))
        try:
            yield share
        finally:
            share.give_back()

    async def _take(self, share: Share, size: int) -> None:
        while not self._admits(share, size):
            self._waiting[share] = get_running_loop().create_future()
            try:
                await self._waiting[share]
            finally:
                del self._waiting[share]
        self._bytes_in_use += size

    def _admits(self, share: Share, size: int) -> bool:
        if self._bytes_in_use + size <= self._limit or self._exempt is share:
            return True
        if self._exempt is None and all(share.number <= other.number for other in self._waiting):
            self._exempt = share
        return self._exempt is share

    def _free(self, share: Share, size: int) -> None:
        self._bytes_in_use -= size
        if self._exempt is share:
            self._exempt = None
        for _, turn in sorted(self._waiting.items(), key=lambda entry: entry[0].number):
            if not turn.done():
                turn.set_result(None)


class Share:
    """The part of the budget that one body takes."""

    def __init__(self, budget: ByteBudget, number: int) -> None:
        self._budget = budget
        self._size = 0
        self.number = number
        """Smaller ones are older."""

    async def grow(self, size: int) -> None:
        """Take `size` bytes more, as soon as the budget has them."""
        await self._budget._take(self, size)
        self._size += size

    def give_back(self) -> None:
        """Hold nothing any more: the body is dropped, or its next attempt begins anew."""
        size, self._size = self._size, 0
        self._budget._free(self, size)
