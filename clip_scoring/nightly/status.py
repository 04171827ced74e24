"""How runs stand: the newest ones, or one with its shards, and what waits among the rejections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clip_scoring.database.runs import PostgresRuns
from clip_scoring.database.status import PostgresStatus
from clip_scoring.overview import RejectionBacklog, RunProgress, ShardDetail
from clip_scoring.settings.environment import Settings
from clip_scoring.wiring import current_database


@dataclass(frozen=True, slots=True)
class Status:
    """The newest runs, newest first, or the shards of the one run that was named."""

    runs: Sequence[RunProgress]
    shards: Sequence[ShardDetail]
    rejections: Sequence[RejectionBacklog]


def status(settings: Settings, *, run_key: str | None, source: str | None, most: int) -> Status:
    """The newest runs, or the run of that key; raises RunNotFound."""
    engine = current_database(settings)
    reports = PostgresStatus(engine)
    rejections = reports.rejections(source=source, run_key=run_key)
    if run_key is None:
        return Status(reports.runs(source=source, most=most), (), rejections)
    PostgresRuns(engine).get(run_key)
    return Status((), reports.shards(run_key), rejections)
