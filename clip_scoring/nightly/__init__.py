"""Settings to adapters: the only module that knows them all, and what the DAG and the CLI call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from clip_scoring.cli.tables import rejections_table, runs_table, shards_table
from clip_scoring.database import roles, schema
from clip_scoring.database.connection import connect_engine
from clip_scoring.database.records_table import NewRecord, load_records
from clip_scoring.database.runs import PostgresRuns
from clip_scoring.database.sink import PostgresSink
from clip_scoring.database.status import PostgresStatus
from clip_scoring.errors import ShardLost, WeightsInvalid
from clip_scoring.models.weights import Weights
from clip_scoring.planning import Preview, judge_run, plan_run, preview
from clip_scoring.quality import Gates
from clip_scoring.runs import Left, Plan, Run, RunRequest, RunSummary, Trigger, Window
from clip_scoring.scoring import ShardResult, Worker, score_shard
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.run_options import RunOptions
from clip_scoring.stages import ScoredBatch
from clip_scoring.wiring import (
    cores_here,
    current_database,
    device_of,
    find_weights,
    open_loader,
    open_scorer,
    open_source,
    usual_dtype_of,
)
from clip_scoring.workers import is_dead, this_worker

Committed = Callable[[ScoredBatch], None]
_NO_GATES = Gates()
_RECORDS_WORTH_A_PROCESS = 200


def upgrade_database(settings: Settings) -> str:
    """Bring schema `clip` to this program's version and return it."""
    return schema.upgrade(connect_engine(settings.require_database_url()))


def grant_roles(settings: Settings) -> None:
    """Create the group roles where they are missing and give each exactly its rights."""
    roles.grant_roles(connect_engine(settings.require_database_url()))


def plan(settings: Settings, options: RunOptions, *, run_key: str, trigger: Trigger) -> Plan:
    """Plan the run of that key, once; asking again returns the same shards."""
    request, engine = _request(settings, options, run_key, trigger), current_database(settings)
    source = open_source(settings, engine, options.source)
    return plan_run(request, source=source, runs=PostgresRuns(engine))


def plan_dry(settings: Settings, options: RunOptions) -> Preview:
    """What the run would plan; plans nothing."""
    request = _request(settings, options, "dry run", Trigger.MANUAL)
    engine = current_database(settings)
    source = open_source(settings, engine, options.source)
    return preview(request, source=source, runs=PostgresRuns(engine))


def score(
    settings: Settings,
    *,
    run_key: str,
    shard_id: int,
    weights: str | None,
    stopping: Callable[[], bool] = lambda: False,
    committed: Committed = lambda _: None,
) -> ShardResult:
    """Score what is left of one shard of a planned run, whoever worked on it before.

    On a CPU the process takes as many threads as there are cores for each unfinished shard: the
    scheduler may work on all of them at once.
    """
    runs = PostgresRuns(current_database(settings))
    beside = runs.unfinished(runs.get(run_key))
    with _worker(settings, run_key, weights, processes=beside) as worker:
        run, claim = worker.sink.claim(shard_id, device=worker.scorer.device)
        return score_shard(run, claim, worker=worker, stopping=stopping, committed=committed)


def left(settings: Settings, *, run_key: str) -> Left:
    """What of a planned run is still to be done, by the counters of its shards."""
    runs = PostgresRuns(current_database(settings))
    return runs.left(runs.get(run_key))


def work(
    settings: Settings,
    *,
    run_key: str,
    weights: str | None,
    wait: Callable[[int], None],
    processes: int = 1,
) -> Iterator[ShardResult]:
    """Score shards of the run that nobody works on, until every shard of it is done.

    Shards of workers that died on this machine are free at once, those of others when their
    lease has run out; until then `wait` is called with the number of unfinished shards. A shard
    that somebody else takes over meanwhile is left to them. `processes` share this machine's cores.
    """
    runs = PostgresRuns(current_database(settings))
    run = runs.get(run_key)
    if not runs.unfinished(run):
        return
    with _worker(settings, run_key, weights, processes=processes) as worker:
        while left := runs.unfinished(run):
            runs.dismiss(run, [each for each in runs.workers(run) if is_dead(each)])
            claim = worker.sink.claim_free(run, device=worker.scorer.device)
            if claim is None:
                wait(left)
                continue
            with suppress(ShardLost):
                yield score_shard(run, claim, worker=worker)


def finish(settings: Settings, *, run_key: str, gates: Gates = _NO_GATES) -> RunSummary:
    """Recount the run from its rows, judge it, close it."""
    engine = current_database(settings)
    runs = PostgresRuns(engine)
    run = runs.get(run_key)
    return judge_run(run, source=open_source(settings, engine, run.source), runs=runs, gates=gates)


def status(
    settings: Settings, *, run_key: str | None, source: str | None, most: int
) -> Iterator[str]:
    """The newest runs, or one run with its shards, and the rejections, as lines of text."""
    engine = current_database(settings)
    asked = PostgresStatus(engine)
    if run_key is None:
        yield from runs_table(asked.runs(source=source, most=most))
    else:
        PostgresRuns(engine).get(run_key)
        yield from shards_table(asked.shards(run_key))
    yield ""
    yield from rejections_table(asked.rejections(source=source, run_key=run_key))


def load_sample(settings: Settings, folder: Path) -> int:
    """Render the sample records below `folder`, put them into `clip.record`, count the changes."""
    from clip_scoring.sample.records import (  # noqa: PLC0415  # no nightly run renders scenes
        write_manifest,
        write_sample,
    )

    engine = current_database(settings)
    sample = write_sample(folder)
    write_manifest(folder, sample)
    return load_records(
        engine,
        [NewRecord(each.key, each.image_uri, each.caption, each.created_at) for each in sample],
    )


def best_processes(settings: Settings, planned: Plan) -> int:
    """How many processes score a run fastest on this machine.

    One for the GPU; on a CPU one for each core, which beats several threads in one process, as far
    as there is work that is worth the start of a process.
    """
    if device_of(settings) != "cpu":
        return 1
    worthwhile = planned.planned // _RECORDS_WORTH_A_PROCESS
    return max(1, min(cores_here(), len(planned.shards), worthwhile))


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


@contextmanager
def _worker(
    settings: Settings, run_key: str, weights: str | None, *, processes: int
) -> Iterator[Worker]:
    # One connection for the sink and one for reading ahead: to open them for each batch would
    # take longer than to use them.
    engine = current_database(settings, kept=2)
    run = PostgresRuns(engine).get(run_key)
    opened = find_weights(settings, weights)
    _require_planned(opened, run)
    registration = settings.registrations.source(run.source)
    cores = max(1, cores_here() // max(1, processes))
    try:
        with closing(
            open_loader(settings, registration, opened, tier=run.fingerprint.tier, decoders=cores)
        ) as loader:
            yield Worker(
                open_source(settings, engine, run.source),
                loader,
                open_scorer(
                    settings,
                    opened,
                    run.fingerprint,
                    rows=run.batch_size,
                    loader=loader,
                    threads=cores,
                ),
                PostgresSink(engine, worker=this_worker()),
            )
    finally:
        engine.dispose()


def _require_planned(weights: Weights, run: Run) -> None:
    here = weights.fingerprint(tier=run.fingerprint.tier, dtype=run.fingerprint.dtype)
    if here != run.fingerprint:
        raise WeightsInvalid(
            f"weights {weights.folder} are not those that run {run.run_key} was planned with"
        )
