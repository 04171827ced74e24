"""How long one image may take, and how slowly it may come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from clip_scoring.images.http.policy import HttpPolicy
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.records import Reason

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 4.0


class Deadline:
    """Seconds that are left for one image; waiting for our own turn costs nothing."""

    def __init__(self, policy: HttpPolicy) -> None:
        self.seconds = policy.total_seconds
        self._tries = policy.tries
        self._limit: asyncio.Timeout | None = None
        self._paused = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A context whose time is taken from what is left; raises TimeoutError."""
        loop = asyncio.get_running_loop()
        started, self._paused = loop.time(), 0.0
        try:
            async with asyncio.timeout(self.seconds) as self._limit:
                yield
        finally:
            self.seconds -= loop.time() - started - self._paused

    async def paused(self, waiting: Awaitable[None]) -> None:
        """Wait, inside of `running`, for something that is not the server's fault."""
        if self._limit is None or (until := self._limit.when()) is None:
            return await waiting
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._limit.reschedule(None)
        await waiting
        self._paused += loop.time() - started
        self._limit.reschedule(until + loop.time() - started)
        return None

    def next_wait(self, tried: int, asked: float, jitter: Callable[[], float]) -> float | None:
        """Seconds until the next attempt, at random up to a growing bound; None for no more."""
        if tried >= self._tries:
            return None
        wait: float = asked + jitter() * min(_FIRST_WAIT_S * (1 << tried - 1), _LONGEST_WAIT_S)
        if wait >= self.seconds:
            return None
        self.seconds -= wait
        return wait


class MinimumRate:
    """How fast a body comes; the seconds of the given clock that we were busy do not count."""

    def __init__(self, policy: HttpPolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._started = clock()
        self.size = 0
        """Bytes so far."""

    def count(self, size: int) -> None:
        """Note bytes that came; raises ImageRejected where they come too slowly on average."""
        self.size += size
        took = self._clock() - self._started
        if took > self._policy.rate_after_seconds and self.size < took * self._policy.min_rate:
            detail = f"{self.size} bytes in {took:.1f} s, less than {self._policy.min_rate} each"
            raise ImageRejected(Reason.TIMEOUT, detail)

    async def paused(self, waiting: Awaitable[None]) -> None:
        """Wait for something that is not the server's fault."""
        before = self._clock()
        await waiting
        self._started += self._clock() - before
