"""Runs: what is asked for, what was planned, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Fingerprint
from clip_scoring.metrics import StageMetrics
from clip_scoring.shards import KeyRange

MAX_BATCH_SIZE, MAX_SHARD_SIZE, MAX_LIMIT = 4096, 10_000_000, 10**12
DEFAULT_BATCH_SIZE, DEFAULT_SHARD_SIZE = 64, 10_000
_WHOLE = KeyRange(None, None)


class Trigger(StrEnum):
    """The kind of start of a run."""

    SCHEDULED = "scheduled"
    BACKFILL = "backfill"
    MANUAL = "manual"
    CLI = "cli"


class Rescore(StrEnum):
    """Which records that already have an outcome are taken again."""

    MISSING = "missing"
    REJECTED = "rejected"
    ALL = "all"


class WindowKind(StrEnum):
    """Whether a run takes what is pending up to the end of its day, or its day only."""

    UP_TO_DAY = "up_to_day"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open span of event times; `start` None takes everything older as well."""

    start: datetime | None
    stop: datetime

    @classmethod
    def of_day(cls, day: date, kind: WindowKind) -> Window:
        """The UTC day itself, or everything before its end."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return cls(start if kind is WindowKind.DAY else None, start + timedelta(days=1))


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One planned pass over the pending records of one source; equal `run_key`, equal run."""

    run_key: str
    source: str
    fingerprint: Fingerprint
    window: Window
    trigger: Trigger
    rescore: Rescore = Rescore.MISSING
    batch_size: int = DEFAULT_BATCH_SIZE
    shard_size: int = DEFAULT_SHARD_SIZE
    limit: int | None = None

    def __post_init__(self) -> None:
        for name, value, most in (
            ("batch_size", self.batch_size, MAX_BATCH_SIZE),
            ("shard_size", self.shard_size, MAX_SHARD_SIZE),
            ("limit", self.limit, MAX_LIMIT),
        ):
            if value is not None and not 1 <= value <= most:
                raise SettingsInvalid(f"{name} {value} outside 1..{most}")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records of a source are pending for one run, fixed at planning.

    `as_of` is the instant of planning by the database's clock: a retry that falls due later
    belongs to a later run, and what is to be scored again is done when it was since then.
    """

    fingerprint_id: int
    window: Window
    rescore: Rescore
    as_of: datetime
    keys: KeyRange = _WHOLE


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the database knows it."""

    id: int
    run_key: str
    source: str
    fingerprint: Fingerprint
    fingerprint_id: int
    window: Window
    rescore: Rescore
    as_of: datetime
    batch_size: int
    planned: int
    reserved: int = 0

    def selection(self, keys: KeyRange = _WHOLE) -> Selection:
        """The selection of records that are pending for this run within `keys`."""
        return Selection(self.fingerprint_id, self.window, self.rescore, self.as_of, keys)


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard as planned; its keys are text of users, so a scheduler is told the numbers only."""

    shard_id: int
    number: int
    keys: KeyRange
    planned: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer of planning; `reserved` are pending records that another live run works on."""

    run_id: int
    planned: int
    reserved: int
    shards: tuple[ShardPlan, ...]


@dataclass(frozen=True, slots=True)
class Remaining:
    """The rest of a run: its open shards, and their records without an outcome."""

    shards: int
    records: int


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """Recount of one shard from its rows, beside its own counters."""

    number: int
    done: bool
    planned: int
    counted_scored: int
    counted_rejected: int
    scored: int
    rejected: int
    pending: int
    measures: StageMetrics = field(default_factory=StageMetrics)
    device: str | None = None

    @property
    def arrived(self) -> int:
        """Net records that entered the range after planning."""
        return max(self.scored + self.rejected + self.pending - self.planned, 0)

    @property
    def vanished(self) -> int:
        """Net records that left the range after planning."""
        return max(self.planned - self.scored - self.rejected - self.pending, 0)

    def violations(self) -> list[str]:
        """Violations of conservation; empty for a shard that may be called done."""
        texts = []
        if not self.done:
            texts.append(f"shard {self.number}: not finished, {self.pending} pending")
        elif self.pending > self.arrived:
            texts.append(f"shard {self.number}: {self.pending - self.arrived} without an outcome")
        if self.scored > self.counted_scored or self.rejected > self.counted_rejected:
            texts.append(self.miscounted)
        return texts

    @property
    def missing_rows(self) -> int:
        """Outcomes that were counted and are not this shard's rows, or not any more."""
        return self.counted_scored + self.counted_rejected - self.scored - self.rejected

    @property
    def miscounted(self) -> str:
        """The counters beside the rows."""
        return (
            f"shard {self.number}: counters {self.counted_scored}+{self.counted_rejected}, "
            f"rows {self.scored}+{self.rejected}"
        )


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The result of a run, recounted from rows: the figures of `clip.run`."""

    planned: int
    arrived: int
    vanished: int
    scored: int
    rejected: int
    pending: int
    failures: tuple[str, ...]
    measures: StageMetrics
    devices: tuple[str, ...] = ()

    @classmethod
    def of_shards(cls, shards: list[ShardCounts], *, superseded: int = 0) -> RunSummary:
        """Sums over all shards of a run.

        At most `superseded` of its rows may be missing, since other runs wrote in their place.
        """

        def total(figure: Callable[[ShardCounts], int]) -> int:
            return sum(map(figure, shards))

        violations = [text for shard in shards for text in shard.violations()]
        return cls(
            planned=total(lambda shard: shard.planned),
            arrived=total(lambda shard: shard.arrived),
            vanished=total(lambda shard: shard.vanished),
            scored=total(lambda shard: shard.scored),
            rejected=total(lambda shard: shard.rejected),
            pending=total(lambda shard: shard.pending),
            failures=(*violations, *_lost_rows(shards, superseded)),
            measures=sum((shard.measures for shard in shards), StageMetrics()),
            devices=tuple(sorted({shard.device for shard in shards if shard.device})),
        )

    def failed(self, *failures: str) -> RunSummary:
        """The same figures with more failures, for instance a gate that tripped."""
        return replace(self, failures=(*self.failures, *failures))

    @property
    def rejection_rate(self) -> float:
        """Rejected share of all outcomes, 0 for an empty run."""
        return self.rejected / ((self.scored + self.rejected) or 1)

    def __str__(self) -> str:
        return (
            f"planned {self.planned}  scored {self.scored}  "
            f"rejected {self.rejected}  pending {self.pending}"
        )


def _lost_rows(shards: Sequence[ShardCounts], superseded: int) -> list[str]:
    """The shards that miss rows, unless other runs may have written in the place of all of them."""
    short = [shard for shard in shards if shard.missing_rows > 0]
    if sum(shard.missing_rows for shard in short) <= superseded:
        return []
    return [shard.miscounted for shard in short]


ADVICE = {
    "read": "the source query is slow: check its index",
    "fetch": "images arrive slowly: more fetch workers, or bring the images nearer",
    "decode": "add CPU cores",
    "score": "add a GPU, or a faster one",
    "commit": "the database writes slowly: check its disk and its load",
}
"""Remedies by bottleneck; the keys are the stages of a shard."""


def bottleneck(stage_seconds: Mapping[str, float]) -> str:
    """The verdict of a run, for instance `decode-bound: add CPU cores`.

    Reading, fetching and decoding of the next batch overlap scoring and committing of this one,
    so the side that takes longer decides, and within it the longest stage.
    """
    ahead = ("read", "fetch", "decode")
    here = ("score", "commit")

    def total(stages: tuple[str, ...]) -> float:
        return sum(stage_seconds.get(stage, 0.0) for stage in stages)

    if total(ahead + here) == 0.0:
        return "nothing to do"
    side = ahead if total(ahead) > total(here) else here
    stage = max(side, key=lambda name: stage_seconds.get(name, 0.0))
    return f"{stage}-bound: {ADVICE[stage]}"
