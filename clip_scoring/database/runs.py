"""The run store in PostgreSQL: planning, recounting, closing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Row

from clip_scoring.database.connection import query, transaction
from clip_scoring.errors import RunNotFound, SettingsInvalid
from clip_scoring.fingerprint import Dtype, Fingerprint, Tier
from clip_scoring.metrics import StageMetrics
from clip_scoring.quality import BINS_PER_UNIT, Histogram, Ranked
from clip_scoring.run_metrics import RunMetrics, histogram_of_json
from clip_scoring.runs import (
    Remaining,
    Rescore,
    Run,
    RunRequest,
    RunSummary,
    Selection,
    ShardCounts,
    ShardPlan,
    Window,
)
from clip_scoring.shards import KeyRange, PlannedRange

LEASE = timedelta(minutes=15)
"""How long a shard counts as alive after planning, a claim or a commit."""


class PostgresPlanning:
    """One planning transaction on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, run_key: str) -> Run | None:
        """The run of that key, if it has been planned."""
        row = self._connection.execute(query("find_run"), {"run_key": run_key}).one_or_none()
        return None if row is None else run_of(row)

    def open_run(self, request: RunRequest) -> Run:
        """Create the run; it becomes visible with its shards at the commit."""
        digest = request.fingerprint.digest
        self._connection.execute(
            query("register_fingerprint"),
            {"digest": digest, "parts": json.dumps(request.fingerprint.parts())},
        )
        self._connection.execute(
            query("open_run"),
            {
                "run_key": request.run_key,
                "source": request.source,
                "digest": digest,
                "window_start": request.window.start,
                "window_stop": request.window.stop,
                "trigger": request.trigger,
                "rescore": request.rescore,
                "batch_size": request.batch_size,
            },
        )
        run = self.find(request.run_key)
        if run is None:
            raise RunNotFound(f"run {request.run_key} vanished while it was planned")
        return run

    def release_abandoned(self, run: Run) -> None:
        """Void every claim on runs of the same scope whose leases have all run out.

        Their shards' rows stay locked until planning ends, so a claim that comes meanwhile sees
        the new run's shards.
        """
        self._connection.execute(query("release_abandoned"), _scope(run))
        self._connection.execute(query("mark_abandoned"), _scope(run))

    def reserved_ranges(self, run: Run) -> list[KeyRange]:
        """Key ranges of open shards of other live runs whose windows overlap with the run's."""
        window = {"window_start": run.window.start, "window_stop": run.window.stop}
        rows = self._connection.execute(query("reserved_ranges"), {**_scope(run), **window})
        return [KeyRange(row.start, row.stop) for row in rows]

    def add_shards(self, run: Run, ranges: Sequence[PlannedRange], reserved: int) -> None:
        """Number and store the run's shards and its planned and reserved counts."""
        self._connection.execute(
            query("add_shards"),
            {
                "run_id": run.id,
                "lease": LEASE,
                "numbers": list(range(len(ranges))),
                "starts": [json.dumps(piece.start) for piece in ranges],
                "stops": [json.dumps(piece.stop) for piece in ranges],
                "planned": [piece.planned for piece in ranges],
            },
        )
        planned = sum(piece.planned for piece in ranges)
        self._connection.execute(
            query("note_planned"), {"run_id": run.id, "planned": planned, "reserved": reserved}
        )

    def shards(self, run: Run) -> list[ShardPlan]:
        """The run's shards by number."""
        rows = self._connection.execute(query("shards_of_run"), {"run_id": run.id})
        return [
            ShardPlan(row.id, row.number, KeyRange(row.start_key, row.stop_key), row.planned)
            for row in rows
        ]


class PostgresRuns:
    """Runs in schema `clip`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def planning(self, source: str, fingerprint: Fingerprint) -> Iterator[PostgresPlanning]:
        """One transaction; the lock makes two plannings of one scope wait for each other."""
        with transaction(self._engine, statement_timeout="30min") as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '30min'")
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '2h'")
            scope = planning_scope(source, fingerprint)
            connection.execute(query("lock_planning"), {"scope": scope})
            yield PostgresPlanning(connection)

    def selection_of(self, request: RunRequest) -> Selection:
        """The selection that the request would get if it were planned now; writes nothing."""
        with transaction(self._engine) as connection:
            as_of = connection.execute(query("now")).scalar_one()
            digest = {"digest": request.fingerprint.digest}
            known = connection.execute(query("fingerprint_id"), digest).scalar()
        return Selection(known or 0, request.window, request.rescore, as_of)

    def get(self, run_key: str) -> Run:
        """The planned run of that key; raises RunNotFound."""
        with transaction(self._engine) as connection:
            run = PostgresPlanning(connection).find(run_key)
        if run is None:
            raise RunNotFound(f"no run was planned under {run_key}")
        return run

    def recount(self, run: Run) -> list[tuple[KeyRange, ShardCounts]]:
        """Each shard's range and its outcomes counted from rows."""
        with transaction(self._engine, statement_timeout="30min") as connection:
            rows = connection.execute(query("recount"), {"run_id": run.id}).all()
        return [(KeyRange(row.start_key, row.stop_key), _counts(row)) for row in rows]

    def unfinished(self, run: Run) -> int:
        """How many shards of the run are not done."""
        with transaction(self._engine) as connection:
            return int(
                connection.execute(query("unfinished_shards"), {"run_id": run.id}).scalar_one()
            )

    def remaining(self, run: Run) -> Remaining:
        """The run's open shards and their records without an outcome, by the shards' counters."""
        with transaction(self._engine) as connection:
            row = connection.execute(query("left_of_run"), {"run_id": run.id}).one()
            return Remaining(int(row.shards), int(row.records))

    def workers(self, run: Run) -> list[str]:
        """Who works on unfinished shards of the run."""
        with transaction(self._engine) as connection:
            rows = connection.execute(query("workers_of_run"), {"run_id": run.id})
            return [row.worker for row in rows]

    def dismiss(self, run: Run, workers: Sequence[str]) -> None:
        """Free the shards of workers that are known to be dead."""
        with transaction(self._engine) as connection:
            gone = {"run_id": run.id, "workers": list(workers)}
            connection.execute(query("dismiss_workers"), gone)

    def superseding(self, run: Run) -> int:
        """Outcomes that other runs of the same scope have written since the run was planned."""
        with transaction(self._engine, statement_timeout="30min") as connection:
            since = {**_scope(run), "as_of": run.as_of}
            return int(connection.execute(query("superseding"), since).scalar_one())

    def histogram(self, run: Run) -> Histogram:
        """The run's similarities, counted from rows."""
        counted = {"run_id": run.id, "bins": BINS_PER_UNIT}
        with transaction(self._engine, statement_timeout="30min") as connection:
            return {row.bin: row.n for row in connection.execute(query("histogram"), counted)}

    def past_histograms(self, run: Run, most: int) -> list[Histogram]:
        """Those of the last runs before it of its scope that succeeded, newest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(query("past_histograms"), {**_scope(run), "most": most})
            return [histogram_of_json(row.histogram) for row in rows]

    def extremes(self, run: Run, most: int) -> tuple[Ranked, Ranked]:
        """The run's lowest similarities, lowest first, and its highest, highest first."""
        asked = {"run_id": run.id, "most": most}
        with transaction(self._engine, statement_timeout="30min") as connection:
            lowest, highest = (
                [(row.record_key, row.similarity) for row in connection.execute(query(name), asked)]
                for name in ("lowest", "highest")
            )
        return lowest, highest

    def rejections(self, run: Run) -> Mapping[str, int]:
        """The run's rejections by reason, counted from rows."""
        with transaction(self._engine, statement_timeout="30min") as connection:
            rows = connection.execute(query("rejections_of_run"), {"run_id": run.id})
            return {row.reason: row.n for row in rows}

    def close(self, run: Run, summary: RunSummary, metrics: RunMetrics) -> None:
        """Write the run's figures and its final state, and void what claims are left."""
        with transaction(self._engine) as connection:
            connection.execute(query("void_claims"), {"run_id": run.id})
            connection.execute(
                query("close_run"),
                {
                    "run_id": run.id,
                    "state": "failed" if summary.failures else "succeeded",
                    "planned": summary.planned,
                    "arrived": summary.arrived,
                    "vanished": summary.vanished,
                    "scored": summary.scored,
                    "rejected": summary.rejected,
                    "metrics": json.dumps(metrics.as_json()),
                },
            )


def planning_scope(source: str, fingerprint: Fingerprint) -> str:
    """A lock that two plannings, or a planning and a resumed run, must not share."""
    return f"{source}/{fingerprint.digest}"


def run_of(row: Row[Any]) -> Run:
    """A row of `find_run` as a Run."""
    return Run(
        id=row.id,
        run_key=row.run_key,
        source=row.source,
        fingerprint=_fingerprint(row.parts),
        fingerprint_id=row.fingerprint_id,
        window=Window(row.window_start, row.window_stop),
        rescore=Rescore(row.rescore),
        as_of=row.started_at,
        batch_size=row.batch_size,
        planned=row.planned,
        reserved=row.reserved,
    )


def _scope(run: Run) -> dict[str, object]:
    return {"source": run.source, "fingerprint_id": run.fingerprint_id, "run_id": run.id}


def _fingerprint(parts: Mapping[str, str]) -> Fingerprint:
    try:
        typed = {"tier": Tier(parts["tier"]), "dtype": Dtype(parts["dtype"])}
        return Fingerprint(**{**parts, **typed})  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as unknown:
        raise SettingsInvalid(f"a newer program wrote the fingerprint {dict(parts)}") from unknown


def _counts(row: Row[Any]) -> ShardCounts:
    return ShardCounts(
        number=row.number,
        done=row.done,
        planned=row.planned,
        counted_scored=row.counted_scored,
        counted_rejected=row.counted_rejected,
        scored=row.scored,
        rejected=row.rejected,
        pending=0,
        measures=StageMetrics.of_json(row.measures),
        device=row.device,
    )
