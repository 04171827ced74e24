"""Pending records to shards, and, at the end, shards to a verdict about the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from clip_scoring.ports import Planning, Runs, Source
from clip_scoring.quality import DRIFT_RUNS, Gates, drift
from clip_scoring.run_metrics import RunMetrics
from clip_scoring.runs import Plan, Run, RunRequest, RunSummary, Selection, Window
from clip_scoring.shards import KeyRange, PlannedRange, free_ranges, merged, shard_size

_NO_GATES = Gates()
_EXTREMES = 100
"""As many of the lowest and of the highest pairs are noted with the run's metrics."""


def plan_run(request: RunRequest, *, source: Source, runs: Runs) -> Plan:
    """Cut what is pending into shards, once per run key: asking again returns the same shards.

    Records that another live run of the same source and fingerprint holds are left out and
    counted in `reserved`.
    """
    source.refresh(request.window)
    with runs.planning(source.name, request.fingerprint) as planning:
        planned_before = planning.find(request.run_key)
        if planned_before is not None:
            return _plan_of(planned_before, planning, planned_before.reserved)
        run = planning.open_run(request)
        planning.release_abandoned(run)
        taken = merged(planning.reserved_ranges(run))
        reserved = _reserved(run, taken, source=source)
        ranges = list(_ranges(request, run, taken, source=source)[1])
        planning.add_shards(run, ranges, reserved)
        planned = sum(piece.planned for piece in ranges)
        return _plan_of(replace(run, planned=planned), planning, reserved)


@dataclass(frozen=True, slots=True)
class Preview:
    """The result of planning if it were done now; `reserved` are pending records of other runs."""

    planned: int
    reserved: int
    shards: int
    shard_size: int
    window: Window
    fingerprint: str
    """The first twelve digits of its digest."""

    def parts(self) -> dict[str, object]:
        """The fields for JSON; times are in ISO 8601."""
        window = {"start": self.window.start, "stop": self.window.stop}
        times = {name: None if at is None else at.isoformat() for name, at in window.items()}
        return {**asdict(self), "window": times}

    def __str__(self) -> str:
        start = "the beginning" if self.window.start is None else f"{self.window.start:%F %H:%M}"
        return (
            f"{self.planned} records in {self.shards} shards of up to {self.shard_size} would be "
            f"planned, {self.reserved} reserved by other runs; from {start} to "
            f"{self.window.stop:%F %H:%M} UTC, fingerprint {self.fingerprint}"
        )


def preview(request: RunRequest, *, source: Source, runs: Runs) -> Preview:
    """A preview of such a run; plans nothing and writes no row of a run."""
    source.refresh(request.window)
    run = _unplanned(request, runs.selection_of(request))
    with runs.planning(source.name, request.fingerprint) as planning:
        taken = merged(planning.reserved_ranges(run))
    size, ranges = _ranges(request, run, taken, source=source)
    planned = [piece.planned for piece in ranges]
    return Preview(
        planned=sum(planned),
        reserved=_reserved(run, taken, source=source),
        shards=len(planned),
        shard_size=size,
        window=request.window,
        fingerprint=request.fingerprint.digest[:12],
    )


def _unplanned(request: RunRequest, selection: Selection) -> Run:
    """The run that the request would become, under an id that no run has."""
    return Run(
        id=0,
        run_key=request.run_key,
        source=request.source,
        fingerprint=request.fingerprint,
        fingerprint_id=selection.fingerprint_id,
        window=request.window,
        rescore=request.rescore,
        as_of=selection.as_of,
        batch_size=request.batch_size,
        planned=0,
    )


def finish_run(run: Run, *, source: Source, runs: Runs, gates: Gates = _NO_GATES) -> RunSummary:
    """Recount the run from its rows, judge it and close it; its `failures` make it red."""
    counted = [
        replace(shard, pending=source.count_pending(run.selection(keys)))
        for keys, shard in runs.recount(run)
    ]
    summary = RunSummary.of_shards(counted, superseded=runs.superseding(run))
    histogram = runs.histogram(run)
    moved = drift(histogram, runs.past_histograms(run, DRIFT_RUNS))
    summary = summary.failed(*gates.tripped(rejection_rate=summary.rejection_rate, drift=moved))
    metrics = RunMetrics.of_summary(
        summary,
        rejections=runs.rejections(run),
        histogram=histogram,
        drift=moved,
        extremes=runs.extremes(run, _EXTREMES),
    )
    runs.close(run, summary, metrics)
    return summary


def _plan_of(run: Run, planning: Planning, reserved: int) -> Plan:
    return Plan(run.id, run.planned, reserved, tuple(planning.shards(run)))


def _reserved(run: Run, taken: list[KeyRange], *, source: Source) -> int:
    return sum(source.count_pending(run.selection(keys)) for keys in taken)


def _ranges(
    request: RunRequest, run: Run, taken: list[KeyRange], *, source: Source
) -> tuple[int, Iterator[PlannedRange]]:
    """How many records a shard takes, and the shards."""
    free = [run.selection(keys) for keys in free_ranges(taken)]
    backlog = sum(source.count_pending(part) for part in free)
    if request.limit is not None:
        backlog = min(backlog, request.limit)
    size = shard_size(
        backlog, wanted=request.shard_size, batch_size=request.batch_size, ranges=len(free)
    )
    return size, _cut(free, size, request.limit, source=source)


def _cut(
    free: list[Selection], size: int, limit: int | None, *, source: Source
) -> Iterator[PlannedRange]:
    for part in free:
        if limit == 0:
            return
        for piece in source.ranges(part, size, limit):
            yield piece
            limit = limit if limit is None else limit - piece.planned
