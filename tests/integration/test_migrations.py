"""A database with rows of an earlier version goes up to this one, and back, with nothing lost."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine, transaction
from clip_scoring.nightly.run import open_run
from clip_scoring.nightly.status import status
from clip_scoring.runs import Remaining
from clip_scoring.settings.environment import Settings
from tests.support.world import World

ROWS = """
INSERT INTO clip.fingerprint (digest, parts) VALUES (repeat('0', 64), '{}');
INSERT INTO clip.run (run_key, source, fingerprint_id, window_stop, trigger, rescore, batch_size)
VALUES ('old', 'records', 1, now(), 'cli', 'missing', 64);
INSERT INTO clip.shard (run_id, number, start_key, stop_key, "offset", lease_until, planned,
                        stage_seconds)
VALUES (1, 0, '1', '3', '3', now(), 2, '{"score": 1.5}');
INSERT INTO clip.score (source, record_key, fingerprint_id, similarity, caption_truncated,
                        input_md5, run_id, shard_id)
VALUES ('records', '1', 1, 0.5, false, gen_random_uuid(), 1, 1);
"""
DUMP = Path(__file__).with_name("schema_0003.sql")
"""Made by pg_dump from a database of version 0003: two finished runs, and two under way."""
HALF_DONE, WITH_RESERVED = "night/2", "night/3"
"""A run with a finished, a begun and an untouched shard, and one planned beside it."""
OUTCOMES = {
    "score": "SELECT to_jsonb(score), encode(float4send(similarity), 'hex') FROM clip.score",
    "rejection": "SELECT to_jsonb(rejection) FROM clip.rejection",
    "similarity": (
        "SELECT to_jsonb(similarity), encode(float4send(similarity), 'hex') FROM clip.similarity"
    ),
}
KEPT = {
    **OUTCOMES,
    "shard": "SELECT to_jsonb(shard) FROM clip.shard",
    "run": "SELECT to_jsonb(run) - 'held' - 'reserved' FROM clip.run",
    "record": "SELECT to_jsonb(record) FROM clip.record",
    "fingerprint": "SELECT to_jsonb(fingerprint) FROM clip.fingerprint",
}


def migrate(engine: Engine, version: str, *, up: bool) -> None:
    config = Config()
    migrations = Path(schema.__file__).with_name("migrations")
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    with transaction(engine) as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS clip"))
        config.attributes["connection"] = connection
        (command.upgrade if up else command.downgrade)(config, version)


def rows(engine: Engine, statement: str) -> list[tuple[object, ...]]:
    with transaction(engine) as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def snapshot(engine: Engine, statements: dict[str, str]) -> dict[str, list[tuple[object, ...]]]:
    """All rows of each, in one order."""
    return {name: rows(engine, f"{asked} ORDER BY 1") for name, asked in statements.items()}


@pytest.fixture
def restored(empty_database: str) -> Engine:
    """The database of version 0003."""
    connection = psycopg2.connect(empty_database)
    with connection, connection.cursor() as cursor:
        cursor.execute(DUMP.read_text(encoding="utf-8"))
    connection.close()
    return connect_engine(empty_database)


def test_rows_of_the_first_version_survive_the_way_up_and_down(empty_database: str) -> None:
    engine = connect_engine(empty_database)
    migrate(engine, "0001", up=True)
    with transaction(engine) as connection:
        connection.exec_driver_sql(ROWS)
    assert schema.upgrade(engine) == schema.SCHEMA_VERSION
    assert rows(engine, "SELECT measures, tries, worker FROM clip.shard") == [
        ({"seconds": {"score": 1.5}}, 0, None)
    ]
    assert rows(engine, "SELECT record_key, similarity FROM clip.similarity") == [("1", 0.5)]
    migrate(engine, "0001", up=False)
    assert rows(engine, "SELECT stage_seconds FROM clip.shard") == [({"score": 1.5},)]
    assert rows(engine, "SELECT record_key, similarity FROM clip.score") == [("1", 0.5)]
    schema.upgrade(engine)


def test_a_database_of_version_0003_goes_up_and_down_without_a_changed_row(
    restored: Engine,
) -> None:
    before = snapshot(restored, KEPT)
    held = rows(restored, "SELECT run_key, held FROM clip.run ORDER BY id")
    assert dict(held)[WITH_RESERVED] == 16
    for _ in range(2):
        assert schema.upgrade(restored) == schema.SCHEMA_VERSION
        assert snapshot(restored, KEPT) == before
        assert rows(restored, "SELECT run_key, reserved FROM clip.run ORDER BY id") == held
        migrate(restored, "0003", up=False)
        assert snapshot(restored, KEPT) == before
        assert rows(restored, "SELECT run_key, held FROM clip.run ORDER BY id") == held


def test_the_dump_holds_retries_and_shards_done_begun_and_untouched(restored: Engine) -> None:
    retried = "SELECT max(attempts) FROM clip.rejection WHERE next_attempt_at IS NOT NULL"
    assert rows(restored, retried) == [(2,)]
    shards = (
        'SELECT shard.state, "offset" = start_key FROM clip.shard '
        "JOIN clip.run ON run.id = run_id WHERE run_key = 'night/2' ORDER BY number"
    )
    assert rows(restored, shards) == [("done", False), ("open", False), ("open", True)]


def test_a_run_that_was_planned_under_version_0003_is_finished_by_this_program(
    empty_database: str, restored: Engine
) -> None:
    before = snapshot(restored, OUTCOMES)
    schema.upgrade(restored)
    settings = Settings.from_environment({"CLIP_SCORING_DATABASE_URL": empty_database})
    world = World(restored)
    with open_run(settings, run_key=HALF_DONE) as run:
        assert run.remaining() == Remaining(shards=2, records=16)
        for shard in world.plan(HALF_DONE).shards:
            world.score(shard.shard_id)
        summary = run.finish()
    assert summary.failures == ()
    assert (summary.planned, summary.scored + summary.rejected, summary.pending) == (40, 40, 0)
    newest = status(settings, run_key=None, source=None, most=10).runs
    assert {run.run_key: run.state for run in newest}[HALF_DONE] == "succeeded"
    after = snapshot(restored, OUTCOMES)
    for table, outcomes in before.items():
        assert [row for row in after[table] if row in outcomes] == outcomes
