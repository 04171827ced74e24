"""A CSV file of a user's own: its dialect found out, its rows read as often as they are needed.

Registered sources read theirs by `sources/rows_csv.py`.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from clip_scoring.display import one_line, redacted_cell
from clip_scoring.errors import ObjectChanged, ObjectUnreadable, SettingsInvalid
from clip_scoring.sources.csv_records import CsvLines, CsvRecord, csv_records
from clip_scoring.sources.lines import LIMIT_BYTES, lines_of
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.stored_objects import Mark, StoredObject

DELIMITERS = (",", "\t", ";", "|")
_BLOCK = 256 * 1024
_LINE = re.compile("[^\n]*\n")
_GZIP = b"\x1f\x8b"
_OTHERS = {b"PK\x03\x04": "an Excel workbook or another zip file", b"PAR1": "Parquet"}
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


class CsvRow(NamedTuple):
    """One row; `parse_error` says why it has not one cell for each column."""

    line: int
    """Where it begins in the file, from 1."""
    cells: Sequence[str]
    parse_error: str = ""
    text: str = ""
    """As it stands in the file, without its line end; empty where only the cells are known."""


_row: Callable[[tuple[int, list[str], str, str]], CsvRow] = partial(tuple.__new__, CsvRow)
"""CsvRow() in half the time: there are millions of rows."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the file writes rows down."""

    delimiter: str
    line_end: str
    bom: bool
    has_header: bool


@dataclass(frozen=True, slots=True)
class CsvFile:
    """The file as it was when it was opened; reading it again raises ObjectUnreadable otherwise."""

    path: Path
    stored: StoredObject
    dialect: Dialect
    columns: Sequence[str]
    """The header's cells; numbers from 1 where there is no header."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        wanted: Sequence[str] = (),
        delimiter: str | None = None,
        has_header: bool = True,
    ) -> CsvFile:
        """Hash the file and read its first record.

        Without a `delimiter` it is the one that parts the `wanted` columns, or the most cells.
        Raises ObjectUnreadable, and SettingsInvalid where a wanted column is not there just once.
        """
        stored = LocalFiles(path).stored()
        start = _start(path, stored)
        choices = [delimiter] if delimiter else [*DELIMITERS]
        firsts = [(choice, _first(path, stored, choice)) for choice in choices]
        chosen, first = max(firsts, key=lambda choice: _fit(choice[1], wanted, has_header))
        if first.parse_error and has_header:
            raise ObjectUnreadable(f"{path}: the header: {first.parse_error}")
        columns = first.cells if has_header else [str(n + 1) for n in range(len(first.cells))]
        line_end = "\r\n" if (first.first.content or b"").endswith(b"\r\n") else "\n"
        dialect = Dialect(chosen, line_end, start.startswith(BOM_UTF8), has_header)
        opened = cls(path, stored, dialect, tuple(columns))
        for name in wanted:
            opened.column_index(name)
        return opened

    def column_index(self, column: str) -> int:
        """The index of a column; raises SettingsInvalid unless it is there just once."""
        times = list(self.columns).count(column)
        if times == 1:
            return self.columns.index(column)
        known = one_line(", ".join(repr(redacted_cell(name)) for name in self.columns))
        if times:
            raise SettingsInvalid(f"{self.path} has {times} columns {column!r}: rename all but one")
        raise SettingsInvalid(f"{self.path} has no column {column!r}, only {known}")

    def rows(self) -> CsvReading:
        """All rows, from the first one."""
        return CsvReading(self)


class CsvReading:
    """One pass over the rows."""

    def __init__(self, file: CsvFile) -> None:
        self._file = file
        try:
            self._raw = LocalFiles(file.path).open(file.stored)
        except ObjectChanged as changed:
            raise _changed(file) from changed
        self._rows = self._read()

    def __iter__(self) -> Iterator[CsvRow]:
        return self._rows

    @property
    def share(self) -> float:
        """Of the file's bytes, how many have been read, from 0 to 1."""
        return self._raw.tell() / max(self._file.stored.size, 1) if not self._raw.closed else 1.0

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        self._rows.close()
        self._raw.close()

    def _read(self) -> Generator[CsvRow]:
        rows = self._found()
        try:
            if self._file.dialect.has_header:
                next(rows)
            yield from rows
        except ObjectChanged as changed:
            raise _changed(self._file) from changed
        except _DAMAGED as damaged:
            raise ObjectUnreadable(
                f"{self._file.path}: the gzip file is damaged: {damaged}"
            ) from damaged

    def _found(self) -> Iterator[CsvRow]:
        """All records: by csv.reader's own loop until one is broken, then line by line."""
        file, width, line = self._file, len(self._file.columns), 1
        kept: list[str] = []
        kept_from = 1

        def blocks() -> Iterator[list[str]]:
            """The file's lines; kept are those of a record that is not whole yet, and the last."""
            nonlocal kept_from
            for block in _whole_lines(_plain(self._raw)):
                del kept[: line - kept_from]
                kept.extend(block)
                kept_from = line
                yield block

        reader = csv.reader(
            chain.from_iterable(blocks()), delimiter=file.dialect.delimiter, strict=True
        )
        try:
            for cells in reader:
                first, line = line, reader.line_num + 1
                if len(cells) == width:
                    at = first - kept_from
                    text = "".join(kept[at : line - kept_from]) if line - first > 1 else kept[at]
                    yield _row((first, cells, "", text.rstrip("\r\n")))
                elif cells:
                    yield CsvRow(first, cells, _ragged(first, len(cells), width))
        except (csv.Error, _LineOverLimit):
            self._raw.seek(0)
            plain = _plain(self._raw)
            byte = sum(len(plain.readline()) for _ in range(line - 1))
            lines = CsvLines(lines_of(plain, str(file.path), Mark(0, byte, line)))
            for record in csv_records(lines, file.dialect.delimiter):
                parse_error = _parse_error(record, width, file.path)
                yield CsvRow(record.first.number, record.cells, parse_error)


def _changed(file: CsvFile) -> ObjectUnreadable:
    return ObjectUnreadable(f"{file.path} was changed while it was read")


def _parse_error(record: CsvRecord, width: int, path: Path) -> str:
    if record.first.content is None:
        # Its cells cannot be kept, and a row without its cells would be a lost one.
        raise ObjectUnreadable(f"{path}: line {record.first.number}: {record.parse_error}")
    if record.parse_error:
        return f"line {record.first.number}: {record.parse_error}"
    if len(record.cells) != width:
        return _ragged(record.first.number, len(record.cells), width)
    return ""


def _ragged(line: int, cells: int, width: int) -> str:
    return f"line {line}: {cells} cells, header has {width}"


class _LineOverLimit(Exception):
    """A line that is too long to be held in memory with others."""


def _whole_lines(plain: BinaryIO) -> Iterator[list[str]]:
    """The lines of a text, many at a time, without its BOM."""
    tail, start = b"", True
    while block := plain.read(_BLOCK):
        content = tail + block
        cut = content.rfind(b"\n") + 1
        text, tail = content[:cut], content[cut:]
        if len(tail) > LIMIT_BYTES:
            raise _LineOverLimit
        if start and cut:
            text, start = text.removeprefix(BOM_UTF8), False
        yield _LINE.findall(text.decode(errors="surrogateescape"))
    if tail:
        yield [(tail.removeprefix(BOM_UTF8) if start else tail).decode(errors="surrogateescape")]


def _start(path: Path, stored: StoredObject) -> bytes:
    """The first bytes; raises ObjectUnreadable unless they are text."""
    try:
        with LocalFiles(path).open(stored) as raw:
            start = _plain(raw).read(4096)
    except _DAMAGED as damaged:
        raise ObjectUnreadable(f"{path}: the gzip file is damaged: {damaged}") from damaged
    for magic, name in _OTHERS.items():
        if start.startswith(magic):
            raise ObjectUnreadable(f"{path} is {name}: save it as CSV in UTF-8")
    if not start.removeprefix(BOM_UTF8).strip():
        raise ObjectUnreadable(f"{path} is empty: a CSV file begins with a header")
    if b"\r" in start and b"\n" not in start:
        raise ObjectUnreadable(f"{path}: lines end in CR alone: save it with LF or CRLF")
    return start


def _plain(raw: BinaryIO) -> BinaryIO:
    """The file's content, unpacked where it is gzip, whatever its name says."""
    packed = raw.read(2) == _GZIP
    raw.seek(0)
    return gzip.open(raw) if packed else raw  # type: ignore[return-value]  # it reads like one


def _first(path: Path, stored: StoredObject, delimiter: str) -> CsvRecord:
    with (
        LocalFiles(path).open(stored) as raw,
        closing(lines_of(_plain(raw), str(path), Mark(0, 0))) as lines,
    ):
        first = next(csv_records(CsvLines(lines), delimiter), None)
    if first is None:
        raise ObjectUnreadable(f"{path} is empty: a CSV file begins with a header")
    return first


def _fit(first: CsvRecord, wanted: Sequence[str], has_header: bool) -> tuple[int, int]:
    """How well a delimiter suits the first record; of equals the first one is taken."""
    named = sum(column in first.cells for column in set(wanted)) if has_header else 0
    return named, len(first.cells)
