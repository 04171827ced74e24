"""Metrics of runs for Airflow's own StatsD or OpenTelemetry, whichever is configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

from clip_scoring.records import Rejection

if TYPE_CHECKING:
    from clip_scoring.runs import Remaining
    from clip_scoring.stages import ScoredBatch

SCORED, REJECTED = "clip.scored", "clip.rejected"
"""Counters of pairs; rejected ones by `reason`."""
STAGE = "clip.stage"
"""Seconds of a batch by `stage`: read, fetch, decode, score, commit; `wall` is all of it."""
BATCH_SIZE, BACKOFFS = "clip.batch_size", "clip.backoffs"
"""Pairs of the latest batch; how often a batch was halved since the device ran out of memory."""
QUEUE_DEPTH, BACKLOG = "clip.queue_depth", "clip.backlog"
"""Shards of the latest run that are not done, and their pairs without an outcome."""


def emit_batches(source: str) -> Callable[[ScoredBatch], None]:
    """Tells of each batch as it is committed; a lost datagram costs a figure and nothing else."""

    def emit(batch: ScoredBatch) -> None:
        tags = {"source": source}
        stats.incr(SCORED, batch.scored, tags=tags)
        for reason, count in _reasons(batch).items():
            stats.incr(REJECTED, count, tags={**tags, "reason": reason})
        for stage, seconds in batch.measures.seconds.items():
            stats.timing(STAGE, timedelta(seconds=seconds), tags={**tags, "stage": stage})
        stats.gauge(BATCH_SIZE, len(batch.records), tags=tags)
        stats.incr(BACKOFFS, batch.measures.counts.get("oom_backoffs", 0), tags=tags)

    return emit


def emit_remaining(source: str, left: Remaining) -> None:
    """The records and shards that the source's latest run has still before it."""
    stats.gauge(QUEUE_DEPTH, left.shards, tags={"source": source})
    stats.gauge(BACKLOG, left.records, tags={"source": source})


def _reasons(batch: ScoredBatch) -> Counter[str]:
    return Counter(
        str(outcome.reason) for outcome in batch.outcomes if isinstance(outcome, Rejection)
    )
