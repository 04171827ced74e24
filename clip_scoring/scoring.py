"""score_shard(): from a claim to the last commit of one shard."""

from __future__ import annotations

import resource
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from clip_scoring.errors import Interrupted, Retryable
from clip_scoring.measures import Measures
from clip_scoring.ports import DecodedImage, LoadedImages, Loader, Scorer, Sink, Source
from clip_scoring.records import (
    Key,
    Outcome,
    Record,
    Rejection,
    Score,
    screen_caption,
)
from clip_scoring.runs import Run
from clip_scoring.shards import Claim, KeyRange, successor

RECORDS_AHEAD, MOST_BATCHES_AHEAD = 512, 8
"""How much is fetched and decoded beside the batch that is scored: hosts far away take their time,
and what lies ready takes memory, 150 kB a record with towers of 224x224 pixels."""
FEWEST_BATCHES_AHEAD, BYTES_AHEAD = 2, 256 * 2**20
"""Of images that the source brings along; above these bytes only so few batches are ahead."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive pending records with their images; committing it moves the offset to `stop`."""

    records: Sequence[Record]
    images: Sequence[DecodedImage | Rejection]
    stop: Key
    measures: Measures


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What this call committed; an earlier worker's part of the shard is not in it."""

    shard_id: int
    epoch: int
    scored: int
    rejected: int


def score_shard(
    run: Run,
    claim: Claim,
    *,
    source: Source,
    loader: Loader,
    scorer: Scorer,
    sink: Sink,
    stopping: Callable[[], bool] = lambda: False,
) -> ShardResult:
    """Score what is left of a claimed shard, batch by batch, until its offset reaches its stop.

    Killed at any moment, it loses at most the batch in flight; claimed again it goes on at the
    committed offset, on the same batch grid. `stopping` is asked between batches.

    Raises ShardLost when somebody else claimed the shard, Interrupted when asked to stop; in both
    cases everything committed so far stands.
    """
    scored = rejected = 0
    committing, clock = 0.0, monotonic()
    try:
        for batch in _loaded_ahead(run, claim, source=source, loader=loader):
            if stopping():
                raise Interrupted(f"shard {claim.number}: stopped at {claim.checkpoint.offset!r}")
            started = monotonic()
            outcomes = _outcomes(batch, scorer)
            done = monotonic()
            # A commit cannot store its own duration: it goes along with the next one.
            seconds = {"score": done - started, "commit": committing, "wall": done - clock}
            measures = batch.measures + Measures(seconds, peaks=_memory()) + scorer.measured()
            rows = list(zip(batch.records, outcomes, strict=True))
            claim = sink.commit(claim, batch.stop, rows, measures)
            committing, clock = monotonic() - done, done
            scored += sum(isinstance(each, Score) for each in outcomes)
            rejected += sum(isinstance(each, Rejection) for each in outcomes)
    except BaseException:
        with suppress(Retryable):  # without the database the lease frees the shard, only later
            sink.release(claim)
        raise
    return ShardResult(claim.shard_id, claim.checkpoint.epoch, scored, rejected)


def _memory() -> Mapping[str, int]:
    return {"memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


@dataclass(frozen=True, slots=True)
class _Read:
    """A batch of records before its images are there."""

    records: Sequence[Record]
    stop: Key
    measures: Measures

    @property
    def image_bytes(self) -> int:
        """Of the images that came with the records."""
        return sum(len(each.image) for each in self.records if each.image is not None)


def _loaded_ahead(run: Run, claim: Claim, *, source: Source, loader: Loader) -> Iterator[Batch]:
    """Batches up to the shard's stop, in order; the next ones are loading while one is scored."""

    def read_from(offset: Key) -> _Read:
        started = monotonic()
        todo = run.selection(KeyRange(offset, claim.stop))
        records = source.read_pending(todo, run.batch_size)
        last = len(records) < run.batch_size
        stop = claim.stop if last else successor(records[-1].key)
        return _Read(records, stop, Measures({"read": monotonic() - started}) + source.measured())

    most = min(max(FEWEST_BATCHES_AHEAD, RECORDS_AHEAD // run.batch_size), MOST_BATCHES_AHEAD)
    reads = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    loads = ThreadPoolExecutor(most, thread_name_prefix="load-ahead")
    try:
        loading: deque[tuple[_Read, Future[LoadedImages]]] = deque()
        reading = None if claim.done else reads.submit(read_from, claim.checkpoint.offset)
        while reading or loading:
            while reading and len(loading) < most and _has_room([each for each, _ in loading]):
                read = reading.result()
                loading.append((read, loads.submit(_load, read.records, loader)))
                more = read.stop != claim.stop
                reading = reads.submit(read_from, read.stop) if more else None
            read, coming = loading.popleft()
            loaded = coming.result()
            yield Batch(read.records, loaded.images, read.stop, read.measures + loaded.measures)
    finally:
        reads.shutdown(cancel_futures=True)
        # A worker that gives up does not wait for slow hosts.
        loads.shutdown(wait=False, cancel_futures=True)


def _has_room(ahead: Sequence[_Read]) -> bool:
    brought = sum(each.image_bytes for each in ahead)
    return len(ahead) < FEWEST_BATCHES_AHEAD or brought < BYTES_AHEAD


def _load(records: Sequence[Record], loader: Loader) -> LoadedImages:
    """Images of the records in order; a pair that is refused beforehand costs no fetch."""
    refused = [_refused(each) for each in records]
    asked = [each for each, no in zip(records, refused, strict=True) if no is None]
    loaded = loader.load(asked)
    images = iter(loaded.images)
    return LoadedImages([no or next(images) for no in refused], loaded.measures)


def _refused(record: Record) -> Rejection | None:
    return record.flaw or screen_caption(record.caption)


def _outcomes(batch: Batch, scorer: Scorer) -> list[Outcome]:
    """One outcome per record, in order."""
    if all(isinstance(image, Rejection) for image in batch.images):
        return [image for image in batch.images if isinstance(image, Rejection)]
    outcomes = scorer.score(
        [None if isinstance(image, Rejection) else image for image in batch.images],
        [
            None if isinstance(image, Rejection) else record.caption
            for record, image in zip(batch.records, batch.images, strict=True)
        ],
    )
    return [
        image if isinstance(image, Rejection) else outcome
        for image, outcome in zip(batch.images, outcomes, strict=True)
    ]
