"""Records in files, wherever they lie: the manifest gives them keys, a row format reads them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import (
    BigInteger,
    Engine,
    Text,
    and_,
    cast,
    column,
    func,
    or_,
    select,
    table,
    true,
)

from clip_scoring.database.connection import transaction
from clip_scoring.errors import ObjectUnreadable
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Record
from clip_scoring.runs import Selection, Window
from clip_scoring.shards import KeyRange, PlannedRange
from clip_scoring.sources.keys import KeyColumn
from clip_scoring.sources.manifest import ListedObject, Manifest
from clip_scoring.sources.pending import PendingRecords, RecordColumns
from clip_scoring.sources.stored_objects import ObjectStore, Row, RowFormat

log = logging.getLogger(__name__)

_OBJECTS = table(
    "object",
    *map(column, ("id", "source", "event_time", "first_key", "rows", "listed_at", "retired_at")),
    schema="clip",
)
_OBJECT_ROWS = table(
    "object_row", *map(column, ("object_id", "key", "record_key", "input_md5")), schema="clip"
)
_FEWEST_KEYS = 1000
"""Keys looked through at once for a batch, at least; doubled while few of them are pending."""


class FileSource:
    """Source over files of one format in one place."""

    def __init__(self, engine: Engine, name: str, store: ObjectStore, rows: RowFormat) -> None:
        self.name = name
        self._engine = engine
        self._store = store
        self._format = rows
        self._manifest = Manifest(engine, name, layout=repr(rows))
        self._pending = PendingRecords(engine, name, self._columns)
        self._reading: _Reading | None = None

    def refresh(self, window: Window) -> None:
        """List the files of the window and give keys to the rows of those that are new.

        Raises ObjectUnreadable, naming the file and the reason, when one cannot be parsed.
        """
        stored_now = list(self._store.list_objects(window))
        for stored in self._manifest.unknown(stored_now):
            survey = self._format.survey(self._store, stored)
            named = self._format.names_rows
            rows = self._format.rows(self._store, stored, survey, 0) if named else ()
            self._manifest.add(stored, survey, rows)
            log.info("source %s: %s has %d rows", self.name, stored.shown, survey.rows)
        self._manifest.reconcile(window, stored_now)

    def count_pending(self, selection: Selection) -> int:
        """How many records of the selection are pending."""
        return self._pending.count(selection)

    def ranges(self, selection: Selection, size: int, limit: int | None) -> Iterator[PlannedRange]:
        """Cut the pending records into consecutive ranges of `size`, in one pass over the keys."""
        return self._pending.ranges(selection, size, limit)

    def read_pending(self, selection: Selection, limit: int) -> list[Record]:
        """The first `limit` pending records of the selection in key order.

        Raises ObjectChanged when a file is not the one that was planned any more.
        """
        keys = self._pending_keys(selection, limit)
        if not keys:
            return []
        files = self._manifest.of_keys(keys[0], keys[-1] + 1)
        names = self._manifest.names(keys) if self._format.names_rows else {}
        return [
            replace(record, name=names.get(int(record.key)))
            for file in files
            if (inside := [key for key in keys if file.first_key <= key < file.stop_key])
            for record in self._records(file, inside)
        ]

    def find(self, record_keys: Sequence[str], *, longest: int) -> Mapping[str, Record]:
        """The records of these names as they are now, without those that are gone.

        Each is looked up in its file: slow for many. Raises ObjectUnreadable.
        """
        names = self._manifest.keys(record_keys, named=self._format.names_rows)
        return {
            names[key]: replace(
                record, name=names[key], image_uri=record.image_uri[:longest],
                caption=record.caption[:longest],
            )
            for key in names
            for file in self._manifest.of_keys(key, key + 1)
            for record in self._records(file, [key])
        }  # fmt: skip

    def drain_metrics(self) -> StageMetrics:
        """Counts of bytes and retries since the last call."""
        return self._store.drain_metrics()

    def _pending_keys(self, selection: Selection, limit: int) -> list[int]:
        """Looks through a bounded stretch of keys at a time, however few of them are pending."""
        keys: list[int] = []
        at, stop = int(selection.keys.start or 1), int(selection.keys.stop or 0)
        width = max(_FEWEST_KEYS, 4 * limit)
        while at < stop and len(keys) < limit:
            part = replace(selection, keys=KeyRange(at, min(at + width, stop)))
            keys += self._keys_of(part, limit - len(keys))
            at, width = at + width, 2 * width
        return keys

    def _keys_of(self, selection: Selection, limit: int) -> Sequence[int]:
        columns = self._columns(selection)
        pending = self._pending.condition(columns, selection, by_lookup=True)
        wanted = (
            select(columns.key.value)
            .select_from(columns.rows)
            .where(pending)
            .order_by(columns.key.order)
            .limit(limit)
        )
        with transaction(self._engine) as connection:
            return connection.execute(wanted).scalars().all()

    def _records(self, file: ListedObject, keys: Sequence[int]) -> Iterator[Record]:
        """The records of these keys of one file; the next batch reads on where this one ended."""
        numbers = [key - file.first_key for key in keys]
        reading, self._reading = self._reading, None
        if reading is None or not reading.leads_to(file, numbers[0]):
            rows = self._format.rows(self._store, file.stored, file.survey, numbers[0])
            reading = _Reading(file, rows, numbers[0])
        for row in reading.take(numbers):
            key = file.first_key + row.number
            yield Record(key, row.image_uri, row.caption, row.image, row.parse_error)
        self._reading = reading

    def _columns(self, selection: Selection) -> RecordColumns:
        """A row for each record of the manifest as it was when the run was planned."""
        files, keys = _OBJECTS.c, selection.keys
        first = (
            files.first_key if keys.start is None else func.greatest(files.first_key, keys.start)
        )
        stop = files.first_key + files.rows
        if keys.stop is not None:
            stop = func.least(stop, keys.stop)
        numbered = (
            func.generate_series(first, stop - 1)
            .table_valued(column("key", BigInteger), name="numbered")
            .render_derived()
            .lateral()
        )
        there = and_(
            files.source == self.name,
            files.listed_at <= selection.as_of,
            or_(files.retired_at.is_(None), files.retired_at > selection.as_of),
        )
        listed = (
            select(files.id, numbered.c.key, files.event_time)
            .select_from(_OBJECTS.join(numbered, true()))
            .where(there)
            .subquery("record")
        )
        columns = listed.c
        if not self._format.names_rows:
            key = KeyColumn(columns.key, columns.key, cast(columns.key, Text))
            return RecordColumns(listed, key, columns.event_time, input_md5=None)
        row = _OBJECT_ROWS.c
        named = listed.join(_OBJECT_ROWS, and_(row.object_id == columns.id, row.key == columns.key))
        key = KeyColumn(columns.key, columns.key, row.record_key)
        return RecordColumns(named, key, columns.event_time, row.input_md5)


@dataclass
class _Reading:
    """Rows of one file, read as far as `next_number`."""

    file: ListedObject
    rows: Iterator[Row]
    next_number: int

    def leads_to(self, file: ListedObject, number: int) -> bool:
        """Whether reading on is the shortest way to that row."""
        ahead = self.file == file and self.next_number <= number
        return ahead and file.survey.nearest(number).row <= self.next_number

    def take(self, numbers: Sequence[int]) -> Iterator[Row]:
        """The rows of these numbers, which ascend; raises ObjectUnreadable when one is missing."""
        for number in numbers:
            row = next((candidate for candidate in self.rows if candidate.number == number), None)
            if row is None:
                raise ObjectUnreadable(
                    f"{self.file.stored.shown} ends before row {number} of {self.file.survey.rows}"
                )
            self.next_number = number + 1
            yield row
