"""A database with rows of the first version goes up to this one, and back, with nothing lost."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine, transaction

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
