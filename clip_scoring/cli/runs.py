"""Commands over the database: what the DAG does, by hand."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING
from uuid import uuid4

from clip_scoring.cli.choices import argument, span
from clip_scoring.cli.commands import Commands, add_command
from clip_scoring.cli.tables import rejections_table, runs_table, shards_table
from clip_scoring.display import address, redacted_cell
from clip_scoring.errors import RunFailed
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.processes import die_with_parent
from clip_scoring.runs import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_SHARD_SIZE,
    Plan,
    Rescore,
    Trigger,
    WindowKind,
)
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.fields import BatchSize, Cores, Limit, ShardSize
from clip_scoring.settings.run_options import RunOptions

if TYPE_CHECKING:
    from clip_scoring.nightly.run import NightlyRun

WAIT_SECONDS = 2.0


def _upgrade(settings: Settings, _: argparse.Namespace) -> None:
    from clip_scoring.nightly.setup import upgrade_database  # noqa: PLC0415  # --help must not wait

    print(f"schema clip is at version {upgrade_database(settings)}")


def _roles(settings: Settings, _: argparse.Namespace) -> None:
    from clip_scoring.nightly.setup import grant_roles  # noqa: PLC0415  # as above

    grant_roles(settings)
    print("roles clip_owner, clip_worker and clip_reader have their rights on schema clip")


def _sample(settings: Settings, arguments: argparse.Namespace) -> None:
    from clip_scoring.nightly.setup import load_sample  # noqa: PLC0415  # as above

    arguments.to.mkdir(parents=True, exist_ok=True)
    changed = load_sample(settings, arguments.to)
    print(f"sample records in {arguments.to}, {changed} rows of clip.record changed")


def _plan(settings: Settings, arguments: argparse.Namespace) -> None:
    from clip_scoring.nightly.plan import preview_plan  # noqa: PLC0415  # as above

    options = _options(arguments)
    if arguments.dry_run:
        print(preview_plan(settings, options))
        return
    for shard in _planned(settings, options, _run_key(arguments)).shards:
        start, stop = (redacted_cell(str(key)) for key in (shard.keys.start, shard.keys.stop))
        print(f"shard {shard.number}: [{start}, {stop}): {shard.planned} records")


def _run(settings: Settings, arguments: argparse.Namespace) -> None:
    from clip_scoring.nightly.run import open_run  # noqa: PLC0415  # as above
    from clip_scoring.nightly.worker import best_processes  # noqa: PLC0415  # as above

    options, run_key = _options(arguments), _run_key(arguments)
    plan = _planned(settings, options, run_key)
    processes = arguments.processes or best_processes(settings, plan)
    with open_run(settings, run_key=run_key) as run:
        with _helpers(processes, run_key, options.weights):
            _score_shards(run, options.weights, processes)
        summary = run.finish(options.gates)
    print(summary)
    if summary.failures:
        raise RunFailed("; ".join(summary.failures))


def _work(settings: Settings, arguments: argparse.Namespace) -> None:
    if arguments.parent is not None:
        die_with_parent(arguments.parent)
    from clip_scoring.nightly.run import open_run  # noqa: PLC0415  # as above

    with open_run(settings, run_key=arguments.run_key) as run:
        _score_shards(run, arguments.weights, arguments.processes)


def _score_shards(run: NightlyRun, weights: str | None, processes: int) -> None:
    for result in run.work(weights=weights, wait=_wait_for_others, processes=processes):
        print(f"shard done: scored {result.scored}  rejected {result.rejected}", flush=True)


@contextmanager
def _helpers(processes: int, run_key: str, weights: str | None) -> Iterator[None]:
    """All but one of the processes, working beside us until no shard is left."""
    command = [sys.executable, "-m", "clip_scoring", "work", "--run-key", run_key]
    command += ["--processes", str(processes), *(("--weights", weights) if weights else ())]
    command += ["--parent", str(os.getpid())]
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(processes - 1):
            helpers.append(subprocess.Popen(command))
        yield
    except BaseException:
        for helper in helpers:
            helper.terminate()
        raise
    finally:
        for helper in helpers:
            helper.wait()


def _status(settings: Settings, arguments: argparse.Namespace) -> None:
    from clip_scoring.nightly.status import status  # noqa: PLC0415  # as above

    overview = status(
        settings, run_key=arguments.run_key, source=arguments.source, most=arguments.runs
    )
    runs = runs_table(overview.runs) if arguments.run_key is None else shards_table(overview.shards)
    for line in (*runs, "", *rejections_table(overview.rejections)):
        print(line)


def _export(settings: Settings, arguments: argparse.Namespace) -> None:
    from clip_scoring.nightly.exports import export_run  # noqa: PLC0415  # as above

    done = export_run(settings, run_key=arguments.run_key, to=arguments.to)
    print(f"{done.rows} outcomes in {address(done.uri)}")


def _planned(settings: Settings, options: RunOptions, run_key: str) -> Plan:
    from clip_scoring.nightly import plan as planner  # noqa: PLC0415  # as above

    plan = planner.plan(settings, options, run_key=run_key, trigger=Trigger.CLI).plan
    print(
        f"run {run_key}: {plan.planned} records in {len(plan.shards)} shards, "
        f"{plan.reserved} reserved by other runs",
        flush=True,
    )
    return plan


def _options(arguments: argparse.Namespace) -> RunOptions:
    names = (field.name for field in fields(RunOptions))
    return RunOptions.of_params({name: getattr(arguments, name, None) for name in names})


def _run_key(arguments: argparse.Namespace) -> str:
    return arguments.run_key or f"cli/{uuid4()}"


def _wait_for_others(unfinished: int) -> None:
    shards = "1 shard" if unfinished == 1 else f"{unfinished} shards"
    print(f"waiting for {shards} claimed by other workers", flush=True)
    sleep(WAIT_SECONDS)


def add_commands(commands: Commands) -> None:
    """Add them to the program's parser."""
    _add_database_commands(commands)
    _add_sample(commands)
    _add_plan(commands)
    _add_run(commands)
    _add_work(commands)
    _add_status(commands)
    _add_export(commands)


def _add_database_commands(commands: Commands) -> None:
    database = commands.add_parser("db", help="manage schema clip")
    verbs = database.add_subparsers(metavar="VERB", required=True)
    upgrade = add_command(
        verbs,
        "upgrade",
        summary="create schema clip, or migrate it to the version of this program",
        examples=("clip-scoring db upgrade", "clip-scoring db upgrade && clip-scoring doctor"),
    )
    upgrade.set_defaults(command=_upgrade)
    roles = add_command(
        verbs,
        "roles",
        summary="create clip_owner, clip_worker and clip_reader, and grant them their rights",
        examples=("clip-scoring db roles", "clip-scoring db upgrade && clip-scoring db roles"),
    )
    roles.set_defaults(command=_roles)


def _add_sample(commands: Commands) -> None:
    sample = add_command(
        commands,
        "sample",
        summary="render the sample records and load them",
        examples=(
            "clip-scoring sample --to sample",
            "clip-scoring sample --to sample && clip-scoring run --day 2026-01-03",
        ),
    )
    sample.add_argument("--to", type=Path, required=True, help="directory of the images")
    sample.set_defaults(command=_sample)


def _add_plan(commands: Commands) -> None:
    plan = add_command(
        commands,
        "plan",
        summary="divide the pending records into the shards of a run",
        examples=(
            "clip-scoring plan --day 2026-01-03 --dry-run",
            "clip-scoring plan --day 2026-01-03 --run-key night",
        ),
    )
    plan.add_argument("--dry-run", action="store_true", help="count, and write nothing")
    _add_choices(plan)
    plan.set_defaults(command=_plan)


def _add_run(commands: Commands) -> None:
    run = add_command(
        commands,
        "run",
        summary="plan a run unless it is planned, score its shards and finish it",
        description="Plan a run unless it is planned, score its shards until none is left, and "
        "finish it. Several calls with one --run-key share the shards of the run, on any number of "
        "machines.",
        examples=(
            "clip-scoring run --day 2026-01-03",
            "clip-scoring run --run-key night --max-rejection-rate 0.2 --processes 1",
        ),
    )
    _add_choices(run)
    gates = run.add_argument_group("quality gates")
    gates.add_argument(
        "--max-rejection-rate", help="fail when a larger share of the records is rejected"
    )
    gates.add_argument(
        "--max-drift",
        help="fail when the similarities are further from those of the last good runs "
        "(Wasserstein distance, in units of similarity)",
    )
    run.add_argument(
        "--processes",
        type=argument(Cores),
        metavar="N",
        help=f"number of processes on this machine, {span(Cores)} (default: one for a GPU, else "
        "one for each CPU core)",
    )
    run.set_defaults(command=_run)


def _add_work(commands: Commands) -> None:
    work = add_command(
        commands,
        "work",
        summary="score shards of a planned run until none is left, on any machine",
        examples=(
            "clip-scoring work --run-key night",
            "clip-scoring work --run-key night --weights tiny --processes 2",
        ),
    )
    work.add_argument("--run-key", required=True, help="key of the run")
    work.add_argument("--weights", help="registered weights (default: CLIP_SCORING_WEIGHTS)")
    work.add_argument(
        "--processes",
        type=argument(Cores),
        default=1,
        metavar="N",
        help=f"number of workers that share the cores of this machine, {span(Cores)} (default: 1)",
    )
    work.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    work.set_defaults(command=_work)


def _add_status(commands: Commands) -> None:
    status = add_command(
        commands,
        "status",
        summary="show runs, shards, and rejections by reason with the time of their retries",
        examples=("clip-scoring status --runs 3", "clip-scoring status --run-key night"),
    )
    status.add_argument("--run-key", help="show one run with its shards")
    status.add_argument("--source", help="registered source (default: all)")
    status.add_argument(
        "--runs",
        type=argument(Limit),
        default=10,
        metavar="N",
        help="maximum number of runs (default: 10)",
    )
    status.set_defaults(command=_status)


def _add_export(commands: Commands) -> None:
    export = add_command(
        commands,
        "export",
        summary="write the outcomes of a finished run to a Parquet file",
        examples=(
            "clip-scoring export --run-key night",
            "clip-scoring export --run-key night --to exports",
        ),
    )
    export.add_argument("--run-key", required=True, help="key of the run")
    export.add_argument(
        "--to", type=Path, help="directory (default: the registered place of exports)"
    )
    export.set_defaults(command=_export)


def _add_choices(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--run-key", help="name of the run; a run is planned once for each name (default: random)"
    )
    _add_selection(command.add_argument_group("records"))
    _add_scoring(command.add_argument_group("scoring"))


def _add_selection(group: argparse._ArgumentGroup) -> None:
    today = datetime.now(UTC).date()
    group.add_argument("--source", default="records", help="registered source (default: records)")
    group.add_argument("--day", default=today, help="YYYY-MM-DD, UTC (default: today)")
    group.add_argument(
        "--window",
        default=WindowKind.UP_TO_DAY,
        choices=[*WindowKind],
        help="all pending records up to the end of the day (default: up_to_day), or those of the "
        "day only",
    )
    group.add_argument(
        "--rescore",
        default=Rescore.MISSING,
        choices=[*Rescore],
        help="score records without an outcome (default: missing), rejected ones too, or all",
    )
    group.add_argument("--limit", metavar="N", help="maximum number of records (default: none)")


def _add_scoring(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--weights", help="registered weights (default: CLIP_SCORING_WEIGHTS)")
    group.add_argument(
        "--tier",
        default=Tier.EXACT,
        choices=[*Tier],
        help="how images are decoded and resized (default: exact)",
    )
    group.add_argument(
        "--dtype",
        choices=[*Dtype],
        help="number format of the towers (default: float16 on a GPU, float32 on a CPU)",
    )
    group.add_argument(
        "--batch-size",
        default=DEFAULT_BATCH_SIZE,
        metavar="N",
        help=f"records that are read, loaded and committed together, {span(BatchSize)} "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--shard-size",
        default=DEFAULT_SHARD_SIZE,
        metavar="N",
        help=f"minimum number of records per shard, {span(ShardSize)} (default: %(default)s)",
    )
