"""What a worker of a fault run does: the product's own loop, with fake images and similarities."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from threading import Event
from time import sleep

from sqlalchemy import Engine

from clip_scoring import scoring
from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine
from clip_scoring.database.runs import PostgresRuns
from clip_scoring.database.sink import PostgresSink
from clip_scoring.errors import DatabaseUnreachable, Interrupted, ShardLost
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.fake import FakeScorer
from clip_scoring.ports import DecodedImage
from clip_scoring.processes import is_dead, this_worker
from clip_scoring.records import Key, Outcome, Record
from clip_scoring.runs import Run
from clip_scoring.settings.registrations import TablePlace
from clip_scoring.shards import Claim
from clip_scoring.sources.table import PostgresSource
from tests.faults.mutants import Rule
from tests.support.world import SyntheticLoader

WAIT_S = 0.05


class End(IntEnum):
    """Exit codes of a worker; ends by a signal are negative."""

    DONE = 0
    UNEXPECTED = 1
    SHARD_LOST = 10
    INTERRUPTED = 11
    UNREACHABLE = 12


EXPECTED_ENDS = frozenset({*End, -signal.SIGKILL, -signal.SIGTERM}) - {End.UNEXPECTED}


@dataclass(frozen=True)
class Orders:
    """What all workers of one fault run have in common."""

    url: str
    run_key: str
    ledger: str
    """A file that gets one line per commit that was acknowledged to a worker."""
    pause_s: float
    rule: Rule


class PacedScorer(FakeScorer):
    """The fake scorer with a fixed time per batch, so that faults find workers at every stage."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s

    def score(
        self, images: Sequence[DecodedImage | None], captions: Sequence[str | None]
    ) -> list[Outcome]:
        sleep(self._pause_s)
        return super().score(images, captions)


class LedgerSink(PostgresSink):
    """Notes in a file, outside the database, which commits were acknowledged."""

    def __init__(self, engine: Engine, *, worker: str, ledger: str) -> None:
        super().__init__(engine, worker=worker)
        self._ledger = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def commit(
        self,
        claim: Claim,
        offset: Key,
        outcomes: Sequence[tuple[Record, Outcome]],
        measures: StageMetrics,
    ) -> Claim:
        after = super().commit(claim, offset, outcomes, measures)
        os.write(self._ledger, f"{claim.shard_id} {claim.checkpoint.epoch} {offset}\n".encode())
        return after


class Worker:
    """The same parts and the same order of calls as `clip_scoring.nightly`."""

    def __init__(self, orders: Orders) -> None:
        engine = connect_engine(orders.url)
        schema.require_current(engine)
        self.runs = PostgresRuns(engine)
        self.run = self.runs.get(orders.run_key)
        self.source = PostgresSource(engine, "records", TablePlace())
        self.scorer = PacedScorer(orders.pause_s)
        self.sink = LedgerSink(engine, worker=this_worker(), ledger=orders.ledger)

    def task(self, shard_id: int, stopping: Callable[[], bool]) -> None:
        """One mapped task of Airflow: its shard, whoever worked on it before."""
        run, claim = self.sink.claim(shard_id, device=self.scorer.device)
        self._score(run, claim, stopping)

    def help_out(self) -> None:
        """`clip-scoring run`: shards that nobody works on, until every shard is done."""
        while self.runs.unfinished(self.run):
            workers = self.runs.workers(self.run)
            self.runs.dismiss(self.run, [each for each in workers if is_dead(each)])
            claim = self.sink.claim_free(self.run, device=self.scorer.device)
            if claim is None:
                sleep(WAIT_S)
                continue
            with suppress(ShardLost):
                self._score(self.run, claim, lambda: False)

    def _score(self, run: Run, claim: Claim, stopping: Callable[[], bool]) -> None:
        worker = scoring.Worker(self.source, SyntheticLoader(), self.scorer, self.sink)
        scoring.score_shard(run, claim, worker=worker, stopping=stopping)


def be_worker(orders: Orders, shard_id: int | None) -> End:
    """A task for one shard, which SIGTERM only asks to stop, or a helper, which it ends."""
    stopping = Event()
    if shard_id is not None:
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    try:
        worker = Worker(orders)
        if shard_id is None:
            worker.help_out()
        else:
            worker.task(shard_id, stopping.is_set)
    except ShardLost:
        return End.SHARD_LOST
    except Interrupted:
        return End.INTERRUPTED
    except DatabaseUnreachable:
        return End.UNREACHABLE
    return End.DONE
