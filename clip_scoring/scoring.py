"""score_shard(): from a claim to the last commit of one shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic

from clip_scoring.errors import Interrupted
from clip_scoring.ports import Loader, Pixels, Scorer, Sink, Source
from clip_scoring.records import Key, Outcome, Record, Rejection, Score, screen_caption
from clip_scoring.runs import Run
from clip_scoring.shards import Claim, KeyRange, successor


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive pending records with their images; committing it moves the offset to `stop`."""

    records: Sequence[Record]
    images: Sequence[Pixels | Rejection]
    stop: Key
    stage_seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What this call committed; an earlier worker's part of the shard is not in it."""

    shard_id: int
    epoch: int
    scored: int
    rejected: int


def score_shard(
    shard_id: int,
    *,
    source: Source,
    loader: Loader,
    scorer: Scorer,
    sink: Sink,
    stopping: Callable[[], bool] = lambda: False,
) -> ShardResult:
    """Score what is left of a shard, batch by batch, until its offset reaches its stop.

    Killed at any moment, it loses at most the batch in flight; called again it goes on at the
    committed offset, on the same batch grid. `stopping` is asked between batches.

    Raises ShardLost when somebody else claimed the shard, Interrupted when asked to stop; in both
    cases everything committed so far stands.
    """
    run, claim = sink.claim(shard_id)
    scored = rejected = 0
    committing, clock = 0.0, monotonic()
    for batch in _loaded_ahead(run, claim, source=source, loader=loader):
        if stopping():
            raise Interrupted(f"shard {claim.number}: stopped at {claim.checkpoint.offset!r}")
        started = monotonic()
        outcomes = _outcomes(batch, scorer)
        done = monotonic()
        # A commit cannot store its own duration: it goes along with the next one.
        seconds = {"score": done - started, "commit": committing, "wall": done - clock}
        rows = list(zip(batch.records, outcomes, strict=True))
        claim = sink.commit(claim, batch.stop, rows, {**batch.stage_seconds, **seconds})
        committing, clock = monotonic() - done, done
        scored += sum(isinstance(each, Score) for each in outcomes)
        rejected += sum(isinstance(each, Rejection) for each in outcomes)
    return ShardResult(shard_id, claim.checkpoint.epoch, scored, rejected)


def _loaded_ahead(run: Run, claim: Claim, *, source: Source, loader: Loader) -> Iterator[Batch]:
    """Batches up to the shard's stop, the next one loading while this one is scored."""

    def load_from(offset: Key) -> Batch:
        started = monotonic()
        todo = run.selection(KeyRange(offset, claim.stop))
        records = source.read_pending(todo, run.batch_size)
        seconds = {"read": monotonic() - started}
        last = len(records) < run.batch_size
        stop = claim.stop if last else successor(records[-1].key)
        images, load_seconds = _load(records, loader)
        return Batch(records, images, stop, {**seconds, **load_seconds})

    if claim.done:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="load-ahead") as ahead:
        coming = ahead.submit(load_from, claim.checkpoint.offset)
        while True:
            batch = coming.result()
            if batch.stop == claim.stop:
                yield batch
                return
            coming = ahead.submit(load_from, batch.stop)
            yield batch


def _load(
    records: Sequence[Record], loader: Loader
) -> tuple[list[Pixels | Rejection], dict[str, float]]:
    """Images of the records in order; a pair whose caption is refused costs no fetch."""
    refused = {at: no for at, each in enumerate(records) if (no := screen_caption(each.caption))}
    loaded = loader.load([each for at, each in enumerate(records) if at not in refused])
    images = iter(loaded.images)
    placed = [refused[at] if at in refused else next(images) for at in range(len(records))]
    return placed, dict(loaded.stage_seconds)


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
