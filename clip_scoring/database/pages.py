"""What the pages in the Airflow UI ask the database; reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row

from clip_scoring.database.connection import query, transaction
from clip_scoring.records import Reason

_TIMEOUT = "3s"
_NEWEST = 2**62
Rows = list[Row[Any]]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows; None shows all."""

    source: str | None = None
    state: str | None = None
    trigger: str | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, newest first, and the edges of the pages beside it; None where there is none."""

    runs: Rows
    older: int | None
    newer: int | None


class PostgresPages:
    """Rows of `pages.sql`, each read in a transaction that may neither write nor last."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def runs(self, wanted: RunFilter, *, below: int | None, most: int) -> RunPage:
        """At most `most` runs with ids below an edge; without one the newest."""
        named = {"source": wanted.source, "state": wanted.state, "trigger": wanted.trigger}
        found = self._rows("older_runs", edge=below or _NEWEST, most=most + 1, **named)
        above = self._rows("newer_runs", edge=below - 1, most=most, **named) if below else []
        newer = (above[-1].id + 1 if len(above) == most else _NEWEST) if above else None
        older = found[most - 1].id if len(found) > most else None
        return RunPage(found[:most], older, newer)

    def days(self, *, since: datetime, source: str | None) -> Rows:
        """Sums of the finished runs by the UTC day on which they began, oldest first."""
        return self._rows("days", since=since, source=source)

    def run(self, run_id: int) -> Row[Any] | None:
        """One run with its fingerprint and live counters."""
        return next(iter(self._rows("run_in_full", run_id=run_id)), None)

    def run_id(self, run_key: str) -> int | None:
        """The id of the run that was planned under that key."""
        return next((row.id for row in self._rows("run_id_of_key", run_key=run_key)), None)

    def histograms_before(self, run: Row[Any], most: int) -> Rows:
        """Histograms of the last good runs of the same source and fingerprint before this one."""
        scope = {"source": run.source, "fingerprint_id": run.fingerprint_id, "run_id": run.id}
        return self._rows("histograms_before", most=most, **scope)

    def shards(self, run_id: int) -> Rows:
        """The run's shards by number."""
        return self._rows("shards_of_page", run_id=run_id)

    def rejections(self, run_id: int, *, most: int) -> Rows:
        """The run's rejections by reason, each counted up to `most`."""
        reasons = [str(each) for each in Reason]
        return self._rows("reasons_of_page", run_id=run_id, reasons=reasons, most=most)

    def scores(self, run: Row[Any], keys: Sequence[str]) -> Rows:
        """The scores that these records have now under the run's fingerprint."""
        scope = {"source": run.source, "fingerprint_id": run.fingerprint_id}
        return self._rows("scores_of_keys", keys=list(keys), **scope)

    def outcomes(self, source: str, key: str) -> Rows:
        """All outcomes of one record under any fingerprint, newest first."""
        return self._rows("outcomes_of_record", source=source, key=key)

    def _rows(self, name: str, **values: object) -> Rows:
        with transaction(self._engine, statement_timeout=_TIMEOUT) as connection:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            return list(connection.execute(query(name), values))
