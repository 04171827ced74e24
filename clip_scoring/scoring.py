"""score_shard(): from a claim to the last commit of one shard."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from clip_scoring.errors import Interrupted, Retryable
from clip_scoring.measures import Measures
from clip_scoring.ports import LoadedImages, Loader, Pixels, Probe, Scorer, Sink, Source
from clip_scoring.records import (
    Key,
    Outcome,
    Reason,
    Record,
    Rejection,
    Score,
    screen_caption,
)
from clip_scoring.runs import Run
from clip_scoring.shards import Claim, KeyRange, successor

SUSPICIOUS_TRIES = 3
"""From this try on at one offset, two processes may have died of a record there."""
BATCHES_IN_HAND = 2
"""The one that is scored and the one that is loaded ahead: either may hold what killed them."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive pending records with their images; committing it moves the offset to `stop`."""

    records: Sequence[Record]
    images: Sequence[Pixels | Rejection]
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
    probe: Probe | None = None,
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
        for batch in _loaded_ahead(run, claim, source=source, loader=loader, probe=probe):
            if stopping():
                raise Interrupted(f"shard {claim.number}: stopped at {claim.checkpoint.offset!r}")
            started = monotonic()
            outcomes = _outcomes(batch, scorer)
            done = monotonic()
            # A commit cannot store its own duration: it goes along with the next one.
            seconds = {"score": done - started, "commit": committing, "wall": done - clock}
            measures = batch.measures + Measures(seconds, peaks=_peaks(scorer))
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


def _peaks(scorer: Scorer) -> Mapping[str, int]:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"memory_bytes": memory, **scorer.peaks()}


def _loaded_ahead(
    run: Run, claim: Claim, *, source: Source, loader: Loader, probe: Probe | None
) -> Iterator[Batch]:
    """Batches up to the shard's stop, the next one loading while this one is scored."""

    def load_from(offset: Key, probe: Probe | None) -> Batch:
        started = monotonic()
        todo = run.selection(KeyRange(offset, claim.stop))
        records = source.read_pending(todo, run.batch_size)
        read = Measures({"read": monotonic() - started}) + source.measured()
        last = len(records) < run.batch_size
        stop = claim.stop if last else successor(records[-1].key)
        loaded = _load(records, loader, probe)
        return Batch(records, loaded.images, stop, read + loaded.measures)

    if claim.done:
        return
    suspects = BATCHES_IN_HAND if claim.tries >= SUSPICIOUS_TRIES else 0
    with ThreadPoolExecutor(1, thread_name_prefix="load-ahead") as ahead:
        coming = ahead.submit(load_from, claim.checkpoint.offset, probe if suspects else None)
        while True:
            batch = coming.result()
            if batch.stop == claim.stop:
                yield batch
                return
            suspects -= 1
            coming = ahead.submit(load_from, batch.stop, probe if suspects > 0 else None)
            yield batch


def _load(records: Sequence[Record], loader: Loader, probe: Probe | None) -> LoadedImages:
    """Images of the records in order; a pair that is refused beforehand costs no fetch."""
    refused = {at: no for at, each in enumerate(records) if (no := _refused(each))}
    if probe is not None:
        asked = [at for at in range(len(records)) if at not in refused]
        for at in probe.deadly([records[at] for at in asked]):
            refused[asked[at]] = Rejection(
                Reason.IMAGE_DECODER_CRASHED, "loading it ended the process, more than once"
            )
    loaded = loader.load([each for at, each in enumerate(records) if at not in refused])
    images = iter(loaded.images)
    placed = [refused[at] if at in refused else next(images) for at in range(len(records))]
    return LoadedImages(placed, loaded.measures)


def _refused(record: Record) -> Rejection | None:
    return record.flaw or screen_caption(record.caption)


def _outcomes(batch: Batch, scorer: Scorer) -> list[Outcome]:
    """One outcome per record; a rejected pair keeps its place in what goes to the device."""
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
