"""How far the shards are, asked of the server over one connection that outlives its restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg2

SHARDS = (
    "SELECT id, \"offset\", epoch, scored + rejected, state = 'done' FROM clip.shard ORDER BY id"
)
SHARD_OF = "SELECT id FROM clip.shard WHERE state = 'open' AND worker LIKE %s LIMIT 1"
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ="
    " 'clip-scoring' AND datname = current_database() ORDER BY random() LIMIT 1"
)


@dataclass(frozen=True)
class Progress:
    """Where one shard stands."""

    offset: int
    epoch: int
    committed: int
    done: bool


class Watch:
    """Looks from outside, with none of the product's code."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connect()

    def shards(self) -> dict[int, Progress]:
        """Progress by shard id."""
        return {row[0]: Progress(*row[1:]) for row in self._rows(SHARDS)}

    def shard_of(self, pid: int) -> int | None:
        """The unfinished shard that a helper says it works on."""
        rows = self._rows(SHARD_OF, f"%/{pid}/%")
        return rows[0][0] if rows else None

    def terminate_a_backend(self) -> bool:
        """End the session of any worker; False when none is connected just now."""
        return self._rows(TERMINATE) == [(True,)]

    def reconnect(self) -> None:
        """Needed after a restart of the server."""
        self.close()
        self._connect()

    def close(self) -> None:
        self._connection.close()

    def _connect(self) -> None:
        self._connection = psycopg2.connect(self._url, application_name="fault-watch")
        self._connection.autocommit = True

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())
