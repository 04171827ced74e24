"""The output: every row of the input as it was, and what became of its pair behind it."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from clip_scoring.display import one_line
from clip_scoring.errors import SettingsInvalid
from clip_scoring.files.csv_writer import CsvWriter
from clip_scoring.files.reader import DELIMITERS, CsvRow, Dialect
from clip_scoring.filesystem import unfinished
from clip_scoring.records import Outcome, Rejection, Score
from clip_scoring.similarity import clip_score, similarity_01

COLUMNS = (
    "similarity", "clip_score", "similarity_01", "caption_truncated", "rejection",
    "rejection_detail",
)  # fmt: skip
_TRUNCATED = ("false", "true")
SURPLUS = "surplus_cells"
"""Where JSON Lines and Parquet keep what a row has more than the header."""
_ROWS_AT_ONCE, _ROW_GROUP = 250, 1_000
"""Of CSV so few that they are still in the processor's cache when they are written."""
Values = tuple[np.float32 | None, np.float32 | None, np.float32 | None, bool | None, str, str]
Row = tuple[CsvRow, Outcome]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows are written: the input's columns and dialect, what ours are called."""

    columns: Sequence[str]
    dialect: Dialect
    prefix: str = ""
    """Stands before the names of our columns."""
    excel_safe: bool = False
    """Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    about: str = ""
    """The fingerprint, where the format has a place for it."""

    @property
    def ours(self) -> list[str]:
        """The names of our columns."""
        return [self.prefix + column for column in COLUMNS]


class Format(Protocol):
    """Writes the rows to a stream; the same rows give the same bytes."""

    def __call__(self, stream: BinaryIO, rows: Iterable[Row], layout: Layout) -> None: ...


def format_of(path: Path) -> Format:
    """By the suffixes of the name; raises SettingsInvalid."""
    name = path.name.lower()
    for suffix, writes in _FORMATS.items():
        if name.endswith(suffix):
            return writes
    raise SettingsInvalid(f"output {path}: the name ends in one of {', '.join(_FORMATS)}")


def require_place(path: Path, layout: Layout) -> None:
    """Raise SettingsInvalid where the output cannot be written to, or columns would be lost."""
    if path.exists() and not path.is_file():
        raise SettingsInvalid(f"output {path} is not a regular file")
    if not path.parent.is_dir():
        raise SettingsInvalid(f"output {path}: no such folder")
    if taken := sorted(set(layout.ours) & set(layout.columns)):
        raise SettingsInvalid(
            f"the input has a column {taken[0]!r} already: give ours a --column-prefix"
        )


def require_apart(read: Path, *written: Path) -> None:
    """Raise SettingsInvalid where writing one of these files would destroy another one."""
    taken = {os.path.realpath(read): "the input"}
    for path in written:
        for file in (path, unfinished(path)):
            if owner := taken.get(os.path.realpath(file)):
                raise SettingsInvalid(f"{file} would be written over {owner}: name another file")
            taken[os.path.realpath(file)] = str(path)


def values_of(outcome: Outcome) -> Values:
    """The values of our columns for an outcome; numbers are rounded to float32 once."""
    if isinstance(outcome, Rejection):
        return None, None, None, None, str(outcome.reason), one_line(outcome.detail)
    cosine = outcome.similarity
    return (
        np.float32(cosine),
        np.float32(clip_score(cosine)),
        np.float32(similarity_01(cosine)),
        outcome.caption_truncated,
        "",
        "",
    )


def write_csv(stream: BinaryIO, rows: Iterable[Row], layout: Layout) -> None:
    """CSV in the input's dialect: a row's text as it was, ours behind it.

    What a row has more than the header stands at its end.
    """
    writer = CsvWriter(stream, layout.dialect, excel_safe=layout.excel_safe)
    if layout.dialect.has_header:
        writer.write_row([*layout.columns, *layout.ours])
    # With other delimiters our numbers need quotes, and a safe cell is not as it was.
    quotes_all = layout.excel_safe or layout.dialect.delimiter not in DELIMITERS
    lines = _quoted_lines if quotes_all else _lines
    source = iter(rows)
    if not layout.dialect.has_header:
        source = chain(map(_without_mark, islice(source, 1)), source)
    while group := list(islice(source, _ROWS_AT_ONCE)):
        writer.write(lines(group, writer, layout))


def _lines(group: Sequence[Row], writer: CsvWriter, layout: Layout) -> str:
    """Rows as they stand in the file, with ours behind; only what may need quotes is quoted."""
    delimiter, end, width = layout.dialect.delimiter, layout.dialect.line_end, len(layout.columns)
    endings = [f"{delimiter}{truncated}{delimiter}{delimiter}{end}" for truncated in _TRUNCATED]
    numbers = _numbers([outcome for _, outcome in group])
    lines = []
    for row, outcome in group:
        if row.text and isinstance(outcome, Score):
            ours = delimiter.join(next(numbers)) + endings[outcome.caption_truncated]
            lines.append(f"{row.text}{delimiter}{ours}")
        elif row.text:
            lines.append(f"{row.text}{delimiter}{writer.text([_ours(outcome, numbers)])}")
        else:
            lines.append(writer.text([_joined(row.cells, _ours(outcome, numbers), width)]))
    return "".join(lines)


def _quoted_lines(group: Sequence[Row], writer: CsvWriter, layout: Layout) -> str:
    """Rows whose cells and ours are all quoted anew."""
    width = len(layout.columns)
    numbers = _numbers([outcome for _, outcome in group])
    return writer.text(
        [_joined(row.cells, _ours(outcome, numbers), width) for row, outcome in group]
    )


def _without_mark(row_and_outcome: Row) -> Row:
    """At the start of a file a cell that begins with a byte order mark has to be quoted."""
    row, outcome = row_and_outcome
    return (row._replace(text="") if row.text.startswith("\ufeff") else row), outcome


def _joined(cells: Sequence[str], ours: Sequence[str], width: int) -> Sequence[str]:
    padding = [""] * (width - len(cells))
    return [*cells[:width], *padding, *ours, *cells[width:]]


def write_tsv(stream: BinaryIO, rows: Iterable[Row], layout: Layout) -> None:
    """The same, parted by tabs whatever the input is."""
    if layout.dialect.delimiter != "\t":
        rows = ((row._replace(text=""), outcome) for row, outcome in rows)
    tabs = replace(layout.dialect, delimiter="\t")
    write_csv(stream, rows, replace(layout, dialect=tabs))


def write_jsonl(stream: BinaryIO, rows: Iterable[Row], layout: Layout) -> None:
    """One object a line: the input's cells as text, ours as numbers, booleans and null."""
    width = len(layout.columns)
    *names, surplus = _unique([*layout.columns, *layout.ours, SURPLUS])
    for row, outcome in rows:
        cells = row.cells
        padding = [None] * (width - len(cells))
        ours = map(_native, values_of(outcome))
        tree = dict(zip(names, [*cells[:width], *padding, *ours], strict=True))
        more = {surplus: list(cells[width:])} if len(cells) > width else {}
        line = json.dumps({**tree, **more}, ensure_ascii=False)
        stream.write(line.encode(errors="backslashreplace") + b"\n")


def write_parquet(stream: BinaryIO, rows: Iterable[Row], layout: Layout) -> None:
    """Row groups of 1,000 rows; bytes that are not UTF-8 are written as `\\xff`."""
    import pyarrow as pa  # noqa: PLC0415  # heavy, and only this needs it
    from pyarrow import parquet  # noqa: PLC0415  # as above

    width = len(layout.columns)
    names = _unique([*layout.columns, *layout.ours, SURPLUS])
    kinds = [pa.string()] * width + [pa.float32()] * 3 + [pa.bool_(), pa.string(), pa.string()]
    fields = list(zip(names, [*kinds, pa.list_(pa.string())], strict=True))
    schema = pa.schema(fields, metadata={"clip_scoring.fingerprint": layout.about})
    source = iter(rows)
    with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
        while group := list(islice(source, _ROW_GROUP)):
            table = [_flat(row.cells, width, outcome) for row, outcome in group]
            columns = [
                pa.array(column, kind)
                for column, (_, kind) in zip(zip(*table, strict=True), fields, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _flat(cells: Sequence[str], width: int, outcome: Outcome) -> list[object]:
    bodies = (cell.encode(errors="surrogateescape") for cell in cells)
    shown = [body.decode(errors="backslashreplace") for body in bodies]
    padding = [None] * (width - len(cells))
    return [
        *shown[:width], *padding, *map(_native, values_of(outcome)), shown[width:] or None,
    ]  # fmt: skip


def _native(value: object) -> object:
    """The shortest number that means this float32, and None for what there is not."""
    if isinstance(value, np.float32):
        return float(str(value))
    return None if value == "" else value


def _unique(columns: Sequence[str]) -> list[str]:
    """Names for formats that need each to be there once."""
    names_taken: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for number, column in enumerate(columns, 1):
        name = stem = column.encode(errors="backslashreplace").decode() or f"column_{number}"
        again = numbers.get(stem, 2)
        while name in names_taken:
            name, again = f"{stem}_{again}", again + 1
        names_taken[name], numbers[stem] = None, again
    return list(names_taken)


def _numbers(outcomes: Sequence[Outcome]) -> Iterator[Sequence[str]]:
    """Our numbers of each score, as the shortest text that means this float32."""
    similarities = [outcome.similarity for outcome in outcomes if isinstance(outcome, Score)]
    cosines: Any = np.array(similarities, np.float64)
    scales: Sequence[Any] = (cosines, clip_score(cosines), similarity_01(cosines))
    return zip(*(map(str, scale.astype(np.float32)) for scale in scales), strict=True)


def _ours(outcome: Outcome, numbers: Iterator[Sequence[str]]) -> Sequence[str]:
    """Our cells; a score takes the next of the numbers."""
    if isinstance(outcome, Rejection):
        return "", "", "", "", str(outcome.reason), one_line(outcome.detail)
    return *next(numbers), _TRUNCATED[outcome.caption_truncated], "", ""


def _packed(writes: Format) -> Format:
    def write(stream: BinaryIO, rows: Iterable[Row], layout: Layout) -> None:
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
            writes(packed, rows, layout)  # type: ignore[arg-type]  # it is written like one

    return write


_FORMATS: Mapping[str, Format] = {
    ".csv": write_csv,
    ".tsv": write_tsv,
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
    ".csv.gz": _packed(write_csv),
    ".jsonl.gz": _packed(write_jsonl),
}
