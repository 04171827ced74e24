"""score_shard(): from a claim to the last commit of one shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from time import monotonic

from clip_scoring.errors import Interrupted, Retryable
from clip_scoring.lease import kept_alive
from clip_scoring.metrics import StageMetrics
from clip_scoring.ports import Loader, Scorer, Sink, Source
from clip_scoring.runs import Run
from clip_scoring.shards import Claim, KeyRange, successor
from clip_scoring.stages import LoadedBatch, Read, ScoredBatch, load_ahead, read_ahead, score_ahead


@dataclass(frozen=True, slots=True)
class ShardResult:
    """Totals that this call committed; an earlier worker's part of the shard is not in them."""

    shard_id: int
    epoch: int
    scored: int
    rejected: int


@dataclass(frozen=True, slots=True)
class Worker:
    """Everything that scores shards of one run in this process, open from shard to shard."""

    source: Source
    loader: Loader
    scorer: Scorer
    sink: Sink


def score_shard(
    run: Run,
    claim: Claim,
    *,
    worker: Worker,
    stopping: Callable[[], bool] = lambda: False,
    committed: Callable[[ScoredBatch], None] = lambda _: None,
) -> ShardResult:
    """Score what is left of a claimed shard, batch by batch, until its offset reaches its stop.

    Killed at any moment, it loses the work on one batch at most, and what was loaded ahead; claimed
    again it goes on at the committed offset, on the same batch grid. `stopping` is asked between
    batches, `committed` is told of each one behind its commit.

    Raises ShardLost when somebody else claimed the shard, Interrupted when asked to stop; in both
    cases everything committed so far stands.
    """
    scored = rejected = 0
    ahead = read_ahead(_reads_of_shard(run, claim, worker.source))
    with closing(ahead) as reads, kept_alive(worker.sink, claim):
        try:
            batches = load_ahead(reads, loader=worker.loader, batch_size=run.batch_size)
            for batch in score_ahead(_until(stopping, batches, claim), scorer=worker.scorer):
                rows = list(zip(batch.records, batch.outcomes, strict=True))
                claim = worker.sink.commit(claim, batch.stop, rows, batch.measures)
                scored += batch.scored
                rejected += len(rows) - batch.scored
                committed(batch)
        except BaseException:
            with suppress(Retryable):  # without the database the lease frees the shard, only later
                worker.sink.release(claim)
            raise
    return ShardResult(claim.shard_id, claim.checkpoint.epoch, scored, rejected)


def _until(
    stopping: Callable[[], bool], batches: Iterator[LoadedBatch], claim: Claim
) -> Iterator[LoadedBatch]:
    for batch in batches:
        if stopping():
            raise Interrupted(f"shard {claim.number}: stopped behind its last commit, as asked")
        yield batch


def _reads_of_shard(run: Run, claim: Claim, source: Source) -> Iterator[Read]:
    """Batches of pending records on the shard's grid, from its offset up to its stop."""
    offset, stop = claim.checkpoint.offset, claim.stop
    while offset != stop:
        started = monotonic()
        records = source.read_pending(run.selection(KeyRange(offset, stop)), run.batch_size)
        last = len(records) < run.batch_size
        offset = stop if last else successor(records[-1].key)
        seconds = {"read": monotonic() - started}
        yield Read(records, offset, StageMetrics(seconds) + source.drain_metrics())
