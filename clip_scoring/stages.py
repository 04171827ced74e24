"""The bounded stages that any stream of records goes through: read, load and score ahead."""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

from clip_scoring.metrics import StageMetrics
from clip_scoring.ports import DecodedImage, LoadedImages, Loader, Scorer
from clip_scoring.records import (
    Key,
    Outcome,
    Record,
    Rejection,
    Score,
    screen_caption,
)

T = TypeVar("T")
RECORDS_AHEAD, MOST_BATCHES_AHEAD = 512, 8
"""How much is fetched and decoded beside the batch that is scored: hosts far away take their time,
and what lies ready takes memory, 150 kB a record with towers of 224x224 pixels."""
FEWEST_BATCHES_AHEAD, BYTES_AHEAD = 2, 256 * 2**20
"""Of images that the source brings along; above these bytes only so few batches are ahead."""


@dataclass(frozen=True, slots=True)
class Read:
    """Consecutive records before their images are there, and the key that follows them."""

    records: Sequence[Record]
    stop: Key
    measures: StageMetrics

    @property
    def image_bytes(self) -> int:
        """Of the images that came with the records."""
        return sum(len(record.image) for record in self.records if record.image is not None)


@dataclass(frozen=True, slots=True)
class LoadedBatch:
    """The records of a batch, with an image or a rejection for each."""

    records: Sequence[Record]
    images: Sequence[DecodedImage | Rejection]
    stop: Key
    measures: StageMetrics


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """A loaded batch with an outcome for each record; a commit moves the offset to `stop`."""

    records: Sequence[Record]
    outcomes: Sequence[Outcome]
    stop: Key
    measures: StageMetrics

    @property
    def scored(self) -> int:
        """How many of the outcomes are scores."""
        return sum(isinstance(outcome, Score) for outcome in self.outcomes)


def read_ahead(reads: Iterator[T]) -> Generator[T]:
    """The same, each one read in a thread of its own while the caller works on the one before."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        reading = thread.submit(next, reads, None)
        while (read := reading.result()) is not None:
            reading = thread.submit(next, reads, None)
            yield read
    finally:
        thread.shutdown(cancel_futures=True)


def load_ahead(reads: Iterator[Read], *, loader: Loader, batch_size: int) -> Iterator[LoadedBatch]:
    """Batches in the order of the reads; images of the next ones load while one is scored."""
    most = min(max(FEWEST_BATCHES_AHEAD, RECORDS_AHEAD // batch_size), MOST_BATCHES_AHEAD)
    threads = ThreadPoolExecutor(most, thread_name_prefix="load-ahead")
    loading: deque[tuple[Read, Future[LoadedImages]]] = deque()
    try:
        ended = False
        while loading or not ended:
            while not ended and len(loading) < most and _has_room([read for read, _ in loading]):
                if read := next(reads, None):
                    loading.append((read, threads.submit(_load, read.records, loader)))
                ended = read is None
            if loading:
                read, coming = loading.popleft()
                loaded = coming.result()
                measures = read.measures + loaded.measures
                yield LoadedBatch(read.records, loaded.images, read.stop, measures)
    finally:
        # A worker that gives up does not wait for slow hosts.
        threads.shutdown(wait=False, cancel_futures=True)


def score_ahead(batches: Iterator[LoadedBatch], *, scorer: Scorer) -> Iterator[ScoredBatch]:
    """Each batch scored; whoever takes it commits it before asking for the next one.

    The time in between counts as `commit`, of the batch that comes next: a commit cannot store its
    own duration.
    """
    committing, clock = 0.0, monotonic()
    for batch in batches:
        started = monotonic()
        outcomes = _outcomes(batch, scorer)
        done = monotonic()
        seconds = {"score": done - started, "commit": committing, "wall": done - clock}
        measures = batch.measures + StageMetrics(seconds, peaks=_memory()) + scorer.drain_metrics()
        yield ScoredBatch(batch.records, outcomes, batch.stop, measures)
        committing, clock = monotonic() - done, done


def _outcomes(batch: LoadedBatch, scorer: Scorer) -> list[Outcome]:
    """One outcome per record, in order."""
    rejections = [image for image in batch.images if isinstance(image, Rejection)]
    if len(rejections) == len(batch.images):
        return [*rejections]  # the device is for others meanwhile
    images = [None if isinstance(image, Rejection) else image for image in batch.images]
    captions = [
        None if image is None else record.caption
        for record, image in zip(batch.records, images, strict=True)
    ]
    outcomes = scorer.score(images, captions)
    return [
        image if isinstance(image, Rejection) else outcome
        for image, outcome in zip(batch.images, outcomes, strict=True)
    ]


def _memory() -> Mapping[str, int]:
    return {"memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _has_room(ahead: Sequence[Read]) -> bool:
    brought = sum(batch.image_bytes for batch in ahead)
    return len(ahead) < FEWEST_BATCHES_AHEAD or brought < BYTES_AHEAD


def _load(records: Sequence[Record], loader: Loader) -> LoadedImages:
    """Images of the records in order; a pair that is refused beforehand costs no fetch."""
    refused = [_refused(record) for record in records]
    asked = [record for record, no in zip(records, refused, strict=True) if no is None]
    loaded = loader.load(asked)
    images = iter(loaded.images)
    return LoadedImages([no or next(images) for no in refused], loaded.measures)


def _refused(record: Record) -> Rejection | None:
    return record.parse_error or screen_caption(record.caption)
