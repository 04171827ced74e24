"""Blocking work beside an event loop, in a limited number of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Found = TypeVar("Found")


class Threads:
    """A bounded number of threads."""

    def __init__(self, number: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(number, thread_name_prefix=name)

    async def run(
        self, work: Callable[[], Found], *, undo: Callable[[Found], object] | None = None
    ) -> Found:
        """The result of `work`; `undo` gets it when it comes after the wait was cancelled."""
        done = self._pool.submit(work)
        try:
            return await asyncio.wrap_future(done)
        except asyncio.CancelledError:
            if undo is not None:
                # In the thread itself: the event loop may be gone by then.
                done.add_done_callback(lambda late: _undo(late, undo))
            raise

    def later(self, work: Callable[[], object]) -> None:
        """Do it in one of the threads; nobody waits for it."""
        self._pool.submit(work)

    def close(self) -> None:
        """Begin nothing more; what is under way ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _undo(late: Future[Found], undo: Callable[[Found], object]) -> None:
    if not late.cancelled() and late.exception() is None:
        undo(late.result())
