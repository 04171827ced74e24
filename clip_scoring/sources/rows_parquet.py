"""Parquet: the two columns, row group by row group; the number of rows stands in the footer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from clip_scoring.display import one_line, redacted_cell
from clip_scoring.errors import ObjectUnreadable
from clip_scoring.sources.stored_objects import Mark, ObjectStore, Row, StoredObject, Survey

_BATCH_ROWS = 1000
_COLUMN_BUFFER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """Rows of a Parquet object; `image` and `caption` name two columns of strings."""

    image: str
    caption: str
    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)
    names_rows: ClassVar[bool] = False

    def survey(self, store: ObjectStore, stored: StoredObject) -> Survey:
        """The footer's count; raises ObjectUnreadable on columns that are missing or no text."""
        with self._opened(store, stored) as table:
            return Survey(table.metadata.num_rows, (Mark(0, 0),))

    def rows(
        self, store: ObjectStore, stored: StoredObject, survey: Survey, first: int
    ) -> Iterator[Row]:
        """Rows from number `first` on; null is empty text. Raises ObjectUnreadable on damage."""
        if first >= survey.rows:
            return
        with self._opened(store, stored) as table:
            start = 0
            for group in range(table.num_row_groups):
                stop = start + table.metadata.row_group(group).num_rows
                if first < stop:
                    yield from self._group(table, group, range(start, stop), first)
                start = stop

    def _group(self, table: Any, group: int, numbers: range, first: int) -> Iterator[Row]:
        at = numbers.start
        for batch in table.iter_batches(
            _BATCH_ROWS, [group], [self.image, self.caption], use_threads=False
        ):
            skipped = min(max(first - at, 0), batch.num_rows)
            at += skipped
            wanted = batch.slice(skipped)
            images, captions = _raw(wanted[self.image]), _raw(wanted[self.caption])
            for image, caption in zip(images, captions, strict=True):
                yield _row(at, image, caption)
                at += 1
        if at != numbers.stop:
            counts = f"{numbers.stop - numbers.start} rows, {at - numbers.start} found"
            raise OSError(f"row group {group}: {counts}")

    @contextmanager
    def _opened(self, store: ObjectStore, stored: StoredObject) -> Iterator[Any]:
        import pyarrow  # noqa: PLC0415  # heavy, and only this format needs it
        from pyarrow import parquet  # noqa: PLC0415  # as above

        with store.open_seekable(stored) as stream:
            try:
                with parquet.ParquetFile(
                    stream, pre_buffer=False, buffer_size=_COLUMN_BUFFER_BYTES
                ) as table:
                    for name in (self.image, self.caption):
                        _check_column(table.schema_arrow, name)
                    yield table
            except (pyarrow.ArrowException, OSError, ValueError) as broken:
                raise ObjectUnreadable(f"{stored.shown}: {one_line(str(broken))}") from broken


def _check_column(schema: Any, name: str) -> None:
    """Raises ValueError when the column is not one column of text."""
    from pyarrow import types  # noqa: PLC0415  # as above

    index = schema.get_field_index(name)
    if index < 0:
        times = schema.names.count(name)
        state = f"{times} columns" if times else "no column"
        raise ValueError(f"{state} {name!r} among {', '.join(map(redacted_cell, schema.names))}")
    kind = schema.field(index).type
    value = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_string(value) or types.is_large_string(value) or types.is_string_view(value)):
        raise ValueError(f"column {name!r} is {kind}, not string")


def _raw(column: Any) -> list[bytes | None]:
    """The texts as bytes: that they are UTF-8 is what the file says of them, not a fact."""
    import pyarrow as pa  # noqa: PLC0415  # as above

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    raw: list[bytes | None] = column.cast(pa.large_binary()).to_pylist()
    return raw


def _row(number: int, image: bytes | None, caption: bytes | None) -> Row:
    try:
        return Row(number, (image or b"").decode(), (caption or b"").decode())
    except UnicodeDecodeError as broken:
        return Row.unparsable(number, f"row {number}: {broken}")
