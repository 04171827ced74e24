"""The rows of a CSV file that are scored, in the order of their indexes, each as a record."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import cached_property
from itertools import islice
from random import Random

from clip_scoring.files.reader import CsvFile, CsvReading, CsvRow
from clip_scoring.records import Key, Reason, Record, Rejection
from clip_scoring.settings.file_options import FileOptions

_COUNTED_BYTES, _COUNTED_ROWS = 4 * 1024 * 1024, 50_000


class PairRows:
    """The rows that the options choose of the file; a row index counts those, from 0."""

    def __init__(self, options: FileOptions, resolve_uri: Callable[[str], str]) -> None:
        """`resolve_uri` makes of an address in the file what the loader takes.

        Raises ObjectUnreadable, and SettingsInvalid where a column is not there.
        """
        wanted = [options.image, options.caption]
        self.file = CsvFile.open(
            options.path,
            wanted=[*wanted, *([options.id_column] if options.id_column else [])],
            delimiter=options.delimiter,
            has_header=options.has_header,
        )
        self._options, self._resolve_uri = options, resolve_uri
        self._image, self._caption = map(self.file.column_index, wanted)
        self._id = self.file.column_index(options.id_column) if options.id_column else None
        self._reading: CsvReading | None = None

    def __iter__(self) -> Generator[tuple[int, CsvRow]]:
        """One pass, from the first row on."""
        limit, seed = self._options.limit, self._options.seed
        with closing(self.file.rows()) as rows:
            self._reading = rows
            if limit is None:
                yield from enumerate(rows)
            elif seed is None:
                yield from enumerate(islice(rows, limit))
            else:
                yield from enumerate(drawn(rows, self._count(), limit, Random(seed)))

    def share_at(self, row_index: Key) -> float:
        """Of all rows, how many the latest pass has read with this one, from 0 to 1.

        By the bytes that were read where the file is too large to be counted beforehand.
        """
        if self._total is not None:
            return min(1.0, (int(row_index) + 1) / self._total)
        return self._reading.share if self._reading else 0.0

    @cached_property
    def _total(self) -> int | None:
        """How many rows are chosen, None where it would take long to say."""
        if self.file.stored.size > _COUNTED_BYTES:
            return None
        with closing(self.file.rows()) as rows:
            counted = sum(1 for _ in islice(rows, _COUNTED_ROWS + 1))
        limit = self._options.limit
        return (
            None if counted > _COUNTED_ROWS else counted if limit is None else min(counted, limit)
        )

    def record(self, row_index: int, row: CsvRow) -> Record:
        """The row as it is scored; a broken row is a record with a parse error."""
        parse_error = row.parse_error
        if not parse_error:
            image, caption = row.cells[self._image], row.cells[self._caption]
            if not (image.isascii() and caption.isascii()) and _is_undecodable(image + caption):
                parse_error = f"line {row.line}: not UTF-8"
        if parse_error:
            return Record(
                row_index, "", "", parse_error=Rejection(Reason.RECORD_INVALID, parse_error)
            )
        return Record(row_index, self._resolve_uri(image), self._options.apply_template(caption))

    def pair(self, row: CsvRow) -> tuple[str, str]:
        """Address and caption as they stand in the file, empty where there are none."""
        return _cell(row, self._image), _cell(row, self._caption)

    def texts(self, row_index: int, row: CsvRow) -> tuple[str, str, str]:
        """The row's name for people, and its pair."""
        named = "" if self._id is None else _cell(row, self._id)
        return named or f"row {row_index + 1}", *self.pair(row)

    def _count(self) -> int:
        with closing(self.file.rows()) as rows:
            return sum(1 for _ in rows)


def drawn(rows: Iterable[CsvRow], total: int, wanted: int, random: Random) -> Iterator[CsvRow]:
    """`wanted` of the rows, or all, in order, each choice equally likely.

    Selection sampling: Knuth, The Art of Computer Programming, volume 2, 3.4.2, algorithm S.
    """
    for seen, row in enumerate(rows):
        if (total - seen) * random.random() < wanted:
            wanted -= 1
            yield row


def _cell(row: CsvRow, column: int) -> str:
    return row.cells[column] if column < len(row.cells) else ""


def _is_undecodable(text: str) -> bool:
    """Whether it holds bytes that are not UTF-8."""
    return any("\udc80" <= letter <= "\udcff" for letter in text)
