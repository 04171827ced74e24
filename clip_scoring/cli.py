"""The command line: what the DAG does, by hand."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from clip_scoring.errors import ClipScoringError, Fatal, RunFailed
from clip_scoring.options import RunOptions
from clip_scoring.runs import Rescore, RunSummary, Trigger, WindowKind
from clip_scoring.settings import Settings

EXIT_DONE, EXIT_RUN_FAILED, EXIT_WRONG_USE, EXIT_TRY_AGAIN = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors are one line on stderr and an exit code.

    0 done, 1 the run failed, 2 wrong use or configuration, 3 a later try may work.
    """
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    logging.getLogger("clip_scoring").setLevel(logging.INFO)
    try:
        arguments.command(Settings.from_environment(), arguments)
    except RunFailed as failed:
        return _fail(failed, EXIT_RUN_FAILED)
    except ClipScoringError as error:
        return _fail(error, EXIT_WRONG_USE if isinstance(error, Fatal) else EXIT_TRY_AGAIN)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}", EXIT_WRONG_USE)
    return EXIT_DONE


def _fail(error: Exception | str, code: int) -> int:
    print(f"clip-scoring: {error}", file=sys.stderr)
    return code


def _upgrade(settings: Settings, _: argparse.Namespace) -> None:
    from clip_scoring import wiring  # noqa: PLC0415  # --help must not wait for it

    print(f"schema clip is at version {wiring.upgrade_database(settings)}")


def _sample(settings: Settings, arguments: argparse.Namespace) -> None:
    from clip_scoring import wiring  # noqa: PLC0415  # as above

    arguments.to.mkdir(parents=True, exist_ok=True)
    changed = wiring.load_sample(settings, arguments.to)
    print(f"sample records in {arguments.to}, {changed} rows of clip.record changed")


def _run(settings: Settings, arguments: argparse.Namespace) -> None:
    from clip_scoring import wiring  # noqa: PLC0415  # as above

    names = ("day", "window", "source", "weights", "rescore", "limit", "batch_size", "shard_size")
    options = RunOptions.of_params({name: getattr(arguments, name) for name in names})
    run_key = arguments.run_key or f"cli/{uuid4()}"
    plan = wiring.plan(settings, options, run_key=run_key, trigger=Trigger.CLI)
    print(f"run {run_key}: {plan.planned} records in {len(plan.shards)} shards, {plan.held} held")
    for shard in plan.shards:
        wiring.score(settings, run_key=run_key, shard_id=shard.shard_id, weights=arguments.weights)
    _report(wiring.finish(settings, run_key=run_key, max_rejection_rate=None))


def _report(summary: RunSummary) -> None:
    print(summary)
    if summary.failures:
        raise RunFailed("; ".join(summary.failures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clip-scoring",
        description="Score image–caption pairs with CLIP. Reads CLIP_SCORING_DATABASE_URL, "
        "CLIP_SCORING_WEIGHTS and CLIP_SCORING_SOURCES.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_database_commands(commands)
    _add_run(commands)
    return parser


def _add_database_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    database = commands.add_parser("db", help="manage schema clip")
    verbs = database.add_subparsers(metavar="VERB", required=True)
    upgrade = verbs.add_parser("upgrade", help="bring the schema to this program's version")
    upgrade.set_defaults(command=_upgrade)
    sample = commands.add_parser("sample", help="render the sample records and load them")
    sample.add_argument("--to", type=Path, required=True, help="folder for the images")
    sample.set_defaults(command=_sample)


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="plan a run, score its shards, finish it")
    today = datetime.now(UTC).date()
    run.add_argument("--source", default="records", help="a registered source")
    run.add_argument("--weights", help="registered weights (default: CLIP_SCORING_WEIGHTS)")
    run.add_argument("--day", default=today, help="YYYY-MM-DD, UTC (default: today)")
    run.add_argument(
        "--window",
        default=WindowKind.UP_TO_DAY,
        choices=[*WindowKind],
        help="everything pending up to the day's end, or the day only",
    )
    run.add_argument("--rescore", default=Rescore.MISSING, choices=[*Rescore])
    run.add_argument("--limit", help="at most so many records")
    run.add_argument("--batch-size", default=64, help="pairs to the device at once")
    run.add_argument("--shard-size", default=10_000, help="records per shard, at least")
    run.add_argument("--run-key", help="the same key resumes the same run")
    run.set_defaults(command=_run)
