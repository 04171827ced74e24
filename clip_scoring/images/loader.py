"""Images of a batch: fetched many at a time, decoded by isolated processes, returned in order."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from threading import Lock, Thread
from time import monotonic
from typing import Any, TypeVar
from weakref import ref

from clip_scoring.images.budget import ByteBudget, Share
from clip_scoring.images.fetcher import Fetcher
from clip_scoring.images.rejected import ImageRejected
from clip_scoring.metrics import StageMetrics
from clip_scoring.ports import DecodedImage, ImageDecoders, LoadedImages, Pixels
from clip_scoring.records import Record, Rejection

IN_FLIGHT = 256
BYTES_IN_FLIGHT = 512 * 1024 * 1024
T = TypeVar("T")
Image = DecodedImage | Rejection


class ImageLoader:
    """Loads images by an event loop in a thread of its own; any thread may ask.

    The number of images in flight and the bytes of their bodies are limited. What is in flight
    already is shared: one fetch for an address, one decoding for equal bytes.
    """

    def __init__(self, fetcher: Fetcher, decoders: ImageDecoders) -> None:
        self._fetcher = fetcher
        self._decoders = decoders
        self._stages = StageClock(decoders.count, busy=lambda: decoders.busy)
        decoders.on_change = self._stages.note
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._budget = ByteBudget(BYTES_IN_FLIGHT)
        self._addresses: dict[Hashable, asyncio.Task[Image]] = {}
        self._bodies: dict[Hashable, asyncio.Task[Pixels]] = {}
        self._closed, self._gate = False, Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="load-images", daemon=True)
        self._thread.start()
        # When an interpreter that ends drops what is left, the loop runs no more, and closing would
        # wait for it for ever. Decoder processes end with their parent.
        self._at_exit = partial(_leave, ref(self))
        atexit.register(self._at_exit)

    def load(self, records: Sequence[Record]) -> LoadedImages:
        """One entry per record, in order. A bad image is a Rejection, never an exception."""
        with self._gate:
            # Begun later it would wait for a loop that has stopped, and so for ever.
            if self._closed:
                raise CancelledError("the loader is closed")
            loading = asyncio.run_coroutine_threadsafe(self._load(records), self._loop)
        return loading.result()

    def close(self) -> None:
        """Give up what is in flight; end connections, processes and the thread."""
        with self._gate:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self._at_exit)
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _load(self, records: Sequence[Record]) -> LoadedImages:
        tasks = [self._task(record) for record in records]
        images = await asyncio.gather(*tasks, return_exceptions=True)
        for image in images:
            if isinstance(image, BaseException):
                raise image
        measures = (
            self._stages.drain_metrics()
            + self._fetcher.drain_metrics()
            + self._decoders.drain_metrics()
        )
        return LoadedImages(
            [image for image in images if not isinstance(image, BaseException)], measures
        )

    def _task(self, record: Record) -> asyncio.Task[Image]:
        if record.image is not None:
            return asyncio.create_task(self._load_one(record))
        return _shared(self._addresses, record.image_uri, lambda: self._load_one(record))

    async def _load_one(self, record: Record) -> Image:
        async with self._slots, self._budget.share() as share:
            try:
                body = await self._body(record, share)
                digest = blake2b(body, digest_size=16).digest()
                decoding = _shared(self._bodies, digest, lambda: self._decoders.decode(body))
                return DecodedImage(await asyncio.shield(decoding), digest)
            except ImageRejected as refused:
                return refused.rejection

    async def _body(self, record: Record, share: Share) -> bytes:
        if record.image is not None:
            await share.grow(len(record.image))
            return record.image
        with self._stages.fetching():
            return await self._fetcher.fetch(record.image_uri, share)

    async def _close(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await self._fetcher.close()
        await self._decoders.close()


def _leave(loader: ref[ImageLoader]) -> None:
    if (alive := loader()) is not None:
        alive._closed = True


def _shared(
    running: dict[Hashable, asyncio.Task[T]],
    key: Hashable,
    start: Callable[[], Coroutine[Any, Any, T]],
) -> asyncio.Task[T]:
    """The task that runs for the key, or a new one, forgotten when it is done."""
    if key not in running:
        running[key] = asyncio.create_task(start())
        running[key].add_done_callback(lambda _: running.pop(key))
    return running[key]


class StageClock:
    """Splits the time of the stage: what decoders are busy with is decoding, the rest fetching."""

    def __init__(
        self, decoders: int, *, busy: Callable[[], int], clock: Callable[[], float] = monotonic
    ) -> None:
        self._decoders = decoders
        self._busy_now = busy
        self._clock = clock
        self._busy = self._fetches = 0
        self._since = clock()
        self._fetch = self._decode = 0.0

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """One fetch."""
        self.note(+1)
        try:
            yield
        finally:
            self.note(-1)

    def note(self, fetches: int = 0) -> None:
        """Count what passed since the last change, which was at most this long ago."""
        now = self._clock()
        passed, self._since = now - self._since, now
        share = self._busy / self._decoders
        self._decode += passed * share
        self._fetch += passed * (1 - share) if self._fetches else 0.0
        self._busy = self._busy_now()
        self._fetches += fetches

    def drain_metrics(self) -> StageMetrics:
        """Seconds of both stages since this was asked last."""
        self.note()
        measures = StageMetrics({"fetch": self._fetch, "decode": self._decode})
        self._fetch = self._decode = 0.0
        return measures
