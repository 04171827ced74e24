"""Tables of users, which may look in any way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import Engine, event

from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine
from clip_scoring.errors import SettingsInvalid
from clip_scoring.runs import WindowKind
from clip_scoring.settings.registrations import TablePlace
from clip_scoring.sources.table import PostgresSource
from stack.postgres import PostgresServer
from tests.support.world import World

REFERENCED = 150
"""More than Python recurses into, were each followed by the next."""


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


def test_a_table_with_many_foreign_keys_opens_as_one_without(world: World) -> None:
    columns = "key bigint PRIMARY KEY, image_uri text, caption text, created_at timestamptz"
    world.sql("CREATE TABLE public.linked_0 (id int PRIMARY KEY)")
    for n in range(1, REFERENCED):
        reference = f"int REFERENCES public.linked_{n - 1}"
        world.sql(f"CREATE TABLE public.linked_{n} (id int PRIMARY KEY, before {reference})")
    references = (f"r{n} int REFERENCES public.linked_{n}" for n in range(REFERENCED))
    world.sql(f"CREATE TABLE public.plain ({columns})")
    world.sql(f"CREATE TABLE public.linking ({columns}, {', '.join(references)})")
    asked = []
    for table in ("public.plain", "public.plain", "public.linking"):
        with statements_of(world.engine) as statements:
            source = PostgresSource(world.engine, "records", TablePlace(table))
        asked.append(len(statements))
        assert source.find([], longest=10) == {}
    assert asked[1] == asked[2] < 20


KINDS = """
    CREATE EXTENSION citext;
    CREATE DOMAIN public.sku AS text CHECK (VALUE <> '');
    CREATE DOMAIN public.own_sku AS public.sku;
    CREATE TYPE public.word AS ENUM ('one', 'two')"""
Table = Callable[..., World]


@pytest.fixture
def table(world: World) -> Table:
    """Makes table `public.pairs` with columns of other types, and two records in it."""
    for statement in KINDS.split(";"):
        world.sql(statement)

    def make(**types: str) -> World:
        usual = {"key": "bigint", "image_uri": "text", "caption": "text",
                 "created_at": "timestamptz"}  # fmt: skip
        columns = ", ".join(f"{name} {kind}" for name, kind in {**usual, **types}.items())
        world.sql(f"CREATE TABLE public.pairs ({columns})")
        return replace(world, place=TablePlace("public.pairs"))

    return make


@pytest.mark.parametrize(
    ("kind", "keys"),
    [("smallint", ["1", "2"]), ("varchar(9)", ["a", "b "]), ("public.sku", ["a", "é"]),
     ("public.own_sku", ["a", "b"]), ("bigint GENERATED ALWAYS AS (number) STORED", None),
     ("uuid", ["0" * 8 + "-0000-0000-0000-" + "0" * 11 + n for n in "12"])],
)  # fmt: skip
def test_keys_of_these_types_settle_what_they_name(
    table: Table, kind: str, keys: list[str] | None
) -> None:
    world = table(number="bigint", key=kind)
    for n, key in enumerate(keys or ["1", "2"], start=1):
        given = ("number, key", ":n, CAST(:k AS text)") if keys else ("number", ":n")
        value = given[1].replace("CAST(:k AS text)", f"CAST(:k AS {kind})")
        values = {"n": n, "k": key} if keys else {"n": n}
        world.sql(
            f"INSERT INTO public.pairs ({given[0]}, image_uri, caption, created_at) "
            f"VALUES ({value}, 'i' || :n, 'c', '2026-01-01')",
            **values,
        )
    assert world.run("a").scored == 2
    assert world.plan("b").planned == 0
    stored = {key for (key,) in world.sql("SELECT record_key FROM clip.score")}
    assert stored == set(keys or ["1", "2"])


@pytest.mark.parametrize("kind", ["char(9)", "citext", "numeric", "double precision", "jsonb",
                                  "text[]", "public.word", "bytea", "date"])  # fmt: skip
def test_keys_of_other_types_are_refused_with_the_cure(table: Table, kind: str) -> None:
    shown = {"char(9)": "character(9)", "public.word": "word"}.get(kind, kind)
    with pytest.raises(SettingsInvalid) as refused:
        table(key=kind).plan("a")
    assert str(refused.value) == (
        f"public.pairs: key column 'key' is {shown}: use bigint, text or uuid"
    )


@pytest.mark.parametrize("kind", ["char(9)", "citext", "varchar(9)", "public.sku", "public.word"])
@pytest.mark.parametrize("role", ["image_uri", "caption"])
def test_texts_of_these_types_are_scored_once(table: Table, role: str, kind: str) -> None:
    world = table(**{role: kind})
    for key, text in enumerate(("one", "two"), start=1):
        texts = {"image_uri": "i", "caption": "c", role: text}
        world.sql(
            "INSERT INTO public.pairs VALUES (:k, "
            f"CAST(:i AS {kind if role == 'image_uri' else 'text'}), "
            f"CAST(:c AS {kind if role == 'caption' else 'text'}), '2026-01-01')",
            k=key, i=texts["image_uri"], c=texts["caption"],
        )  # fmt: skip
    assert (world.run("a").scored, world.plan("b").planned) == (2, 0)
    world.sql(f"UPDATE public.pairs SET {role} = 'two' WHERE key = 1")
    assert world.plan("c").planned == 1


@pytest.mark.parametrize("role", ["image_uri", "caption"])
@pytest.mark.parametrize("kind", ["jsonb", "text[]", "bytea", "bigint"])
def test_texts_of_other_types_are_refused_with_the_cure(table: Table, role: str, kind: str) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        table(**{role: kind}).plan("a")
    assert f" column '{role}' is {kind}: use text; where its text is meant, " in str(refused.value)
    assert f"CAST({role} AS text)" in str(refused.value)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize("kind", ["timestamp", "date"])
def test_times_without_a_zone_are_utc_whatever_the_session_says(
    table: Table, kind: str, zone: str
) -> None:
    world = table(created_at=kind)
    world.sql(f"ALTER ROLE CURRENT_USER IN DATABASE {world.engine.url.database} "
              f"SET timezone = '{zone}'")  # fmt: skip
    world.engine.dispose()
    assert world.sql("SHOW timezone") == [(zone,)]
    at = ["2025-12-31 23:59", "2026-01-01 00:00", "2026-01-01 23:59", "2026-01-02 00:00"]
    for key, time in enumerate(at):
        world.sql(f"INSERT INTO public.pairs VALUES ({key}, 'i', 'c', '{time}')")
    assert world.run("a", window=WindowKind.DAY, day=date(2026, 1, 1)).scored == 2
    assert world.sql("SELECT record_key FROM clip.score ORDER BY 1") == [("1",), ("2",)]


@pytest.mark.parametrize("kind", ["text", "bigint", "time", "tstzrange"])
def test_other_event_times_are_refused(table: Table, kind: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"event_time column 'created_at' is .*timestamptz"):
        table(created_at=kind).plan("a")


def test_a_database_in_another_encoding_settles_what_it_holds(server: PostgresServer) -> None:
    administrator = connect_engine(server.url())
    with administrator.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(
            "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE_PROVIDER 'libc' LOCALE 'C' "
            "TEMPLATE template0"
        )
    latin = connect_engine(server.url("latin"), kept=2)
    schema.upgrade(latin)
    world = World(latin)
    world.add({1: ("caf\u00e9.jpg", "un caf\u00e9 cr\u00e8me"), 2: ("b", "plain")})
    assert (world.run("a").scored, world.plan("b").planned) == (2, 0)
    latin.dispose()
    with administrator.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("DROP DATABASE latin WITH (FORCE)")
    administrator.dispose()
