"""Pending records to shards, and, at the end, shards to a verdict about the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from clip_scoring.ports import Planning, Runs, Source
from clip_scoring.quality import DRIFT_RUNS, Gates, drift
from clip_scoring.runs import Plan, Run, RunRequest, RunSummary, Selection, bottleneck
from clip_scoring.shards import KeyRange, PlannedRange, free_ranges, merged, shard_size

_NO_GATES = Gates()
_EXTREMES = 100
"""As many of the lowest and of the highest pairs are noted with the run's metrics."""


def plan_run(request: RunRequest, *, source: Source, runs: Runs) -> Plan:
    """Cut what is pending into shards, once per run key: asking again returns the same shards.

    Records that another live run of the same source and fingerprint holds are left out and
    counted in `held`.
    """
    source.take_stock(request.window)
    with runs.planning(source.name, request.fingerprint) as planning:
        planned_before = planning.find(request.run_key)
        if planned_before is not None:
            return _plan_of(planned_before, planning, planned_before.held)
        run = planning.open_run(request)
        planning.release_abandoned(run)
        taken = merged(planning.held_ranges(run))
        held = sum(source.count_pending(run.selection(keys)) for keys in taken)
        ranges = list(_ranges(request, run, taken, source=source))
        planning.add_shards(run, ranges, held)
        planned = sum(each.planned for each in ranges)
        return _plan_of(replace(run, planned=planned), planning, held)


def preview(request: RunRequest, *, source: Source, runs: Runs) -> int:
    """How many records such a run would plan if nobody else held any; plans nothing."""
    source.take_stock(request.window)
    pending = source.count_pending(runs.selection_of(request))
    return pending if request.limit is None else min(pending, request.limit)


def judge_run(run: Run, *, source: Source, runs: Runs, gates: Gates = _NO_GATES) -> RunSummary:
    """Recount the run from its rows, judge it and close it; its `failures` make it red."""
    counted = [
        replace(shard, pending=source.count_pending(run.selection(keys)))
        for keys, shard in runs.recount(run)
    ]
    summary = RunSummary.of_shards(counted, superseded=runs.superseding(run))
    histogram = runs.histogram(run)
    moved = drift(histogram, runs.past_histograms(run, DRIFT_RUNS))
    summary = summary.failed(*gates.tripped(rejection_rate=summary.rejection_rate, drift=moved))
    lowest, highest = runs.extremes(run, _EXTREMES)
    extremes = {"lowest": lowest, "highest": highest}
    found = {"rejections": runs.rejections(run), "histogram": histogram, "drift": moved, **extremes}
    runs.close(run, summary, {**_metrics(summary), **found})
    return summary


def _plan_of(run: Run, planning: Planning, held: int) -> Plan:
    return Plan(run.id, run.planned, held, tuple(planning.shards(run)))


def _ranges(
    request: RunRequest, run: Run, taken: list[KeyRange], *, source: Source
) -> Iterator[PlannedRange]:
    free = [run.selection(keys) for keys in free_ranges(taken)]
    backlog = sum(source.count_pending(part) for part in free)
    if request.limit is not None:
        backlog = min(backlog, request.limit)
    size = shard_size(backlog, wanted=request.shard_size, batch_size=request.batch_size)
    yield from _cut(free, size, request.limit, source=source)


def _cut(
    free: list[Selection], size: int, limit: int | None, *, source: Source
) -> Iterator[PlannedRange]:
    for part in free:
        if limit == 0:
            return
        for each in source.ranges(part, size, limit):
            yield each
            limit = limit if limit is None else limit - each.planned


def _metrics(summary: RunSummary) -> dict[str, object]:
    measures = summary.measures
    wall = measures.seconds.get("wall", 0.0)
    return {
        "stage_seconds": {name: round(each, 3) for name, each in sorted(measures.seconds.items())},
        "pairs_per_second": round((summary.scored + summary.rejected) / wall, 2) if wall else None,
        "bottleneck": bottleneck(measures.seconds),
        **measures.counts,
        **{f"peak_{name}": highest for name, highest in measures.peaks.items()},
        "devices": list(summary.devices),
        "rejection_rate": round(summary.rejection_rate, 6),
        "pending": summary.pending,
        "failures": list(summary.failures),
    }
