"""The SQL blocks of docs/large-database.md, and what a run leaves behind in its sessions."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine
from clip_scoring.database.roles import grant_roles
from clip_scoring.fingerprint import Fingerprint
from clip_scoring.models.fake import FAKE_FINGERPRINT, FakeScorer
from clip_scoring.planning import plan_run
from clip_scoring.runs import Plan
from clip_scoring.settings.registrations import TablePlace
from tests.support.world import World

PAGE = Path(__file__).parents[2] / "docs" / "large-database.md"
BLOCK = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEXT = replace(FAKE_FINGERPRINT, weights_sha256="1" * 64)
SIMILARITIES = """
SELECT fingerprint_id, record_key, similarity, rejection_reason FROM clip.similarity ORDER BY 1, 2
"""


class NextScorer(FakeScorer):
    """Other weights, by name."""

    fingerprint: Fingerprint = NEXT


@pytest.fixture
def worker(engine: Engine) -> Iterator[World]:
    """The test's database under the rights of clip_worker, as after `clip-scoring db roles`."""
    grant_roles(engine)
    url = engine.url.update_query_dict({"options": "-c role=clip_worker"})
    limited = connect_engine(url.render_as_string(hide_password=False))
    yield World(limited)
    limited.dispose()


def block(opening: str) -> str:
    """The one SQL block of the page that has this in it."""
    blocks: list[str] = BLOCK.findall(PAGE.read_text())
    (found,) = (each for each in blocks if opening in each)
    return found


def execute(engine: Engine, opening: str) -> None:
    """As psql would, then the rights, as the page says."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(block(opening), execution_options={"no_parameters": True})
    grant_roles(engine)


def partition(engine: Engine) -> None:
    execute(engine, "PARTITION BY LIST")


def rows_by_table(world: World) -> dict[str, int]:
    counted = world.sql(
        "SELECT CAST(tableoid::regclass AS text), count(*) FROM clip.score GROUP BY 1"
    )
    return {str(name): int(str(count)) for name, count in counted}


def plan_next(world: World, run_key: str) -> Plan:
    request = replace(world.request(run_key), fingerprint=NEXT)
    return plan_run(request, source=world.source, runs=world.runs)


def reads(world: World, tables: str) -> int:
    """How often tables and indexes of this name have been read so far."""
    counted = world.sql(
        "SELECT CAST(coalesce(sum(coalesce(seq_scan, 0) + coalesce(idx_scan, 0)), 0) AS bigint) "
        "FROM pg_stat_user_tables WHERE relname LIKE :tables",
        tables=tables,
    )
    return int(str(counted[0][0]))


def test_partitioning_keeps_every_row_where_it_is_and_runs_go_on_after_it(
    engine: Engine, world: World, worker: World
) -> None:
    world.add_many(50)
    world.add({51: ("timeout", "caption 51")})
    assert world.run("before").scored == 50
    before = world.sql(SIMILARITIES)
    files = world.sql("SELECT pg_relation_filenode('clip.score')")

    partition(engine)

    schema.require_current(engine)
    assert world.sql(SIMILARITIES) == before and len(before) == 51
    assert world.sql("SELECT pg_relation_filenode('clip.score_first')") == files
    world.add_many(30, first=52)
    summary = worker.run("after")
    assert (summary.planned, summary.scored, summary.failures) == (30, 30, ())
    assert rows_by_table(world) == {"clip.score_first": 80}
    world.sql("UPDATE clip.record SET caption = 'another' WHERE key <= 5")
    assert worker.run("changed").scored == 5
    assert rows_by_table(world) == {"clip.score_first": 80}
    assert worker.run("nothing left").planned == 0
    world.check_invariants()


def test_a_record_still_has_one_score_under_a_fingerprint(engine: Engine, world: World) -> None:
    world.add_many(1)
    world.run("only")
    partition(engine)
    twin = "INSERT INTO clip.score SELECT * FROM clip.score"
    with pytest.raises(Exception, match="score_first_pkey"):
        world.sql(twin)


def test_new_weights_get_partitions_of_their_own_and_the_old_are_dropped(
    engine: Engine, world: World, worker: World
) -> None:
    world.add_many(100)
    world.run("old weights")
    partition(engine)
    worker.scorer = NextScorer()
    first, *others = plan_next(worker, "new weights").shards
    worker.score(first.shard_id)
    assert rows_by_table(world) == {"clip.score_first": 100, "clip.score_rest": 20}
    assert world.sql("SELECT id FROM clip.fingerprint ORDER BY id") == [(1,), (2,)]

    execute(engine, "PARTITION BY HASH")

    for each in others:
        worker.score(each.shard_id)
    summary = worker.judge("new weights")
    assert (summary.planned, summary.scored, summary.failures) == (100, 100, ())
    counted = rows_by_table(world)
    assert counted.pop("clip.score_first") == 100
    assert sum(counted.values()) == 100 and len(counted) == 16
    assert set(counted) == {f"clip.score_2_{part}" for part in range(16)}
    world.check_invariants()

    old = reads(world, "score_first")
    read = reads(world, "score_2_%")
    assert plan_next(worker, "nothing left").planned == 0
    until = time.monotonic() + 10
    while reads(world, "score_2_%") == read and time.monotonic() < until:
        time.sleep(0.05)
    assert reads(world, "score_2_%") > read and reads(world, "score_first") == old

    execute(engine, "DETACH PARTITION")

    assert world.sql("SELECT DISTINCT fingerprint_id FROM clip.similarity") == [(2,)]
    assert worker.sql("SELECT count(*) FROM clip.score") == [(100,)]
    assert plan_next(worker, "still nothing left").planned == 0


def test_an_empty_database_is_partitioned_before_its_first_run(
    engine: Engine, world: World, worker: World
) -> None:
    partition(engine)
    world.add_many(20)
    assert worker.run("first").scored == 20
    assert rows_by_table(world) == {"clip.score_rest": 20}


def test_a_view_of_the_last_days_is_a_source_that_stays_small(engine: Engine, world: World) -> None:
    now = datetime.now(UTC)
    world.add_many(10, created_at=now - timedelta(days=4))
    world.add_many(5, first=11, created_at=now - timedelta(days=2))
    world.sql("CREATE SCHEMA shop")
    world.sql("CREATE VIEW shop.pictures AS SELECT * FROM clip.record")
    world.sql(block("shop.recent_pictures"))
    recent = World(engine, TablePlace(table="shop.recent_pictures"))
    summary = recent.run("recent", day=now.date())
    assert (summary.planned, summary.scored, summary.failures) == (5, 5, ())


def test_a_run_leaves_nothing_behind_in_its_sessions(database: str) -> None:
    """So pgbouncer may give the next transaction another session."""
    engine = connect_engine(database, kept=2)
    world = World(engine)
    world.add_many(30)
    with engine.connect() as one, engine.connect() as other:
        fresh = [_state(each.connection.dbapi_connection) for each in (one, other)]
        used = {each.connection.dbapi_connection for each in (one, other)}
    assert world.run("watched").scored == 30
    with engine.connect() as one, engine.connect() as other:
        again = [each.connection.dbapi_connection for each in (one, other)]
        assert set(again) == used
        assert [_state(each) for each in again] == fresh
    engine.dispose()


def _state(session: object) -> list[object]:
    """Settings that are not the server's, advisory locks, statements, cursors, channels, tables."""
    found: list[object] = []
    with session.cursor() as cursor:  # type: ignore[attr-defined]
        for asked in (
            "SELECT name, setting FROM pg_settings WHERE source = 'session' ORDER BY 1",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            "SELECT count(*) FROM pg_prepared_statements",
            "SELECT count(*) FROM pg_cursors WHERE is_holdable",
            "SELECT count(*) FROM pg_listening_channels()",
            "SELECT count(*) FROM pg_class WHERE relpersistence = 't' "
            "AND relnamespace = pg_my_temp_schema()",
        ):
            cursor.execute(asked)
            found.append(cursor.fetchall())
    session.rollback()  # type: ignore[attr-defined]
    return found
