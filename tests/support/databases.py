"""Databases for tests, copied from a template and used again once they are as empty as before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import psycopg2

from stack.postgres import PostgresServer

TEMPLATE = "template_clip"
_LARGEST = 16 * 2**20
"""Bytes of a database, half of them catalogs, above which a new copy is faster than sweeping."""
_CATALOGS = (
    "pg_attribute", "pg_class", "pg_collation", "pg_constraint", "pg_extension", "pg_index",
    "pg_namespace", "pg_proc", "pg_trigger", "pg_type", "clip.schema_version",
)  # fmt: skip
# Whatever is created, changed or dropped leaves another count or a new xmin behind.
_SHAPE = "SELECT " + ", ".join(
    f"(SELECT (count(*), max(CAST(CAST(xmin AS text) AS bigint))) FROM {name})"
    for name in _CATALOGS
)
_LAST_OID = """
    SELECT max(oid) FROM (SELECT oid FROM pg_class UNION ALL SELECT oid FROM pg_proc
                          UNION ALL SELECT oid FROM pg_type UNION ALL SELECT oid FROM pg_namespace)
    AS named"""
_END_OTHERS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
_IS_PLAIN = """
    SELECT pg_database_size(current_database()) <= %s AND NOT EXISTS (
        SELECT FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND to_regclass('clip.schema_version') IS NOT NULL"""
_DROP_NEWER = """
    SELECT string_agg(format('DROP %%s IF EXISTS %%s CASCADE', kind, name), '; '
                      ORDER BY kind <> 'EXTENSION') FROM (
        SELECT 'EXTENSION' AS kind, quote_ident(extname) AS name
        FROM pg_extension WHERE oid > %(last)s
        UNION ALL
        SELECT 'SCHEMA', CAST(CAST(oid AS regnamespace) AS text)
        FROM pg_namespace WHERE oid > %(last)s AND nspname !~ '^pg_'
        UNION ALL
        SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                            WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
               CAST(CAST(oid AS regclass) AS text)
        FROM pg_class WHERE oid > %(last)s AND relkind IN ('r', 'p', 'v', 'm', 'S')
        UNION ALL
        SELECT 'ROUTINE', CAST(CAST(oid AS regprocedure) AS text)
        FROM pg_proc WHERE oid > %(last)s
        UNION ALL
        SELECT 'TYPE', CAST(CAST(oid AS regtype) AS text)
        FROM pg_type WHERE oid > %(last)s AND typtype IN ('d', 'e')) AS newer"""
_DELETE = """
    SELECT string_agg(format('DELETE FROM clip.%I', tablename), '; ') FROM pg_tables
    WHERE schemaname = 'clip' AND tablename <> 'schema_version'"""
_RESTART = """
    SELECT setval(format('clip.%I', sequencename), start_value, false) FROM pg_sequences
    WHERE schemaname = 'clip'"""


class Databases:
    """Copies of one template. A copy costs up to half a second, sweeping one some milliseconds."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._numbers = count(1)
        self._swept: list[_Copy] = []

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database with the template's tables, empty, for the caller alone."""
        copy = self._swept.pop() if self._swept else self._copied()
        yield copy.url
        if copy.sweep():
            self._swept.append(copy)
        else:
            self._administer(f"DROP DATABASE {copy.name} WITH (FORCE)")

    def _copied(self) -> _Copy:
        name = f"clip_{next(self._numbers)}"
        self._administer(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return _Copy.of(name, self._server.url(name))

    def _administer(self, statement: str) -> None:
        with closing(psycopg2.connect(self._server.url())) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)


@dataclass(frozen=True)
class _Copy:
    """A database, and what it was like before anybody used it."""

    name: str
    url: str
    shape: Any
    last_oid: int

    @classmethod
    def of(cls, name: str, url: str) -> _Copy:
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(_SHAPE)
            shape = cursor.fetchone()
            cursor.execute(_LAST_OID)
            ((last_oid,),) = cursor.fetchall()
        return cls(name, url, shape, last_oid)

    def sweep(self) -> bool:
        """Make it as it was before, as far as that is easy; whether it is."""
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True

            def answer(query: str, *values: object) -> Any:
                cursor.execute(query, *values)
                return cursor.fetchone()

            answer(_END_OTHERS)
            (drop,) = answer(_DROP_NEWER, {"last": self.last_oid})
            try:
                cursor.execute(drop or "SELECT")
            except psycopg2.errors.DependentObjectsStillExist:  # something older was changed too
                return False
            if answer(_IS_PLAIN, (_LARGEST,)) != (True,) or answer(_SHAPE) != self.shape:
                return False
            cursor.execute("SET session_replication_role = replica")  # rows go in any order
            cursor.execute(*answer(_DELETE))
            cursor.execute(_RESTART)
            return True
