"""Tidying up in PostgreSQL: many short transactions, each of which may be the last."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine, Row

from clip_scoring.database.connection import query, transaction

log = logging.getLogger(__name__)

SILENCE = timedelta(days=1)
"""How long ago every lease of a run must have run out before it counts as abandoned."""
_ROWS_AT_ONCE = 5_000
_SEARCH_TIMEOUT = "5min"


@dataclass(frozen=True, slots=True)
class PostgresMaintenance:
    """Data that may go, in batches of `at_once` rows; rows that somebody works on are skipped."""

    engine: Engine
    at_once: int = _ROWS_AT_ONCE

    def give_up_retries(self, age: timedelta, registered: Sequence[str]) -> int:
        """Rejections due for longer than `age` that no run will take up are not tried again.

        They stay rejections. Of the `registered` sources only those count that a later run left
        out, so that nothing is given up for a pause of the schedule.
        """
        return self._in_batches("give_up_retries", age=age, registered=list(registered))

    def empty_measures(self, age: timedelta) -> int:
        """Forget what each shard of runs took that were over before `age`; the runs' metrics stay.

        Returns the number of shards.
        """
        return self._in_batches("empty_measures", age=age)

    def abandon_silent_runs(self, silence: timedelta = SILENCE) -> int:
        """Mark runs that are under way in name only, and void what claims on them are left.

        As planning does it for runs of its own scope: a late commit finds another epoch, and
        whoever claims one of their shards brings the run back to life.
        """
        with transaction(self.engine) as connection:
            runs = connection.execute(query("runs_under_way"), {"silence": silence}).all()
        return sum(self._abandon(run, silence) for run in runs)

    def _abandon(self, run: Row[tuple[object, ...]], silence: timedelta) -> bool:
        asked = {"run_id": run.id, "silence": silence}
        with transaction(self.engine) as connection:
            if not connection.execute(query("try_lock_planning"), {"scope": run.scope}).scalar():
                return False
            locked = list(connection.execute(query("lock_silent_shards"), asked).scalars())
            marked = connection.execute(query("abandon_run"), {**asked, "locked": locked})
            if marked.rowcount == 1:
                connection.execute(query("void_shards"), {"locked": locked})
                log.info("run %s: nobody works on it, marked as abandoned", run.run_key)
        return marked.rowcount == 1

    def _in_batches(self, name: str, **values: object) -> int:
        changed = 0
        while True:
            with transaction(self.engine, statement_timeout=_SEARCH_TIMEOUT) as connection:
                asked = {**values, "most": self.at_once}
                batch = connection.execute(query(name), asked).rowcount
            changed += batch
            if batch < self.at_once:
                return changed
