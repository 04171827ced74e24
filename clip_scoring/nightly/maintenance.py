"""What the DAGs beside the nightly one call: exports of finished runs, and tidying up."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path

from clip_scoring.database.connection import Database
from clip_scoring.database.maintenance import PostgresUpkeep
from clip_scoring.database.runs import PostgresRuns
from clip_scoring.errors import SettingsInvalid
from clip_scoring.exports.outcomes import (
    FileInputs,
    Inputs,
    TableInputs,
    require_over,
    write_outcomes,
)
from clip_scoring.exports.places import Exported, Exports, FolderExports
from clip_scoring.runs import Run
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.registrations import (
    BucketPlace,
    ExportBucket,
    ExportFolder,
    ExportPlace,
    FilePlace,
    TablePlace,
)
from clip_scoring.wiring import current_database, extra, open_source

MOST_DAYS = 3650


def export_run(settings: Settings, *, run_key: str, to: Path | None = None) -> Exported:
    """Write what a finished run left to `SOURCE/DAY/RUN ID.parquet` in the registered place.

    Or below the folder `to`. Exporting again replaces the file. Raises RunNotFound, and
    SettingsInvalid without a registered place or for a run that is not over.
    """
    place = ExportFolder(to) if to else settings.registrations.export_place()
    engine = current_database(settings, kept=2)  # one reads outcomes while one looks up records
    try:
        run = PostgresRuns(engine).get(run_key)
        require_over(engine, run)
        inputs = _inputs(settings, engine, run)
        return _exports(settings, place).put(
            _name(run), lambda path: write_outcomes(engine, run, inputs, path)
        )
    finally:
        engine.dispose()


def maintain(settings: Settings, *, retry_days: int, measure_days: int) -> dict[str, int]:
    """Mark abandoned runs, give up old retries, empty old measures; returns how many of each.

    Never deletes anything. Raises SettingsInvalid for an age outside 1..3650 days.
    """
    for name, days in (("retry_days", retry_days), ("measure_days", measure_days)):
        if type(days) is not int or not 1 <= days <= MOST_DAYS:
            raise SettingsInvalid(f"{name}: {days!r} is not a whole number from 1 to {MOST_DAYS}")
    upkeep = PostgresUpkeep(current_database(settings))
    registered = list(settings.registrations.sources)
    return {
        "runs_abandoned": upkeep.abandon_silent_runs(),  # first: a run under way holds its retries
        "retries_given_up": upkeep.give_up_retries(timedelta(days=retry_days), registered),
        "shards_emptied": upkeep.empty_measures(timedelta(days=measure_days)),
    }


def _name(run: Run) -> str:
    """The day of a run is the last one of its window."""
    day = (run.window.stop - timedelta(microseconds=1)).astimezone(UTC).date()
    return f"{run.source}/{day}/{run.id}.parquet"


def _inputs(settings: Settings, engine: Database, run: Run) -> Inputs:
    match settings.registrations.source(run.source).place:
        case TablePlace():
            return TableInputs(open_source(settings, engine, run.source))
        case BucketPlace():
            return FileInputs(run.source, named=False)
        case FilePlace(key=key):
            return FileInputs(run.source, named=key is not None)


def _exports(settings: Settings, place: ExportPlace) -> Exports:
    match place:
        case ExportFolder(path):
            return FolderExports(path)
        case ExportBucket(bucket, prefix, connection):
            with extra("s3"):
                from clip_scoring.exports.bucket import (  # noqa: PLC0415  # an extra
                    BucketExports,
                )
                from clip_scoring.sources.s3 import connect_s3  # noqa: PLC0415  # as above
            return BucketExports(connect_s3(settings.s3_access(connection)), bucket, prefix)
