"""A batch that takes longer than the lease is committed by the worker that began it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event

import pytest

from clip_scoring import lease
from clip_scoring.database import sink
from clip_scoring.database.connection import connect_engine, transaction
from clip_scoring.database.sink import PostgresSink
from clip_scoring.errors import DatabaseBusy, DatabaseUnreachable
from clip_scoring.lease import kept_alive
from clip_scoring.models.fake import FakeScorer
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Outcome
from clip_scoring.scoring import Worker, score_shard
from clip_scoring.shards import Claim
from stack.processes import poll
from tests.support.world import World

LEASE_S = 1.5
LONG_S = 120.0
EXPIRE = "UPDATE clip.shard SET lease_until = now() - interval '1 s'"
ALIVE = "SELECT lease_until > now() FROM clip.shard"


@dataclass
class WaitingScorer(FakeScorer):
    """Says that it has begun, and ends when it may."""

    begun: Event = field(default_factory=Event)
    may_end: Event = field(default_factory=Event)

    def score(
        self, images: Sequence[DecodedImage | None], captions: Sequence[str | None]
    ) -> list[Outcome]:
        self.begun.set()
        assert self.may_end.wait(LONG_S)
        return super().score(images, captions)


def claimed(world: World) -> Claim:
    world.add_many(20)
    (shard,) = world.plan("a").shards
    return PostgresSink(world.engine).claim(shard.shard_id, device="none")[1]


def test_a_batch_of_ten_times_the_lease_is_committed_by_its_first_worker(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "LEASE", timedelta(seconds=LEASE_S))
    monkeypatch.setattr(lease, "RENEW_S", LEASE_S / 30)
    first, rival = PostgresSink(world.engine), PostgresSink(world.engine)
    world.add_many(20)
    world.plan("a")
    run, scorer = world.runs.get("a"), WaitingScorer()
    claim = first.claim_free(run, device="none")
    assert claim is not None
    worker = Worker(world.source, world.loader, scorer, first)
    with ThreadPoolExecutor(1) as thread:
        scoring = thread.submit(score_shard, run, claim, worker=worker)
        assert scorer.begun.wait(LONG_S)

        def taken() -> bool:
            return rival.claim_free(run, device="none") is not None

        stolen = poll(taken, limit_s=10 * LEASE_S, every_s=LEASE_S / 10)
        scorer.may_end.set()
        assert not stolen
        result = scoring.result(LONG_S)
    assert (result.epoch, result.scored) == (1, 20)


def test_a_renewal_keeps_a_claim_alive_and_never_a_void_one(world: World) -> None:
    old = claimed(world)
    own = PostgresSink(world.engine)
    world.sql(EXPIRE)
    own.renew(old)
    assert world.sql(ALIVE) == [(True,)]
    own.claim(old.shard_id, device="none")
    world.sql(EXPIRE)
    own.renew(old)
    assert world.sql(ALIVE) == [(False,)]


def test_a_renewal_that_finds_no_database_leaves_it_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr(lease, "RENEW_S", 0.01)
    claim = claimed(world)
    tried: list[Claim] = []
    third = Event()

    class Away(PostgresSink):
        def renew(self, claim: Claim) -> None:
            tried.append(claim)
            if len(tried) == 3:
                third.set()
            raise DatabaseUnreachable("away")

    with kept_alive(Away(world.engine), claim):
        assert third.wait(LONG_S)
    assert set(tried) == {claim}


def test_a_pool_without_a_free_connection_is_a_busy_database(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = connect_engine(database, kept=1)
    monkeypatch.setattr(engine.pool, "_timeout", 0.01)
    with (
        transaction(engine),
        pytest.raises(DatabaseBusy, match="no connection of this process"),
        transaction(engine),
    ):
        pass
    engine.dispose()
