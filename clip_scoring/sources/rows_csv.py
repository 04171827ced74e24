"""CSV: one record a row, by column names; a broken record costs itself and nothing after it.

For registered sources; `files/reader.py` reads what `clip-scoring score` is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import ClassVar

from clip_scoring.display import one_line, redacted_cell
from clip_scoring.errors import ObjectUnreadable
from clip_scoring.sources.csv_records import CsvLines, CsvRecord, csv_records
from clip_scoring.sources.lines import read_lines, survey_text
from clip_scoring.sources.stored_objects import Mark, ObjectStore, Row, StoredObject, Survey

_FOREIGN = re.compile("[\udc80-\udcff]")
"""Bytes that are not UTF-8."""
_NAME = re.compile("[^\x00\ud800-\udfff]{1,500}", re.DOTALL)
"""Text that can be the key of an outcome."""


@dataclass(frozen=True, slots=True)
class CsvRows:
    """Rows of a CSV object in UTF-8 with a header; `image` and `caption` name its columns.

    Where `key` names a column too, each row has what stands there for a name. All fields are part
    of the version of each file in the manifest: a new one makes every file a new one.
    """

    image: str
    caption: str
    key: str | None = None
    suffixes: ClassVar[tuple[str, ...]] = (".csv",)

    @property
    def names_rows(self) -> bool:
        """True with a column of ids."""
        return self.key is not None

    def survey(self, store: ObjectStore, stored: StoredObject) -> Survey:
        """Count the rows; raises ObjectUnreadable on a wrong header and when no row is a pair."""
        header = self._header(store, stored)
        return survey_text(_found(store, stored, header, header.body), stored, header.body)

    def rows(
        self, store: ObjectStore, stored: StoredObject, survey: Survey, first: int
    ) -> Iterator[Row]:
        """Rows from number `first` on; a record that is not a pair is a row with a parse error."""
        header = self._header(store, stored)
        for _, row in _found(store, stored, header, survey.nearest(first)):
            if row.number >= first:
                yield row

    def _header(self, store: ObjectStore, stored: StoredObject) -> _Header:
        with closing(read_lines(store, stored, Mark(0, 0))) as read:
            lines = CsvLines(read)
            record = next(csv_records(lines), None)
        if record is None:
            raise ObjectUnreadable(f"{stored.shown} is empty: a CSV file begins with a header")
        parse_error = record.parse_error or (
            "not UTF-8" if any(map(_FOREIGN.search, record.cells)) else ""
        )
        if parse_error:
            raise ObjectUnreadable(f"{stored.shown}: the header: {parse_error}")
        image, caption = (
            _place(record.cells, name, stored.shown) for name in (self.image, self.caption)
        )
        key = None if self.key is None else _place(record.cells, self.key, stored.shown)
        last = lines.taken[-1]
        body = Mark(0, last.stop, last.number + 1)
        return _Header(len(record.cells), image, caption, key, body)


@dataclass(frozen=True, slots=True)
class _Header:
    """Where the columns are, and where the first row may begin."""

    width: int
    image: int
    caption: int
    key: int | None
    body: Mark

    def row(self, number: int, record: CsvRecord) -> Row:
        fields, parse_error = record.cells, record.parse_error
        if not parse_error and len(fields) != self.width:
            parse_error = f"{len(fields)} fields, header has {self.width}"
        if parse_error:
            return Row.unparsable(number, f"line {record.first.number}: {parse_error}")
        pair = fields[self.image], fields[self.caption]
        name = None if self.key is None else fields[self.key]
        if any(_FOREIGN.search(cell) for cell in (*pair, name or "")):
            return Row.unparsable(number, f"line {record.first.number}: not UTF-8")
        if name is not None and not _NAME.fullmatch(name):
            return Row.unparsable(
                number, f"line {record.first.number}: {redacted_cell(name)!r} is not an id"
            )
        return Row(number, *pair, name=name)


def _found(
    store: ObjectStore, stored: StoredObject, header: _Header, mark: Mark
) -> Iterator[tuple[Mark, Row]]:
    number = mark.row
    for record in csv_records(CsvLines(read_lines(store, stored, mark))):
        start = Mark(number, record.first.start, record.first.number)
        yield start, header.row(number, record)
        number += 1


def _place(columns: list[str], name: str, uri: str) -> int:
    match columns.count(name):
        case 1:
            return columns.index(name)
        case 0:
            known = one_line(", ".join(repr(redacted_cell(column)) for column in columns))
            raise ObjectUnreadable(f"{uri} has no column {name!r}, only {known}")
        case times:
            raise ObjectUnreadable(f"{uri} has {times} columns {name!r}: rename all but one")
