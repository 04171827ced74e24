"""What people ask the database when they want to know how things stand; reads only."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Row

from clip_scoring.database.connection import query, transaction


class PostgresStatus:
    """Rows of `reports.sql` for `clip-scoring status`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def runs(self, *, source: str | None, most: int) -> list[Row[Any]]:
        """The newest runs, newest first."""
        return self._rows("latest_runs", source=source, most=most)

    def shards(self, run_key: str) -> list[Row[Any]]:
        """Each shard of a run by number; empty for a run without pending records."""
        return self._rows("shards_in_detail", run_key=run_key)

    def rejections(self, *, source: str | None, run_key: str | None) -> list[Row[Any]]:
        """Current rejections by reason, of all runs or those that one run left."""
        return self._rows("rejections_by_reason", source=source, run_key=run_key)

    def _rows(self, name: str, **values: object) -> list[Row[Any]]:
        with transaction(self._engine) as connection:
            return list(connection.execute(query(name), values))
