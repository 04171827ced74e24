"""Runs and sink in memory, with the promises of the real ones; nothing outlives the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import RLock

from clip_scoring.errors import RunNotFound, ShardLost
from clip_scoring.fingerprint import Fingerprint
from clip_scoring.metrics import StageMetrics
from clip_scoring.quality import BINS_PER_UNIT, Histogram, Ranked
from clip_scoring.records import Key, Outcome, Record, Rejection, Score
from clip_scoring.run_metrics import RunMetrics
from clip_scoring.runs import (
    Run,
    RunRequest,
    RunSummary,
    Selection,
    ShardCounts,
    ShardPlan,
    Window,
)
from clip_scoring.shards import Checkpoint, Claim, KeyRange, PlannedRange

_LEASE = timedelta(minutes=15)
_WEEK_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Kept:
    """The outcome of a record, and where it came from."""

    outcome: Outcome
    input_md5: str
    run_id: int
    shard_id: int
    written_at: datetime
    attempts: int = 1
    next_attempt_at: datetime | None = None


@dataclass(slots=True)
class _Shard:
    id: int
    run_id: int
    number: int
    keys: KeyRange
    planned: int
    offset: Key
    lease_until: datetime
    epoch: int = 0
    tries: int = 0
    worker: bool = False
    scored: int = 0
    rejected: int = 0
    measures: StageMetrics = field(default_factory=StageMetrics)
    device: str | None = None

    @property
    def done(self) -> bool:
        return self.offset == self.keys.stop


class InMemoryRunStore:
    """Runs and Sink: all that the database holds, in dictionaries under one lock."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.outcomes: dict[tuple[str, int, Key], Kept] = {}
        self.metrics: dict[int, RunMetrics] = {}
        """Of the closed runs, by id."""
        self._clock = clock
        self._lock = RLock()
        self._fingerprints: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self._states: dict[int, str] = {}
        self._shards: list[_Shard] = []

    @contextmanager
    def planning(self, source: str, fingerprint: Fingerprint) -> Iterator[InMemoryRunStore]:
        """The book itself, for one planner at a time."""
        with self._lock:
            yield self

    def find(self, run_key: str) -> Run | None:
        """The run of that key, if it has been planned."""
        return self._runs.get(run_key)

    def open_run(self, request: RunRequest) -> Run:
        """Create the run."""
        digest = request.fingerprint.digest
        run = Run(
            id=len(self._runs) + 1,
            run_key=request.run_key,
            source=request.source,
            fingerprint=request.fingerprint,
            fingerprint_id=self._fingerprints.setdefault(digest, len(self._fingerprints) + 1),
            window=request.window,
            rescore=request.rescore,
            as_of=self._clock(),
            batch_size=request.batch_size,
            planned=0,
        )
        self._runs[run.run_key] = run
        self._states[run.id] = "running"
        return run

    def release_abandoned(self, run: Run) -> None:
        """Void every claim on runs of the same scope whose leases have all run out."""
        for other in self._others(run):
            if not self._alive(other):
                self._states[other.id] = "abandoned"
                self._void_claims(other)

    def reserved_ranges(self, run: Run) -> list[KeyRange]:
        """Key ranges of open shards of other live runs whose windows overlap with the run's."""
        return [
            KeyRange(shard.offset, shard.keys.stop)
            for other in self._others(run)
            if _meet(run.window, other.window)
            for shard in self._of(other)
            if not shard.done
        ]

    def add_shards(self, run: Run, ranges: Sequence[PlannedRange], reserved: int) -> None:
        """Number and keep the run's shards."""
        for number, planned_range in enumerate(ranges):
            keys = KeyRange(planned_range.start, planned_range.stop)
            lease_until = self._clock() + _LEASE
            self._shards.append(
                _Shard(
                    len(self._shards) + 1,
                    run.id,
                    number,
                    keys,
                    planned_range.planned,
                    planned_range.start,
                    lease_until,
                )
            )
        planned = sum(piece.planned for piece in ranges)
        self._runs[run.run_key] = replace(run, planned=planned)

    def shards(self, run: Run) -> list[ShardPlan]:
        """The run's shards by number."""
        return [
            ShardPlan(shard.id, shard.number, shard.keys, shard.planned) for shard in self._of(run)
        ]

    def selection_of(self, request: RunRequest) -> Selection:
        """The selection that the request would get if it were planned now."""
        known = self._fingerprints.get(request.fingerprint.digest, 0)
        return Selection(known, request.window, request.rescore, self._clock())

    def get(self, run_key: str) -> Run:
        """The planned run of that key; raises RunNotFound."""
        if run_key not in self._runs:
            raise RunNotFound(f"no run was planned under {run_key}")
        return self._runs[run_key]

    def claim(self, shard_id: int, *, device: str) -> tuple[Run, Claim]:
        """Take the shard with a new epoch; every older claim on it is void from here on."""
        with self._lock:
            shard = next(
                (candidate for candidate in self._shards if candidate.id == shard_id), None
            )
            if shard is None:
                raise ShardLost(f"shard id {shard_id} does not exist")
            run = self._run(shard.run_id)
            if not shard.done:
                self._require_sole_run(run, shard)
                self._states[run.id] = "running"
            return run, self._take(shard, device)

    def claim_free(self, run: Run, *, device: str) -> Claim | None:
        """Take an unfinished shard of the run that nobody works on, if there is one."""
        with self._lock:
            for shard in self._of(run):
                if not shard.done and not (shard.worker and shard.lease_until > self._clock()):
                    return self.claim(shard.id, device=device)[1]
        return None

    def renew(self, claim: Claim) -> None:
        """Keep others from taking the shard; without effect when the claim is void."""
        with self._lock:
            shard = self._shards[claim.shard_id - 1]
            if shard.epoch == claim.checkpoint.epoch and not shard.done:
                shard.lease_until = self._clock() + _LEASE

    def release(self, claim: Claim) -> None:
        """Let others take the shard at once; without effect when the claim is void."""
        with self._lock:
            shard = self._shards[claim.shard_id - 1]
            if shard.epoch == claim.checkpoint.epoch:
                shard.worker = False

    def commit(
        self,
        claim: Claim,
        offset: Key,
        outcomes: Sequence[tuple[Record, Outcome]],
        measures: StageMetrics,
    ) -> Claim:
        """Keep outcomes and move the checkpoint to `offset`, both or neither."""
        with self._lock:
            shard = self._shards[claim.shard_id - 1]
            current = (shard.epoch, shard.offset)
            if current != (claim.checkpoint.epoch, claim.checkpoint.offset) or shard.done:
                raise ShardLost(f"shard {claim.number}: not the current claim any more")
            kept = [(record, self._kept(shard, record, outcome)) for record, outcome in outcomes]
            shard.offset, shard.tries = offset, 1
            shard.lease_until = self._clock() + _LEASE
            shard.scored += sum(isinstance(outcome, Score) for _, outcome in outcomes)
            shard.rejected += sum(isinstance(outcome, Rejection) for _, outcome in outcomes)
            shard.measures += measures
            run = self._run(shard.run_id)
            for record, outcome in kept:
                self.outcomes[run.source, run.fingerprint_id, record.key] = outcome
            return claim.advanced(offset)

    def recount(self, run: Run) -> list[tuple[KeyRange, ShardCounts]]:
        """Each shard's range and its outcomes, counted one by one."""
        return [(shard.keys, self._counts(shard)) for shard in self._of(run)]

    def unfinished(self, run: Run) -> int:
        """How many shards of the run are not done."""
        return sum(not shard.done for shard in self._of(run))

    def superseding(self, run: Run) -> int:
        """Outcomes that other runs of the same scope have written since the run was planned."""
        return sum(
            source == run.source
            and fingerprint_id == run.fingerprint_id
            and kept.run_id != run.id
            and kept.written_at >= run.as_of
            for (source, fingerprint_id, _), kept in self.outcomes.items()
        )

    def histogram(self, run: Run) -> Histogram:
        """The run's similarities."""
        bins: dict[int, int] = {}
        for kept in self._kept_by(run):
            if isinstance(kept.outcome, Score):
                bin_index = int(kept.outcome.similarity * BINS_PER_UNIT // 1)
                bins[bin_index] = bins.get(bin_index, 0) + 1
        return dict(sorted(bins.items()))

    def extremes(self, run: Run, most: int) -> tuple[Ranked, Ranked]:
        """The run's lowest similarities, lowest first, and its highest, highest first."""
        scores = [
            (str(key), kept.outcome.similarity)
            for (_, _, key), kept in self.outcomes.items()
            if kept.run_id == run.id and isinstance(kept.outcome, Score)
        ]
        lowest = sorted(scores, key=lambda pair: (pair[1], pair[0]))
        highest = sorted(scores, key=lambda pair: (-pair[1], pair[0]))
        return lowest[:most], highest[:most]

    def past_histograms(self, run: Run, most: int) -> list[Histogram]:
        """Those of the last runs before it of its scope that succeeded, newest first."""
        past = [
            self.metrics[other.id].histogram
            for other in self._runs.values()
            if self._same_scope(other, run)
            and other.id < run.id
            and self._states[other.id] == "succeeded"
            and self.metrics[other.id].histogram
        ]
        return past[::-1][:most]

    def rejections(self, run: Run) -> Mapping[str, int]:
        """The run's rejections by reason."""
        reasons: dict[str, int] = {}
        for kept in self._kept_by(run):
            if isinstance(kept.outcome, Rejection):
                reason = str(kept.outcome.reason)
                reasons[reason] = reasons.get(reason, 0) + 1
        return dict(sorted(reasons.items()))

    def close(self, run: Run, summary: RunSummary, metrics: RunMetrics) -> None:
        """Note the run's metrics and its final state, and void what claims are left."""
        with self._lock:
            self._void_claims(run)
            self._states[run.id] = "failed" if summary.failures else "succeeded"
            self.metrics[run.id] = metrics

    def _kept(self, shard: _Shard, record: Record, outcome: Outcome) -> Kept:
        run = self._run(shard.run_id)
        kept = Kept(outcome, record.input_md5, shard.run_id, shard.id, self._clock())
        if isinstance(outcome, Score):
            if not -1.0001 <= outcome.similarity <= 1.0001:
                raise ValueError(f"record {record.key}: similarity {outcome.similarity}")
            return kept
        before = self.outcomes.get((run.source, run.fingerprint_id, record.key))
        rejected = before is not None and isinstance(before.outcome, Rejection)
        again = before if rejected and before and before.input_md5 == record.input_md5 else None
        attempts = again.attempts + 1 if again else 1
        retry = outcome.retry
        if retry is None or attempts >= retry.attempts:
            return replace(kept, attempts=attempts)
        wait = min(retry.first_wait_s * 2 ** (attempts - 1), _WEEK_S)
        due = self._clock() + timedelta(seconds=wait)
        return replace(kept, attempts=attempts, next_attempt_at=due)

    def _take(self, shard: _Shard, device: str) -> Claim:
        shard.epoch, shard.tries, shard.worker = shard.epoch + 1, shard.tries + 1, True
        shard.lease_until, shard.device = self._clock() + _LEASE, device
        start, stop = shard.keys.start, shard.keys.stop
        checkpoint = Checkpoint(shard.offset, shard.epoch)
        return Claim(
            shard.id, shard.run_id, shard.number, start, stop,  # type: ignore[arg-type]
            checkpoint, shard.tries,
        )  # fmt: skip

    def _require_sole_run(self, run: Run, shard: _Shard) -> None:
        rivals = [
            (other, theirs)
            for other in self._others(run)
            if _meet(run.window, other.window)
            for theirs in self._of(other)
            if not theirs.done and _overlap(shard, theirs)
        ]
        for other, theirs in rivals:
            if theirs.lease_until > self._clock():
                raise ShardLost(f"shard {shard.number}: reserved by run {other.run_key}")
        for _, outlived in rivals:
            outlived.epoch, outlived.worker = outlived.epoch + 1, False

    def _counts(self, shard: _Shard) -> ShardCounts:
        mine = [kept for kept in self.outcomes.values() if kept.shard_id == shard.id]
        return ShardCounts(
            number=shard.number,
            done=shard.done,
            planned=shard.planned,
            counted_scored=shard.scored,
            counted_rejected=shard.rejected,
            scored=sum(isinstance(kept.outcome, Score) for kept in mine),
            rejected=sum(isinstance(kept.outcome, Rejection) for kept in mine),
            pending=0,
            measures=shard.measures,
            device=shard.device,
        )

    def _run(self, run_id: int) -> Run:
        return next(run for run in self._runs.values() if run.id == run_id)

    def _of(self, run: Run) -> list[_Shard]:
        return [shard for shard in self._shards if shard.run_id == run.id]

    def _others(self, run: Run) -> list[Run]:
        return [
            other
            for other in self._runs.values()
            if self._same_scope(other, run) and self._states[other.id] == "running"
        ]

    def _same_scope(self, one: Run, run: Run) -> bool:
        scopes = [(either.source, either.fingerprint_id) for either in (one, run)]
        return one.id != run.id and scopes[0] == scopes[1]

    def _alive(self, run: Run) -> bool:
        return any(shard.lease_until > self._clock() for shard in self._of(run))

    def _void_claims(self, run: Run) -> None:
        for shard in self._of(run):
            if not shard.done:
                shard.epoch, shard.worker = shard.epoch + 1, False
                shard.lease_until = min(shard.lease_until, self._clock())

    def _kept_by(self, run: Run) -> Iterable[Kept]:
        return (kept for kept in self.outcomes.values() if kept.run_id == run.id)


def _overlap(one: _Shard, other: _Shard) -> bool:
    mine, theirs = one.keys.stop, other.keys.stop
    return other.offset < mine and one.offset < theirs  # type: ignore[operator]


def _meet(one: Window, other: Window) -> bool:
    before = one.start is None or one.start < other.stop
    return before and (other.start is None or other.start < one.stop)
