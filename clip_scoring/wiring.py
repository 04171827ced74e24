"""Settings to adapters: the only module that knows them all, and what the DAG and the CLI call."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine

from clip_scoring.errors import SettingsInvalid, WeightsInvalid
from clip_scoring.fingerprint import Dtype
from clip_scoring.images.addresses import parse_networks
from clip_scoring.images.http import HttpFetcher, HttpPolicy
from clip_scoring.images.loader import ImageLoader
from clip_scoring.models.weights import Weights, open_weights
from clip_scoring.options import RunOptions
from clip_scoring.planning import judge_run, plan_run, preview
from clip_scoring.ports import Scorer
from clip_scoring.runs import Plan, Run, RunRequest, RunSummary, Trigger, Window
from clip_scoring.scoring import ShardResult, score_shard
from clip_scoring.settings import Settings, SourceRegistration
from clip_scoring.stores import schema
from clip_scoring.stores.database import connect_engine
from clip_scoring.stores.postgres_runs import PostgresRuns
from clip_scoring.stores.postgres_sink import PostgresSink
from clip_scoring.stores.postgres_source import PostgresSource
from clip_scoring.stores.records_table import NewRecord, load_records


def upgrade_database(settings: Settings) -> str:
    """Bring schema `clip` to this program's version and return it."""
    return schema.upgrade(connect_engine(settings.require_database_url()))


def plan(settings: Settings, options: RunOptions, *, run_key: str, trigger: Trigger) -> Plan:
    """Plan the run of that key, once; asking again returns the same shards."""
    request, engine = _request(settings, options, run_key, trigger), _current_database(settings)
    source = PostgresSource(engine, settings.registrations.source(options.source))
    return plan_run(request, source=source, runs=PostgresRuns(engine))


def plan_dry(settings: Settings, options: RunOptions) -> int:
    """How many records the run would plan; writes nothing."""
    request = _request(settings, options, "dry run", Trigger.MANUAL)
    engine = _current_database(settings)
    source = PostgresSource(engine, settings.registrations.source(options.source))
    return preview(request, source=source, runs=PostgresRuns(engine))


def score(
    settings: Settings,
    *,
    run_key: str,
    shard_id: int,
    weights: str | None,
    stopping: Callable[[], bool] = lambda: False,
) -> ShardResult:
    """Score what is left of one shard of a planned run."""
    engine = _current_database(settings)
    run = PostgresRuns(engine).get(run_key)
    registration = settings.registrations.source(run.source)
    opened = open_weights(settings.weights_location(weights or settings.weights))
    with closing(_loader(registration, opened)) as loader:
        return score_shard(
            shard_id,
            source=PostgresSource(engine, registration),
            loader=loader,
            scorer=_scorer(opened, run),
            sink=PostgresSink(engine),
            stopping=stopping,
        )


def finish(settings: Settings, *, run_key: str, max_rejection_rate: float | None) -> RunSummary:
    """Recount the run from its rows, judge it, close it."""
    engine = _current_database(settings)
    runs = PostgresRuns(engine)
    run = runs.get(run_key)
    source = PostgresSource(engine, settings.registrations.source(run.source))
    return judge_run(run, source=source, runs=runs, max_rejection_rate=max_rejection_rate)


def load_sample(settings: Settings, folder: Path) -> int:
    """Render the sample records below `folder`, put them into `clip.record`, count the changes."""
    from clip_scoring.sample.records import (  # noqa: PLC0415  # no nightly run renders scenes
        write_manifest,
        write_sample,
    )

    engine = _current_database(settings)
    sample = write_sample(folder)
    write_manifest(folder, sample)
    return load_records(
        engine,
        [NewRecord(each.key, each.image_uri, each.caption, each.created_at) for each in sample],
    )


def _current_database(settings: Settings) -> Engine:
    engine = connect_engine(settings.require_database_url())
    schema.require_current(engine)
    return engine


def _request(settings: Settings, options: RunOptions, run_key: str, trigger: Trigger) -> RunRequest:
    weights = open_weights(settings.weights_location(options.weights or settings.weights))
    dtype = options.dtype or _usual_dtype()
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


def _usual_dtype() -> Dtype:
    """FP16 where this machine has a GPU, else FP32."""
    from clip_scoring.models.clip import choose_device  # noqa: PLC0415  # torch takes seconds

    return Dtype.FLOAT16 if choose_device() == "cuda" else Dtype.FLOAT32


def _scorer(weights: Weights, run: Run) -> Scorer:
    from clip_scoring.models.clip import ClipScorer, choose_device  # noqa: PLC0415  # as above

    here = weights.fingerprint(tier=run.fingerprint.tier, dtype=run.fingerprint.dtype)
    if here != run.fingerprint:
        raise WeightsInvalid(
            f"weights {weights.folder} are not those that run {run.run_key} was planned with"
        )
    return ClipScorer(weights, here, device=choose_device())


def _loader(registration: SourceRegistration, weights: Weights) -> ImageLoader:
    try:
        networks = parse_networks(registration.allowed_networks)
    except ValueError as wrong:
        raise SettingsInvalid(f"source {registration.name}: allowed_networks: {wrong}") from wrong
    http = HttpFetcher(HttpPolicy(networks, registration.allowed_ports))
    threads = max(4, os.cpu_count() or 1)
    return ImageLoader(weights.geometry, roots=registration.image_roots, http=http, threads=threads)
