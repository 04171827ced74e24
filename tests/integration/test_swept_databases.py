"""A database that the next test gets is as empty as a new one, whatever the last test did to it."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg2
import pytest

from tests.support.databases import Databases

ROWS = (
    "INSERT INTO clip.record (key, image_uri, caption) "
    "SELECT n, %s, 'c' FROM generate_series(1, %s) AS n"
)
SWEPT = {
    "rows": [ROWS % ("'u'", 3)],
    "tables and views": [
        "CREATE TABLE public.x (a int PRIMARY KEY, b text)",
        "INSERT INTO public.x VALUES (1, 'a')",
        "CREATE VIEW v AS SELECT * FROM x",
    ],
    "triggers": [
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER t AFTER UPDATE ON clip.shard FOR EACH ROW EXECUTE FUNCTION f()",
    ],
    "schemas": ['CREATE SCHEMA "Od d"', 'CREATE TABLE "Od d"."T x" (a int)'],
    "types": [
        "CREATE DOMAIN d AS text",
        "CREATE TYPE e AS ENUM ('a')",
        "CREATE TABLE public.y (a d, b e)",
    ],
    "extensions": ["CREATE EXTENSION vector"],
}
NOT_SWEPT = {
    "a new column": ["ALTER TABLE clip.record ADD COLUMN z int"],
    "a table that is gone": ["DROP TABLE clip.score CASCADE"],
    "no schema": ["DROP SCHEMA clip CASCADE"],
    "a new schema of the same name": [
        "DROP SCHEMA clip CASCADE",
        "CREATE SCHEMA clip",
        "CREATE TABLE clip.schema_version (version_num text)",
    ],
    "another version": ["UPDATE clip.schema_version SET version_num = '9'"],
    "a new index": ["CREATE INDEX ON clip.record (caption)"],
    "many rows": [ROWS % ("repeat('u', 300)", 60_000)],
}


def ask(url: str, *statements: str) -> Any:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


@pytest.mark.parametrize("what", [*SWEPT, *NOT_SWEPT])
def test_it_is_used_again_only_when_it_can_be_made_as_empty_as_it_was(
    databases: Databases, what: str
) -> None:
    with databases.one() as used:
        ask(used, *SWEPT.get(what, []), *NOT_SWEPT.get(what, []))
    with databases.one() as following:
        assert (following == used) == (what in SWEPT)
        assert ask(following, "SELECT count(*) FROM clip.record") == [(0,)]
        assert ask(following, "SELECT count(*) FROM clip.schema_version") == [(1,)]
        added = (
            "SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace "
            "WHERE nspname NOT IN ('clip', 'pg_catalog', 'pg_toast', 'information_schema')"
        )
        assert ask(following, added) == []


def test_sequences_begin_again(databases: Databases) -> None:
    opened = "INSERT INTO clip.fingerprint (digest, parts) VALUES (%s, '{}') RETURNING id"
    for digit in "12":
        with databases.one() as url:
            assert ask(url, opened % f"'{digit * 64}'") == [(1,)]
