"""Rows as CSV text in the dialect of the file that they came from."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import BinaryIO

from clip_scoring.stores.csv_file import Dialect

_KEPT = 1000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class CsvWriter:
    """Writes rows to a stream; whoever reads them with this dialect gets the same cells.

    The last rows are in the stream after `flush`.
    """

    def __init__(self, stream: BinaryIO, dialect: Dialect, *, excel_safe: bool = False) -> None:
        """`excel_safe` puts an apostrophe before what a spreadsheet would take for a formula."""
        self._safe = excel_safe
        # It quotes a cell's line ends only where they are its own, so its own are both of them.
        self._lines = _Lines(stream, dialect.line_end)
        self._rows = csv.writer(self._lines, delimiter=dialect.delimiter, lineterminator="\r\n")
        if dialect.bom:
            stream.write("\ufeff".encode())

    def write_row(self, cells: Sequence[str]) -> None:
        """One row; bytes that are not UTF-8 are written as they were."""
        self._rows.writerow(without_formulas(cells) if self._safe else cells)

    def write_rows(self, rows: Iterable[Sequence[str]]) -> None:
        """Many of them."""
        self._rows.writerows(map(without_formulas, rows) if self._safe else rows)

    def flush(self) -> None:
        """Hand over to the stream what is still here."""
        self._lines.flush()


class _Lines:
    """Takes lines from csv.writer, and ends them as the file does."""

    def __init__(self, stream: BinaryIO, line_end: str) -> None:
        self._stream = stream
        self._end = line_end
        self._kept: list[str] = []

    def write(self, line: str) -> None:
        self._kept += line[:-2], self._end
        if len(self._kept) >= _KEPT:
            self.flush()

    def flush(self) -> None:
        self._stream.write("".join(self._kept).encode(errors="surrogateescape"))
        self._kept.clear()


def without_formulas(cells: Sequence[str]) -> list[str]:
    """The cells, with an apostrophe before those that begin like a formula and are no number."""
    return [
        f"'{each}" if each.startswith(_FORMULA) and not _is_number(each) else each for each in cells
    ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text == text.strip() and "_" not in text
