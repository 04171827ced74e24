"""Rows as CSV text in the dialect of the file that they came from."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import BinaryIO

from clip_scoring.files.reader import Dialect

_END = "\r\n"
"""csv.writer quotes a cell's line ends only where they are its own, so its own are both of them."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class CsvWriter:
    """Writes rows to a stream; whoever reads them with this dialect gets the same cells."""

    def __init__(self, stream: BinaryIO, dialect: Dialect, *, excel_safe: bool = False) -> None:
        """`excel_safe` puts an apostrophe before what a spreadsheet would take for a formula."""
        self._stream, self._dialect, self._safe = stream, dialect, excel_safe
        if dialect.bom:
            stream.write("\ufeff".encode())

    def write_row(self, cells: Sequence[str]) -> None:
        """One row; bytes that are not UTF-8 are written as they were."""
        self.write(self.text([cells]))

    def write(self, text: str) -> None:
        """Whole rows as text."""
        self._stream.write(text.encode(errors="surrogateescape"))

    def text(self, rows: Sequence[Sequence[str]]) -> str:
        """The rows, each with its line end."""
        safe = [without_formulas(row) for row in rows] if self._safe else rows
        text, end = self._quoted(safe), self._dialect.line_end
        if end == _END:
            return text
        if text.count(_END) == len(safe):
            return text.replace(_END, end)
        return "".join(self._quoted([cell]).removesuffix(_END) + end for cell in safe)

    def _quoted(self, rows: Sequence[Sequence[str]]) -> str:
        text = StringIO()
        delimiter = self._dialect.delimiter
        csv.writer(text, delimiter=delimiter, lineterminator=_END).writerows(rows)
        return text.getvalue()


def without_formulas(cells: Sequence[str]) -> list[str]:
    """The cells, with an apostrophe before those that begin like a formula and are no number."""
    return [
        f"'{cell}" if cell.startswith(_FORMULA) and not _is_number(cell) else cell for cell in cells
    ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and text == text.strip() and "_" not in text
