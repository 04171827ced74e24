"""A connection that breaks around COMMIT neither loses a batch nor counts it twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy.engine import make_url

from clip_scoring.database.connection import connect_engine
from clip_scoring.database.sink import PostgresSink
from clip_scoring.errors import DatabaseUnreachable
from tests.faults.proxy import CommitProxy, Cut
from tests.support.world import World

CHECKPOINT_MOVES = b'SET "offset" = CAST('
RECORDS, BATCH = 600, 10


@pytest.fixture
def shard_id(world: World) -> int:
    """One shard of 60 batches; every 50th record is rejected."""
    world.add_many(RECORDS)
    world.sql("UPDATE clip.record SET image_uri = 'http_404_410' WHERE key % 50 = 0")
    world.watch_offsets()
    plan = world.plan("replies", batch_size=BATCH, shard_size=RECORDS)
    return plan.shards[0].shard_id


@contextmanager
def behind_proxy(database: str, plan: Iterable[Cut]) -> Iterator[tuple[CommitProxy, PostgresSink]]:
    """A sink that reaches the database through a proxy which cuts as planned."""
    url = make_url(database)
    with CommitProxy(url.port or 5432, marked=CHECKPOINT_MOVES, plan=plan) as proxy:
        through = url.set(port=proxy.port).render_as_string(hide_password=False)
        yield proxy, PostgresSink(connect_engine(through))


def assert_every_record_has_one_outcome(world: World) -> None:
    world.check_invariants()
    assert world.sql('SELECT state, "offset" = stop_key FROM clip.shard') == [("done", True)]
    assert world.sql("SELECT count(*) FROM clip.score") == [(RECORDS * 49 // 50,)]
    assert world.sql("SELECT count(*), max(attempts) FROM clip.rejection") == [(RECORDS // 50, 1)]
    moved = "FROM offset_history WHERE old_offset <> new_offset"
    assert world.sql(f"SELECT count(*), sum(scored + rejected) {moved}") == [
        (RECORDS // BATCH, RECORDS)
    ]


def test_50_replies_to_commit_that_never_arrive_are_resolved_by_one_worker(
    world: World, database: str, shard_id: int
) -> None:
    with behind_proxy(database, [Cut.AFTER] * 50) as (proxy, sink):
        result = world.score(shard_id, sink=sink)
    assert proxy.done == {Cut.AFTER: 50, Cut.NONE: 10}
    assert (result.scored, result.rejected, result.epoch) == (588, 12, 1)
    assert_every_record_has_one_outcome(world)


def test_a_batch_whose_commit_never_reached_the_server_is_redone_by_the_next_claim(
    world: World, database: str, shard_id: int
) -> None:
    cuts = [Cut.NONE, Cut.BEFORE] * 10
    with behind_proxy(database, cuts) as (proxy, sink):
        for committed in range(1, 11):
            with pytest.raises(DatabaseUnreachable):
                world.score(shard_id, sink=sink)
            assert world.sql("SELECT scored + rejected FROM clip.shard") == [(committed * BATCH,)]
        result = world.score(shard_id, sink=sink)
    assert proxy.done == {Cut.BEFORE: 10, Cut.NONE: 60}
    assert result.epoch == 11
    assert_every_record_has_one_outcome(world)


def test_a_commit_whose_fate_nobody_could_ask_for_is_found_by_the_next_claim(
    world: World, database: str, shard_id: int
) -> None:
    cuts = [Cut.NONE, Cut.AFTER_AND_AWAY] * 5
    with behind_proxy(database, cuts) as (proxy, sink):
        for committed in range(1, 6):
            with pytest.raises(DatabaseUnreachable):
                world.score(shard_id, sink=sink)
            assert world.sql("SELECT scored + rejected FROM clip.shard") == [
                (committed * 2 * BATCH,)
            ]
            proxy.let_in()
        result = world.score(shard_id, sink=sink)
    assert proxy.done == {Cut.AFTER_AND_AWAY: 5, Cut.NONE: 55}
    assert result.epoch == 6
    assert_every_record_has_one_outcome(world)


def test_a_worker_that_takes_every_lost_reply_for_a_failure_does_not_get_far(
    world: World, database: str, shard_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresSink, "_was_committed", lambda *_: False)
    with (
        behind_proxy(database, [Cut.AFTER] * 50) as (proxy, sink),
        pytest.raises(DatabaseUnreachable),
    ):
        world.score(shard_id, sink=sink)
    assert proxy.done == {Cut.AFTER: 1}
