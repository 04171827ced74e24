"""Pending records of any table or view that lies in the same database as the outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
    and_,
    cast,
    collate,
    func,
    not_,
    or_,
    select,
)
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.types import UUID

from clip_scoring.errors import SettingsInvalid
from clip_scoring.records import Record
from clip_scoring.runs import Rescore, Selection
from clip_scoring.settings import SourceRegistration
from clip_scoring.shards import PlannedRange, successor
from clip_scoring.stores.database import transaction

_PLANNING_TIMEOUT = "30min"


class PostgresSource:
    """Source over a registered table; the names come from the catalogue, never from text."""

    def __init__(self, engine: Engine, registration: SourceRegistration) -> None:
        self.name = registration.name
        self._engine = engine
        self._records = _reflect(engine, registration.table)
        self._outcomes = (_reflect(engine, "clip.score"), _reflect(engine, "clip.rejection"))
        self._key_column = self._column(registration.key)
        self._key = _ordered(self._key_column)
        self._image_uri = func.coalesce(self._column(registration.image), "")
        self._caption = func.coalesce(self._column(registration.caption), "")
        self._event_time = self._column(registration.event_time)

    def count_pending(self, selection: Selection) -> int:
        """How many records of the selection are pending."""
        wide = selection.keys.start is None or selection.keys.stop is None
        pending = self._pending(selection, self._unsettled if wide else self._unsettled_by_lookup)
        counted = select(func.count()).select_from(self._records).where(pending)
        with self._planning() as connection:
            return connection.execute(counted).scalar_one()

    def ranges(self, selection: Selection, size: int, limit: int | None) -> Iterator[PlannedRange]:
        """Cut the pending records into consecutive ranges of `size`, in one pass over the keys."""
        numbered = (
            select(
                self._key.label("key"),
                (func.row_number().over(order_by=self._key) - 1).label("ordinal"),
            )
            .where(self._pending(selection, self._unsettled))
            .order_by(self._key)
            .limit(limit)
            .subquery()
        )
        first = func.min(numbered.c.key)
        cut = (
            select(first, func.max(numbered.c.key), func.count())
            .group_by(numbered.c.ordinal // size)
            .order_by(first)
        )
        with self._planning() as connection:
            rows = connection.execute(cut).all()
        starts = [row[0] for row in rows[1:]]
        stops = starts + [successor(row[1]) for row in rows[-1:]]
        for (start, _, planned), stop in zip(rows, stops, strict=True):
            yield PlannedRange(start, stop, planned)

    def read_pending(self, selection: Selection, limit: int) -> list[Record]:
        """The first `limit` pending records of the selection in key order."""
        wanted = (
            select(self._key, self._image_uri, self._caption)
            .where(self._pending(selection, self._unsettled_by_lookup))
            .order_by(self._key)
            .limit(limit)
        )
        with transaction(self._engine) as connection:
            # Walk the key's index and stop at the limit; never sort what is left of the shard.
            connection.exec_driver_sql("SET LOCAL enable_sort = off")
            return [Record(*row) for row in connection.execute(wanted)]

    def _column(self, name: str) -> ColumnElement[str]:
        if name not in self._records.c:
            known = ", ".join(self._records.c.keys())
            raise SettingsInvalid(f"{self._records.fullname} has no column {name!r}, only {known}")
        return self._records.c[name]

    @contextmanager
    def _planning(self) -> Iterator[Connection]:
        """A transaction for passes over many records.

        Fresh tables have no statistics, and without them the planner compares every record with
        every outcome; a hash join is right for any size.
        """
        with transaction(self._engine, statement_timeout=_PLANNING_TIMEOUT) as connection:
            connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
            yield connection

    def _pending(
        self, selection: Selection, unsettled: Callable[[Table, Selection], ColumnElement[bool]]
    ) -> ColumnElement[bool]:
        """The definition of pending, as a condition on the records."""
        window, keys = selection.window, selection.keys
        conditions = [self._event_time < window.stop]
        if window.start is not None:
            conditions.append(self._event_time >= window.start)
        if keys.start is not None:
            conditions.append(self._key >= keys.start)
        if keys.stop is not None:
            conditions.append(self._key < keys.stop)
        conditions += [unsettled(table, selection) for table in self._outcomes]
        return and_(*conditions)

    def _unsettled(self, table: Table, selection: Selection) -> ColumnElement[bool]:
        """As an anti-join, for a pass over the whole source."""
        return not_(select(1).select_from(table).where(self._settled(table, selection)).exists())

    def _unsettled_by_lookup(self, table: Table, selection: Selection) -> ColumnElement[bool]:
        """As one look-up by primary key per record, for a batch or a shard of a large source.

        A scalar subquery is never turned into a join, whatever the statistics say.
        """
        settled = select(func.count()).select_from(table).where(self._settled(table, selection))
        return settled.scalar_subquery() == 0

    def _settled(self, table: Table, selection: Selection) -> ColumnElement[bool]:
        """An outcome in `table` that takes its record out of the selection."""
        belongs = and_(
            table.c.source == self.name,
            table.c.fingerprint_id == selection.fingerprint_id,
            table.c.record_key == cast(self._key_column, Text),
        )
        by_this_run = table.c.run_id == selection.run_id
        if selection.rescore is Rescore.ALL:
            return and_(belongs, by_this_run)
        separated = self._image_uri.concat("\x1f").concat(self._caption)
        unchanged = table.c.input_md5 == cast(func.md5(separated), Uuid)
        if table.name == "score":
            return and_(belongs, unchanged)
        if selection.rescore is Rescore.REJECTED:
            return and_(belongs, unchanged, by_this_run)
        waits = or_(table.c.next_attempt_at.is_(None), table.c.next_attempt_at > selection.as_of)
        return and_(belongs, unchanged, waits)


def _reflect(engine: Engine, table: str) -> Table:
    schema, dot, name = table.partition(".")
    if not dot:
        raise SettingsInvalid(f"table {table!r} has no schema: write schema.name")
    with transaction(engine) as connection:
        try:
            return Table(name, MetaData(), schema=schema, autoload_with=connection)
        except NoSuchTableError as missing:
            raise SettingsInvalid(f"no table or view {table} in {engine.url.database}") from missing


def _ordered(column: ColumnElement[str]) -> ColumnElement[str]:
    """The key in an order that Python and PostgreSQL agree on."""
    if isinstance(column.type, Integer):
        return column
    if isinstance(column.type, UUID):
        return collate(cast(column, Text), "C")
    if isinstance(column.type, String):
        return collate(column, "C")
    raise SettingsInvalid(f"key column {column} is {column.type}; use bigint, text or uuid")
