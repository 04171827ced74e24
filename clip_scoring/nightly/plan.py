"""Plan a run: what is pending becomes shards, or only the answer to what would be planned."""

from __future__ import annotations

from dataclasses import dataclass

from clip_scoring.database.runs import PostgresRuns
from clip_scoring.planning import Preview, plan_run, preview
from clip_scoring.runs import Plan, Remaining, RunRequest, Trigger, Window
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.run_options import RunOptions
from clip_scoring.wiring import current_database, find_weights, open_source, usual_dtype_of


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and its remaining part: less than all where it had been started."""

    plan: Plan
    remaining: Remaining


def plan(settings: Settings, options: RunOptions, *, run_key: str, trigger: Trigger) -> Planned:
    """Plan the run of that key, once; asking again returns the same shards."""
    request = _request(settings, options, run_key, trigger)
    engine = current_database(settings)
    runs = PostgresRuns(engine)
    planned = plan_run(request, source=open_source(settings, engine, options.source), runs=runs)
    return Planned(planned, runs.remaining(runs.get(run_key)))


def preview_plan(settings: Settings, options: RunOptions) -> Preview:
    """A preview of the run's plan; plans nothing."""
    request = _request(settings, options, "dry run", Trigger.MANUAL)
    engine = current_database(settings)
    source = open_source(settings, engine, options.source)
    return preview(request, source=source, runs=PostgresRuns(engine))


def _request(settings: Settings, options: RunOptions, run_key: str, trigger: Trigger) -> RunRequest:
    weights = find_weights(settings, options.weights)
    dtype = options.dtype or usual_dtype_of(settings)
    return RunRequest(
        run_key=run_key,
        source=settings.registrations.source(options.source).name,
        fingerprint=weights.fingerprint(tier=options.tier, dtype=dtype),
        window=Window.of_day(options.day, options.window),
        trigger=trigger,
        rescore=options.rescore,
        batch_size=options.batch_size,
        shard_size=options.shard_size,
        limit=options.limit,
    )
