"""CSV text as records: what is broken costs its own line and nothing after it.

`files/reader.py` reads good files by a faster loop of its own, with the same rules of quoting.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from clip_scoring.sources.lines import LIMIT_BYTES, Line

# The limit belongs to the process, not to a reader. The default of 128 KiB would refuse fields
# long before the limit of a record does. A limit that a program set higher stays.
csv.field_size_limit(max(csv.field_size_limit(), LIMIT_BYTES))


@dataclass(frozen=True, slots=True)
class CsvRecord:
    """The cells of one record, and the line that it begins on; blank lines are no records.

    Bytes that are not UTF-8 stand in the cells as lone surrogates (PEP 383), so that they can be
    written as they were.
    """

    first: Line
    cells: list[str]
    parse_error: str = ""
    """Why this is no record; the cells are then a guess at what its first line holds."""


class CsvLines(Iterator[str]):
    """Lines as csv.reader takes them; those of the current record can be given back."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._given_back: deque[Line] = deque()
        self.begin_record()

    def begin_record(self) -> None:
        """Start another record with the next line."""
        self.taken: list[Line] = []
        self._size = 0

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else next(self._lines)
        self.taken.append(line)
        self._size += line.stop - line.start
        if line.content is None:
            raise _OverLimit(f"over {LIMIT_BYTES} bytes")
        if self._size > LIMIT_BYTES:
            raise _OverLimit(f"over {LIMIT_BYTES} bytes: does a quote never close?")
        return line.content.decode(errors="surrogateescape")

    def give_back(self) -> None:
        """All lines of the current record but its first come again."""
        self._given_back.extendleft(reversed(self.taken[1:]))


class _OverLimit(Exception):
    """The record is longer than one may be."""


def csv_records(lines: CsvLines, delimiter: str = ",") -> Iterator[CsvRecord]:
    """All records, each depending on nothing that stands before it.

    A record with broken quotes is its first line, and reading goes on at the second: a quote that
    is never closed must not swallow the records after it.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _OverLimit) as broken:
            lines.give_back()
            first = lines.taken[0]
            yield CsvRecord(first, _guessed(first, delimiter), str(broken))
        else:
            if cells:
                yield CsvRecord(lines.taken[0], cells)


def _guessed(line: Line, delimiter: str) -> list[str]:
    if line.content is None:
        return []
    text = line.content.decode(errors="surrogateescape").rstrip("\r\n")
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error:
        return [text]
