"""Rows of pages and tables about runs, shards and records: one frozen value for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from clip_scoring.records import Key
from clip_scoring.run_metrics import RunMetrics


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run in the list of runs; counters of a run under way come from its shards."""

    id: int
    run_key: str
    source: str
    trigger: str
    state: str
    stalled: bool
    """Whether it runs by its state, but nobody has worked on it for as long as a lease."""
    window_start: datetime | None
    window_stop: datetime
    planned: int
    scored: int
    rejected: int
    started_at: datetime
    finished_at: datetime | None
    wall_seconds: float | None
    bottleneck: str | None


@dataclass(frozen=True, slots=True)
class RunDetail:
    """A run with its metrics and its fingerprint, and the live counters of its shards."""

    id: int
    run_key: str
    source: str
    trigger: str
    state: str
    stalled: bool
    window_start: datetime | None
    window_stop: datetime
    planned: int
    reserved: int
    arrived: int
    vanished: int
    scored: int
    rejected: int
    live_scored: int | None
    """None for a run without shards."""
    live_rejected: int | None
    started_at: datetime
    finished_at: datetime | None
    as_of: datetime
    """When this was read, by the database's clock."""
    wall_seconds: float | None
    bottleneck: str | None
    metrics: RunMetrics
    fingerprint_id: int
    digest: str
    parts: Mapping[str, str]
    """Of the fingerprint."""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run in the table of `clip-scoring status`."""

    run_key: str
    source: str
    trigger: str
    state: str
    stalled: bool
    planned: int
    reserved: int
    scored: int
    rejected: int
    done: int
    """Finished shards."""
    shards: int
    started_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class ShardDetail:
    """A shard: its range, how far it is, and who works on it at which try."""

    number: int
    start_key: Key
    stop_key: Key
    offset: Key
    state: str
    epoch: int
    tries: int
    planned: int
    scored: int
    rejected: int
    worker: str | None
    device: str | None
    leased: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage, since planning; `wall` is the time from batch to batch."""

    @property
    def wall_seconds(self) -> float | None:
        """Seconds from batch to batch, None before the first commit."""
        return self.seconds.get("wall")


@dataclass(frozen=True, slots=True)
class DayTotals:
    """Totals of the finished runs that started on one UTC day."""

    day: date
    runs: int
    failed: int
    scored: int
    rejected: int
    wall_seconds: float | None


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """A run's rejections for one reason, and when the next of them is tried again."""

    reason: str
    records: int
    next_due: datetime | None
    """None waits for changed input."""


@dataclass(frozen=True, slots=True)
class RejectionBacklog:
    """Current rejections of one source for one reason."""

    source: str
    reason: str
    records: int
    due: int
    """Records whose time has come."""
    waiting: int
    """Records whose time will come."""
    next_due: datetime | None
    most_attempts: int


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """One outcome of a record: a similarity, or the reason of its rejection."""

    digest: str
    parts: Mapping[str, str]
    similarity: float | None
    caption_truncated: bool | None
    reason: str | None
    detail: str | None
    attempts: int | None
    next_attempt_at: datetime | None
    run_id: int
    at: datetime
