"""Queries about the state of runs, shards and rejections; reads only."""

from __future__ import annotations

from sqlalchemy import Engine

from clip_scoring.database.connection import query, transaction
from clip_scoring.overview import RejectionBacklog, RunProgress, ShardDetail


class PostgresStatus:
    """Answers of `reports.sql` for `clip-scoring status`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def runs(self, *, source: str | None, most: int) -> list[RunProgress]:
        """The newest runs, newest first."""
        with transaction(self._engine) as connection:
            rows = connection.execute(query("latest_runs"), {"source": source, "most": most})
            return [RunProgress(**row) for row in rows.mappings()]

    def shards(self, run_key: str) -> list[ShardDetail]:
        """Each shard of a run by number; empty for a run without pending records."""
        with transaction(self._engine) as connection:
            rows = connection.execute(query("shards_in_detail"), {"run_key": run_key})
            return [ShardDetail(**row) for row in rows.mappings()]

    def rejections(self, *, source: str | None, run_key: str | None) -> list[RejectionBacklog]:
        """Current rejections by reason, of all runs or those that one run left."""
        named = {"source": source, "run_key": run_key}
        with transaction(self._engine) as connection:
            rows = connection.execute(query("rejections_by_reason"), named)
            return [RejectionBacklog(**row) for row in rows.mappings()]
