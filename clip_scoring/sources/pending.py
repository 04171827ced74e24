"""The definition of pending, once, as conditions over whatever a source's records are in SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    TableClause,
    and_,
    column,
    func,
    not_,
    or_,
    select,
    table,
)

from clip_scoring.database.connection import transaction
from clip_scoring.runs import Rescore, Selection
from clip_scoring.shards import PlannedRange, successor
from clip_scoring.sources.keys import KeyColumn

_PLANNING_TIMEOUT = "30min"
_OF_BOTH = ("source", "fingerprint_id", "record_key", "input_md5")
_OUTCOMES = tuple(
    table(name, *map(column, (*_OF_BOTH, *own)), schema="clip")
    for name, own in (("score", ["scored_at"]), ("rejection", ["rejected_at", "next_attempt_at"]))
)


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """The columns of a source's records that decide which are pending."""

    rows: FromClause
    key: KeyColumn
    event_time: ColumnElement[Any]
    input_md5: ColumnElement[Any] | None
    """Changes with a record's input; None where a key never gets another input."""


class PendingRecords:
    """Counts, cuts and lists the pending records of one source."""

    def __init__(
        self, engine: Engine, source: str, columns: Callable[[Selection], RecordColumns]
    ) -> None:
        self._engine = engine
        self._source = source
        self._columns = columns

    def count(self, selection: Selection) -> int:
        """How many records of the selection are pending."""
        wide = selection.keys.start is None or selection.keys.stop is None
        columns = self._columns(selection)
        condition = self.condition(columns, selection, by_lookup=not wide)
        narrowed = select(func.count()).select_from(columns.rows).where(condition)
        with self._planning() as connection:
            return connection.execute(narrowed).scalar_one()

    def ranges(self, selection: Selection, size: int, limit: int | None) -> Iterator[PlannedRange]:
        """Cut the pending records into consecutive ranges of `size`, in one pass over the keys."""
        columns = self._columns(selection)
        key = columns.key
        ordinal = func.row_number().over(order_by=key.order) - 1
        numbered = (
            select(key.value.label("key"), ordinal.label("ordinal"))
            .select_from(columns.rows)
            .where(self.condition(columns, selection, by_lookup=False))
            .order_by(key.order)
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

    def condition(
        self, columns: RecordColumns, selection: Selection, *, by_lookup: bool
    ) -> ColumnElement[bool]:
        """True for pending records of the selection.

        By look-up, each record costs one look-up by primary key: for a batch or a shard of a large
        source. Otherwise by anti-join: for a pass over the whole source.
        """
        window, keys = selection.window, selection.keys
        conditions = [columns.event_time < window.stop]
        if window.start is not None:
            conditions.append(columns.event_time >= window.start)
        if keys.start is not None:
            conditions.append(columns.key.at_least(keys.start))
        if keys.stop is not None:
            conditions.append(columns.key.below(keys.stop))
        unsettled = _missing_by_lookup if by_lookup else _missing
        conditions += [
            unsettled(outcomes, _settled(outcomes, self._source, columns, selection))
            for outcomes in _OUTCOMES
        ]
        return and_(*conditions)

    @contextmanager
    def _planning(self) -> Iterator[Connection]:
        """A transaction for passes over many records.

        Fresh tables have no statistics, and without them the planner compares every record with
        every outcome; a hash join is right for any size.
        """
        with transaction(self._engine, statement_timeout=_PLANNING_TIMEOUT) as connection:
            connection.exec_driver_sql("SET LOCAL enable_nestloop = off")
            yield connection


def _settled(
    outcomes: TableClause, source: str, columns: RecordColumns, selection: Selection
) -> ColumnElement[bool]:
    """An outcome that takes its record out of the selection."""
    outcome = outcomes.c
    belongs = [
        outcome.source == source,
        outcome.fingerprint_id == selection.fingerprint_id,
        outcome.record_key == columns.key.text,
    ]
    is_score = "scored_at" in outcome
    since_planning = (outcome.scored_at if is_score else outcome.rejected_at) >= selection.as_of
    if selection.rescore is Rescore.ALL:
        return and_(*belongs, since_planning)
    if columns.input_md5 is not None:
        belongs.append(outcome.input_md5 == columns.input_md5)
    if is_score:
        return and_(*belongs)
    if selection.rescore is Rescore.REJECTED:
        return and_(*belongs, since_planning)
    waits = or_(outcome.next_attempt_at.is_(None), outcome.next_attempt_at > selection.as_of)
    return and_(*belongs, waits)


def _missing(outcomes: TableClause, settled: ColumnElement[bool]) -> ColumnElement[bool]:
    return not_(select(1).select_from(outcomes).where(settled).exists())


def _missing_by_lookup(outcomes: TableClause, settled: ColumnElement[bool]) -> ColumnElement[bool]:
    # A scalar subquery is never turned into a join, whatever the statistics say.
    return select(func.count()).select_from(outcomes).where(settled).scalar_subquery() == 0
