"""Export what a finished run left to a Parquet file in the registered place."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path

from clip_scoring.database.connection import Database
from clip_scoring.database.runs import PostgresRuns
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
