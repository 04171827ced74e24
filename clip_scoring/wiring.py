"""Settings to adapters: the only module that knows them all, and what the DAG and the CLI call."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import Engine

from clip_scoring.errors import SettingsInvalid, ShardLost, WeightsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.geometry import Geometry
from clip_scoring.images.addresses import parse_networks
from clip_scoring.images.decode import decode, is_plain_jpeg
from clip_scoring.images.decoders import Decoders, decoder_command
from clip_scoring.images.fetcher import Fetcher
from clip_scoring.images.http import HttpFetcher
from clip_scoring.images.loader import ImageLoader
from clip_scoring.images.objects import S3Images
from clip_scoring.images.policy import HttpPolicy
from clip_scoring.models.weights import Weights, open_weights
from clip_scoring.options import RunOptions
from clip_scoring.planning import judge_run, plan_run, preview
from clip_scoring.ports import ImageDecoders, Loader, Scorer, Sink, Source
from clip_scoring.quality import Gates
from clip_scoring.registrations import (
    BucketPlace,
    FilePlace,
    SourceRegistration,
    TablePlace,
)
from clip_scoring.runs import Plan, Run, RunRequest, RunSummary, Trigger, Window
from clip_scoring.scoring import ShardResult, score_shard
from clip_scoring.selftest import self_test
from clip_scoring.settings import Settings
from clip_scoring.shards import Claim
from clip_scoring.status import rejections_table, runs_table, shards_table
from clip_scoring.stores import roles, schema
from clip_scoring.stores.database import connect_engine
from clip_scoring.stores.file_source import FileSource
from clip_scoring.stores.formats import FORMATS
from clip_scoring.stores.local_files import LocalFiles
from clip_scoring.stores.postgres_runs import PostgresRuns
from clip_scoring.stores.postgres_sink import PostgresSink
from clip_scoring.stores.postgres_source import PostgresSource
from clip_scoring.stores.postgres_status import PostgresStatus
from clip_scoring.stores.records_table import NewRecord, load_records
from clip_scoring.stores.rows_csv import CsvRows
from clip_scoring.stores.s3 import S3Objects, connect_s3
from clip_scoring.workers import is_dead, this_worker

logger = logging.getLogger(__name__)

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
    request, engine = _request(settings, options, run_key, trigger), _current_database(settings)
    source = _source(settings, engine, options.source)
    return plan_run(request, source=source, runs=PostgresRuns(engine))


def plan_dry(settings: Settings, options: RunOptions) -> int:
    """How many records the run would plan; plans nothing."""
    request = _request(settings, options, "dry run", Trigger.MANUAL)
    engine = _current_database(settings)
    source = _source(settings, engine, options.source)
    return preview(request, source=source, runs=PostgresRuns(engine))


def score(
    settings: Settings,
    *,
    run_key: str,
    shard_id: int,
    weights: str | None,
    stopping: Callable[[], bool] = lambda: False,
) -> ShardResult:
    """Score what is left of one shard of a planned run, whoever worked on it before.

    On a CPU the process takes as many threads as there are cores for each unfinished shard: the
    scheduler may work on all of them at once.
    """
    runs = PostgresRuns(_current_database(settings))
    beside = runs.unfinished(runs.get(run_key))
    with _worker(settings, run_key, weights, processes=beside) as worker:
        run, claim = worker.sink.claim(shard_id, device=worker.scorer.device)
        return worker.score(run, claim, stopping)


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
    runs = PostgresRuns(_current_database(settings))
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
                yield worker.score(run, claim)


def finish(settings: Settings, *, run_key: str, gates: Gates = _NO_GATES) -> RunSummary:
    """Recount the run from its rows, judge it, close it."""
    engine = _current_database(settings)
    runs = PostgresRuns(engine)
    run = runs.get(run_key)
    return judge_run(run, source=_source(settings, engine, run.source), runs=runs, gates=gates)


def status(
    settings: Settings, *, run_key: str | None, source: str | None, most: int
) -> Iterator[str]:
    """The newest runs, or one run with its shards, and the rejections, as lines of text."""
    engine = _current_database(settings)
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

    engine = _current_database(settings)
    sample = write_sample(folder)
    write_manifest(folder, sample)
    return load_records(
        engine,
        [NewRecord(each.key, each.image_uri, each.caption, each.created_at) for each in sample],
    )


def _current_database(settings: Settings, *, kept: int = 0) -> Engine:
    engine = connect_engine(settings.require_database_url(), kept=kept)
    schema.require_current(engine)
    return engine


def best_processes(settings: Settings, planned: Plan) -> int:
    """How many processes score a run fastest on this machine.

    One for the GPU; on a CPU one for each core, which beats several threads in one process, as far
    as there is work that is worth the start of a process.
    """
    if _device(settings) == "cuda":
        return 1
    worthwhile = planned.planned // _RECORDS_WORTH_A_PROCESS
    return max(1, min(_cores(), len(planned.shards), worthwhile))


def _cores() -> int:
    """Of this process; containers often allow less time than there are cores."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # another cgroup version, or "max"
        return cores


def _request(settings: Settings, options: RunOptions, run_key: str, trigger: Trigger) -> RunRequest:
    weights = _weights(settings, options.weights)
    dtype = options.dtype or _usual_dtype(settings)
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


def _weights(settings: Settings, name: str | None) -> Weights:
    """The weights of that registered name, or the settings', from their folder or the hub."""
    location = settings.weights_location(name or settings.weights)
    if "@" not in location:
        return open_weights(location)
    from clip_scoring.models.hub import fetch_snapshot, is_hub_id  # noqa: PLC0415  # takes a while

    if not is_hub_id(location):
        return open_weights(location)
    snapshot = fetch_snapshot(location)
    return open_weights(str(snapshot.folder), revision=snapshot.revision)


def _device(settings: Settings) -> str:
    from clip_scoring.models.devices import choose_device  # noqa: PLC0415  # torch takes seconds

    return choose_device(settings.compute.device, require_gpu=settings.compute.require_gpu)


def _usual_dtype(settings: Settings) -> Dtype:
    from clip_scoring.models.devices import usual_dtype  # noqa: PLC0415  # as above

    return usual_dtype(_device(settings))


@dataclass(frozen=True, slots=True)
class _Worker:
    """Everything that scores shards of one run in this process."""

    source: Source
    loader: Loader
    scorer: Scorer
    sink: Sink

    def score(
        self, run: Run, claim: Claim, stopping: Callable[[], bool] = lambda: False
    ) -> ShardResult:
        return score_shard(
            run, claim,
            source=self.source, loader=self.loader, scorer=self.scorer, sink=self.sink,
            stopping=stopping,
        )  # fmt: skip


@contextmanager
def _worker(
    settings: Settings, run_key: str, weights: str | None, *, processes: int
) -> Iterator[_Worker]:
    # One connection for the sink and one for reading ahead: to open them for each batch would
    # take longer than to use them.
    engine = _current_database(settings, kept=2)
    run = PostgresRuns(engine).get(run_key)
    opened = _weights(settings, weights)
    _require_planned(opened, run)
    registration = settings.registrations.source(run.source)
    cores = max(1, _cores() // max(1, processes))
    try:
        with closing(
            _loader(settings, registration, opened, tier=run.fingerprint.tier, decoders=cores)
        ) as loader:
            yield _Worker(
                _source(settings, engine, run.source),
                loader,
                _scorer(settings, opened, run, loader=loader, cores=cores),
                PostgresSink(engine, worker=this_worker()),
            )
    finally:
        engine.dispose()


def _source(settings: Settings, engine: Engine, name: str) -> Source:
    registration = settings.registrations.source(name)
    match registration.place:
        case TablePlace() as table:
            return PostgresSource(engine, name, table)
        case BucketPlace() as bucket:
            rows = FORMATS[bucket.format](bucket.image, bucket.caption)
            client = connect_s3(settings.s3_access(bucket.connection))
            store = S3Objects(client, bucket.bucket, bucket.prefix, rows.suffixes)
            return FileSource(engine, name, store, rows)
        case FilePlace() as file:
            rows = CsvRows(file.image, file.caption, file.key)
            return FileSource(engine, name, LocalFiles(file.path), rows)


def _require_planned(weights: Weights, run: Run) -> None:
    here = weights.fingerprint(tier=run.fingerprint.tier, dtype=run.fingerprint.dtype)
    if here != run.fingerprint:
        raise WeightsInvalid(
            f"weights {weights.folder} are not those that run {run.run_key} was planned with"
        )


def _scorer(
    settings: Settings, weights: Weights, run: Run, *, loader: Loader, cores: int
) -> Scorer:
    """The scorer, after it has shown that it computes what its weights stand for."""
    from clip_scoring.models.clip import Engine as Towers  # noqa: PLC0415  # torch takes seconds
    from clip_scoring.models.clip import open_clip  # noqa: PLC0415  # as above
    from clip_scoring.models.reference import reference_similarities  # noqa: PLC0415  # as above

    compute = settings.compute
    engine = Towers(
        device=_device(settings),
        threads=compute.threads or cores,
        compiled=compute.compiled,
        rows=run.batch_size,
        cache=compute.cache,
    )
    scorer = open_clip(weights, run.fingerprint, engine)
    reference = partial(reference_similarities, weights, scorer.float32_model)
    self_test(loader, scorer, reference, lambda body: decode(body, weights.geometry))
    logger.info("device %s, %s, threads %d", scorer.device, run.fingerprint.dtype, engine.threads)
    return scorer


def _loader(
    settings: Settings,
    registration: SourceRegistration,
    weights: Weights,
    *,
    tier: Tier,
    decoders: int,
) -> ImageLoader:
    made = _decoders(settings, weights.geometry, tier=tier, count=decoders)
    http = HttpFetcher(_http_policy(registration))
    objects = None
    if registration.image_buckets:
        client = connect_s3(settings.s3_access(registration.image_connection))
        objects = S3Images(client, registration.image_buckets)
    return ImageLoader(
        Fetcher(http=http, roots=registration.image_roots, objects=objects),
        made,
    )


def _decoders(settings: Settings, geometry: Geometry, *, tier: Tier, count: int) -> ImageDecoders:
    """Decoder processes, and for tier nvjpeg the GPU in front of them."""
    if tier is not Tier.NVJPEG:
        return Decoders(decoder_command(geometry, tier), geometry.shape, count=count)
    from clip_scoring.models.nvjpeg import (  # noqa: PLC0415  # torch takes seconds
        DeviceDecoders,
        open_nvjpeg,
    )

    decode_jpegs = open_nvjpeg(_device(settings), geometry)
    fallback = Decoders(decoder_command(geometry, Tier.FAST), geometry.shape, count=count)
    return DeviceDecoders(decode_jpegs, geometry, plain=is_plain_jpeg, fallback=fallback)


def _http_policy(registration: SourceRegistration) -> HttpPolicy:
    try:
        networks = parse_networks(registration.allowed_networks)
    except ValueError as wrong:
        raise SettingsInvalid(f"source {registration.name}: allowed_networks: {wrong}") from wrong
    return HttpPolicy(
        allowed_networks=networks,
        allowed_ports=registration.allowed_ports,
        allowed_hosts=registration.allowed_hosts,
        egress_proxy=registration.egress_proxy,
    )
