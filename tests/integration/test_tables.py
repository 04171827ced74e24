"""Tables of users, which may look in any way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event

from clip_scoring.settings.registrations import TablePlace
from clip_scoring.sources.table import PostgresSource
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
