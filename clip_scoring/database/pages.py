"""Queries of the pages in the Airflow UI; reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, Engine

from clip_scoring.database.connection import query, transaction
from clip_scoring.overview import (
    DayTotals,
    ListedRun,
    ReasonCount,
    RecordOutcome,
    RunDetail,
    ShardDetail,
)
from clip_scoring.quality import Histogram
from clip_scoring.records import Reason
from clip_scoring.run_metrics import RunMetrics, histogram_of_json

_TIMEOUT = "3s"
_NEWEST = 2**62


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows; None shows all."""

    source: str | None = None
    state: str | None = None
    trigger: str | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, newest first, and the edges of the pages beside it; None where there is none."""

    runs: Sequence[ListedRun]
    older: int | None
    newer: int | None


class PostgresPages:
    """Answers of `pages.sql`, each read in a transaction that may neither write nor last."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def runs(self, wanted: RunFilter, *, below: int | None, most: int) -> RunPage:
        """At most `most` runs with ids below an edge; without one the newest."""
        named = {"source": wanted.source, "state": wanted.state, "trigger": wanted.trigger}
        with self._asked("older_runs", edge=below or _NEWEST, most=most + 1, **named) as rows:
            runs = [ListedRun(**row) for row in rows.mappings()]
        older = runs[most - 1].id if len(runs) > most else None
        return RunPage(runs[:most], older, self._newer(below, most, named) if below else None)

    def _newer(self, below: int, most: int, named: Mapping[str, str | None]) -> int | None:
        """The edge of the page before the one below this id."""
        with self._asked("newer_runs", edge=below - 1, most=most, **named) as rows:
            above: list[int] = list(rows.scalars())
        if not above:
            return None
        return above[-1] + 1 if len(above) == most else _NEWEST

    def days(self, *, since: datetime, source: str | None) -> list[DayTotals]:
        """Sums of the finished runs by the UTC day on which they began, oldest first."""
        with self._asked("days", since=since, source=source) as rows:
            return [DayTotals(**row) for row in rows.mappings()]

    def run(self, run_id: int) -> RunDetail | None:
        """One run with its fingerprint and live counters."""
        with self._asked("run_in_full", run_id=run_id) as rows:
            row = rows.mappings().one_or_none()
        if row is None:
            return None
        return RunDetail(**{**row, "metrics": RunMetrics.of_json(row["metrics"])})

    def run_id(self, run_key: str) -> int | None:
        """The id of the run that was planned under that key."""
        with self._asked("run_id_of_key", run_key=run_key) as rows:
            run_id: int | None = rows.scalar_one_or_none()
        return run_id

    def histograms_before(self, run: RunDetail, most: int) -> list[Histogram]:
        """Histograms of the last good runs of the same source and fingerprint before this one."""
        scope = {"source": run.source, "fingerprint_id": run.fingerprint_id, "run_id": run.id}
        with self._asked("histograms_before", most=most, **scope) as rows:
            return [histogram_of_json(tree) for tree in rows.scalars()]

    def shards(self, run_id: int) -> list[ShardDetail]:
        """The run's shards by number."""
        with self._asked("shards_of_page", run_id=run_id) as rows:
            return [ShardDetail(**row) for row in rows.mappings()]

    def rejections(self, run_id: int, *, most: int) -> list[ReasonCount]:
        """The run's rejections by reason, each counted up to `most`."""
        reasons = [str(reason) for reason in Reason]
        with self._asked("reasons_of_page", run_id=run_id, reasons=reasons, most=most) as rows:
            return [ReasonCount(**row) for row in rows.mappings()]

    def scores(self, run: RunDetail, keys: Sequence[str]) -> Mapping[str, float]:
        """The similarities that these records have now under the run's fingerprint, by key."""
        scope = {"source": run.source, "fingerprint_id": run.fingerprint_id}
        with self._asked("scores_of_keys", keys=list(keys), **scope) as rows:
            return {row.record_key: row.similarity for row in rows}

    def outcomes(self, source: str, key: str) -> list[RecordOutcome]:
        """All outcomes of one record under any fingerprint, newest first."""
        with self._asked("outcomes_of_record", source=source, key=key) as rows:
            return [RecordOutcome(**row) for row in rows.mappings()]

    @contextmanager
    def _asked(self, name: str, **values: object) -> Iterator[CursorResult[*tuple[Any, ...]]]:
        with transaction(self._engine, statement_timeout=_TIMEOUT) as connection:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            yield connection.execute(query(name), values)
