"""Every figure of a fault run is 0 after an unbroken run and sees what it is there to see."""

from __future__ import annotations

from collections import Counter

import pytest

from clip_scoring.database.connection import connect_engine
from tests.faults import figures as looked_at
from tests.faults.figures import Remaining, figures
from tests.faults.workers import End
from tests.support.world import World

RUN_KEY, BATCH = "looked at", 10
SPOILS = (
    "DELETE FROM clip.score WHERE record_key = '1'",
    "UPDATE clip.score SET similarity = 0.5 WHERE record_key = '3'",
    "INSERT INTO clip.rejection (source, record_key, fingerprint_id, reason, detail, attempts,"
    " input_md5, run_id, shard_id) SELECT source, record_key, fingerprint_id, 'timeout', '', 2,"
    " input_md5, run_id, shard_id FROM clip.score WHERE record_key = '2'",
    "UPDATE clip.shard SET scored = scored + 1, epoch = epoch - 1 WHERE number = 0",
    'UPDATE clip.shard SET "offset" = start_key WHERE number = 1',
    "UPDATE clip.shard SET \"offset\" = '25' WHERE number = 1",
    "UPDATE offset_history SET scored = scored + 1 WHERE n = 2",
)


@pytest.fixture
def scored(world: World) -> World:
    """Forty records in two finished shards; the run is not closed yet."""
    world.add_many(40)
    world.sql("UPDATE clip.record SET image_uri = 'timeout' WHERE key % 7 = 0")
    world.watch_offsets()
    for shard in world.plan(RUN_KEY, batch_size=BATCH, shard_size=20).shards:
        world.score(shard.shard_id)
    world.engine.dispose()  # sessions that are kept for later would be counted
    return world


def test_an_unbroken_run_leaves_every_figure_at_0(scored: World) -> None:
    ledger = "1 1 11\n1 1 21\n2 1 31\n2 1 41\n"
    ends = Counter({int(End.DONE): 2, -9: 1})
    found = figures(scored, Remaining(RUN_KEY, BATCH, ledger, ends, ""))
    assert set(found.values()) == {0}, found


def test_no_figure_stays_at_0_when_its_invariant_is_broken(
    scored: World, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looked_at, "SESSIONS_LIMIT_S", 0.0)
    for statement in SPOILS:
        scored.sql(statement)
    ends = Counter({int(End.UNEXPECTED): 1})
    with connect_engine(database).connect():
        found = figures(scored, Remaining(RUN_KEY, BATCH, "1 1 12\n", ends, ""))
    assert all(found.values()), found
