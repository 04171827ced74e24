"""CSV: one record a row, by column names; a broken record costs itself and nothing after it."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from clip_scoring.errors import ObjectUnreadable
from clip_scoring.stores.objects import Mark, ObjectStore, Row, StoredObject, Survey, one_line
from clip_scoring.stores.rows_json import LIMIT_BYTES, Line, read_lines, survey_text

_LIMIT_LINES = 1000
_NAME = re.compile("[^\x00\ud800-\udfff]{1,500}", re.DOTALL)
"""What can be the key of an outcome."""
# The limit belongs to the process, not to a reader. The default of 128 KiB would refuse fields
# long before the limit of a record does.
csv.field_size_limit(LIMIT_BYTES)


@dataclass(frozen=True, slots=True)
class CsvRows:
    """Rows of a CSV object in UTF-8 with a header; `image` and `caption` name its columns.

    Where `key` names a column too, each row has what stands there for a name.
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
        """Rows from number `first` on; a record that is no pair is a flawed row."""
        header = self._header(store, stored)
        for _, row in _found(store, stored, header, survey.nearest(first)):
            if row.number >= first:
                yield row

    def _header(self, store: ObjectStore, stored: StoredObject) -> _Header:
        lines = _Lines(read_lines(store, stored, Mark(0, 0)))
        try:
            record = next(_records(lines), None)
        finally:
            lines.close()
        if record is None:
            raise ObjectUnreadable(f"{stored.uri} is empty: a CSV file begins with a header")
        if record.flaw:
            raise ObjectUnreadable(f"{stored.uri}: the header: {record.flaw}")
        image, caption = (
            _place(record.fields, name, stored.uri) for name in (self.image, self.caption)
        )
        key = None if self.key is None else _place(record.fields, self.key, stored.uri)
        last = lines.taken[-1]
        body = Mark(0, last.stop, last.number + 1)
        return _Header(len(record.fields), image, caption, key, body)


@dataclass(frozen=True, slots=True)
class _Header:
    """Where the columns are, and where the first row may begin."""

    width: int
    image: int
    caption: int
    key: int | None
    body: Mark

    def row(self, number: int, record: _Record) -> Row:
        fields, flaw = record.fields, record.flaw
        if not flaw and len(fields) != self.width:
            flaw = f"{len(fields)} fields, header has {self.width}"
        if flaw:
            return Row.flawed(number, f"line {record.first.number}: {flaw}")
        name = None if self.key is None else fields[self.key]
        if name is not None and not _NAME.fullmatch(name):
            return Row.flawed(number, f"line {record.first.number}: {name!r} is no id")
        return Row(number, fields[self.image], fields[self.caption], name=name)


@dataclass(frozen=True, slots=True)
class _Record:
    first: Line
    fields: list[str]
    flaw: str = ""


class _OverLimit(Exception):
    """The record is longer than one may be, most likely for a quote that nobody closed."""


class _Lines(Iterator[str]):
    """Lines as csv.reader takes them; those of the current record can be given back."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._given_back: deque[Line] = deque()
        self.begin_record()

    def begin_record(self) -> None:
        self.taken: list[Line] = []
        self.flaw = ""
        self._size = 0

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else next(self._lines)
        self.taken.append(line)
        content = line.content
        self._size += line.stop - line.start
        if content is None or self._size > LIMIT_BYTES:
            raise _OverLimit(f"over {LIMIT_BYTES} bytes")
        if len(self.taken) > _LIMIT_LINES:
            raise _OverLimit(f"over {_LIMIT_LINES} lines: does a quote never close?")
        try:
            return content.decode()
        except UnicodeDecodeError as broken:
            self.flaw = str(broken)
            return content.decode(errors="replace")

    def give_back(self) -> None:
        """All lines of the current record but its first come again."""
        self._given_back.extendleft(reversed(self.taken[1:]))

    def close(self) -> None:
        self._lines.close()  # type: ignore[attr-defined]  # a generator


def _found(
    store: ObjectStore, stored: StoredObject, header: _Header, mark: Mark
) -> Iterator[tuple[Mark, Row]]:
    number = mark.row
    for record in _records(_Lines(read_lines(store, stored, mark))):
        start = Mark(number, record.first.start, record.first.number)
        yield start, header.row(number, record)
        number += 1


def _records(lines: _Lines) -> Iterator[_Record]:
    """All records but blank lines, each depending on nothing that stands before it.

    A record with broken quotes is its first line, and reading goes on at the second: a quote that
    is never closed must not swallow the records after it.
    """
    reader = csv.reader(lines, strict=True)
    while True:
        lines.begin_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except (csv.Error, _OverLimit) as broken:
            lines.give_back()
            yield _Record(lines.taken[0], [], str(broken))
        else:
            if fields:
                yield _Record(lines.taken[0], fields, lines.flaw)


def _place(columns: list[str], name: str, uri: str) -> int:
    match columns.count(name):
        case 1:
            return columns.index(name)
        case 0:
            known = one_line(", ".join(map(repr, columns)))
            raise ObjectUnreadable(f"{uri} has no column {name!r}, only {known}")
        case times:
            raise ObjectUnreadable(f"{uri} has {times} columns {name!r}: rename all but one")
