"""A planned run, opened once for a task: score its shards, work on what is free, finish it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from clip_scoring.database.connection import Database
from clip_scoring.database.runs import PostgresRuns
from clip_scoring.errors import ShardLost
from clip_scoring.nightly.worker import open_worker
from clip_scoring.planning import finish_run
from clip_scoring.processes import is_dead
from clip_scoring.quality import Gates
from clip_scoring.runs import Remaining, Run, RunSummary
from clip_scoring.scoring import ShardResult, score_shard
from clip_scoring.settings.environment import Settings
from clip_scoring.stages import ScoredBatch
from clip_scoring.wiring import current_database, open_source

Committed = Callable[[ScoredBatch], None]
_NO_GATES = Gates()


@contextmanager
def open_run(settings: Settings, *, run_key: str) -> Iterator[NightlyRun]:
    """The planned run of that key; raises RunNotFound, SchemaMismatch and DatabaseUnreachable."""
    # One connection for the sink, which the lease shares, and one for reading ahead: to open them
    # for each batch would take longer than to use them.
    database = current_database(settings, kept=2)
    try:
        runs = PostgresRuns(database)
        yield NightlyRun(settings, database, runs, runs.get(run_key))
    finally:
        database.dispose()


@dataclass(frozen=True, slots=True)
class NightlyRun:
    """A run and the database that it lies in, as long as `open_run` keeps it open."""

    settings: Settings
    database: Database
    runs: PostgresRuns
    run: Run

    def remaining(self) -> Remaining:
        """The remaining shards and records, by the counters of the shards."""
        return self.runs.remaining(self.run)

    def score(
        self,
        shard_id: int,
        *,
        weights: str | None,
        stopping: Callable[[], bool] = lambda: False,
        committed: Committed = lambda _: None,
    ) -> ShardResult:
        """Score what is left of one shard, whoever worked on it before.

        On a CPU the process takes as many threads as there are cores for each unfinished shard:
        the scheduler may work on all of them at once.
        """
        beside = self.runs.unfinished(self.run)
        with open_worker(
            self.settings, self.database, self.run, weights=weights, processes=beside
        ) as worker:
            run, claim = worker.sink.claim(shard_id, device=worker.scorer.device)
            return score_shard(run, claim, worker=worker, stopping=stopping, committed=committed)

    def work(
        self, *, weights: str | None, wait: Callable[[int], None], processes: int = 1
    ) -> Iterator[ShardResult]:
        """Score shards that nobody works on, until every shard of the run is done.

        Shards of workers that died on this machine are free at once, those of others when their
        lease has run out; until then `wait` is called with the number of unfinished shards. A
        shard that somebody else takes over meanwhile is left to them. `processes` share this
        machine's cores.
        """
        runs, run = self.runs, self.run
        if not runs.unfinished(run):
            return
        with open_worker(
            self.settings, self.database, run, weights=weights, processes=processes
        ) as worker:
            while unfinished := runs.unfinished(run):
                runs.dismiss(run, [name for name in runs.workers(run) if is_dead(name)])
                claim = worker.sink.claim_free(run, device=worker.scorer.device)
                if claim is None:
                    wait(unfinished)
                    continue
                with suppress(ShardLost):
                    yield score_shard(run, claim, worker=worker)

    def finish(self, gates: Gates = _NO_GATES) -> RunSummary:
        """Recount the run from its rows, judge it, close it."""
        source = open_source(self.settings, self.database, self.run.source)
        return finish_run(self.run, source=source, runs=self.runs, gates=gates)
