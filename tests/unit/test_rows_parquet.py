"""Rows of Parquet objects: two columns of text, whatever else is in the file."""

import io
import os
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from clip_scoring.errors import ObjectChanged, ObjectUnreadable
from clip_scoring.runs import Window
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.rows_parquet import ParquetRows
from clip_scoring.sources.stored_objects import Row, StoredObject

FORMAT = ParquetRows("image", "text")
EVER = Window(None, datetime(9999, 1, 1, tzinfo=UTC))


def store_of(folder: Path, content: bytes) -> tuple[LocalFiles, StoredObject]:
    path = folder / "pairs.parquet"
    path.write_bytes(content)
    store = LocalFiles(path)
    return store, next(store.list_objects(EVER))


def written(table: pa.Table, **options: object) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table, file, **options)
    return file.getvalue()


def table_of(count: int, kind: pa.DataType | None = None) -> pa.Table:
    images = pa.array([f"{each}.png" for each in range(count)], kind)
    texts = pa.array([f"text {each}" for each in range(count)], kind)
    return pa.table({"id": pa.array(range(count)), "text": texts, "image": images})


def rows_of(folder: Path, content: bytes, first: int = 0) -> list[Row]:
    store, stored = store_of(folder, content)
    survey = FORMAT.survey(store, stored)
    found = list(FORMAT.rows(store, stored, survey, first))
    assert len(found) == survey.rows - first
    return found


def expected(numbers: range) -> list[Row]:
    return [Row(each, f"{each}.png", f"text {each}") for each in numbers]


def unreadable(folder: Path, content: bytes) -> str:
    store, stored = store_of(folder, content)
    with pytest.raises(ObjectUnreadable) as raised:
        FORMAT.survey(store, stored)
    assert str(raised.value).startswith(stored.uri)
    return str(raised.value)


@pytest.mark.parametrize("kind", [
    pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())
], ids=str)  # fmt: skip
def test_every_type_of_text_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    assert rows_of(tmp_path, written(table_of(3, kind))) == expected(range(3))


@pytest.mark.parametrize("first", [0, 1, 999, 1000, 2499, 2500, 2501, 6999, 7000])
def test_reading_begins_at_any_row_of_any_group(tmp_path: Path, first: int) -> None:
    content = written(table_of(7000), row_group_size=2500)
    assert rows_of(tmp_path, content, first) == expected(range(first, 7000))


def test_null_is_empty_text(tmp_path: Path) -> None:
    content = written(pa.table({"image": ["a.png", None], "text": pa.array([None, "b"])}))
    assert rows_of(tmp_path, content) == [Row(0, "a.png", ""), Row(1, "", "b")]


def test_text_that_is_not_utf8_costs_its_row_only(tmp_path: Path) -> None:
    raw = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
    content = written(pa.table({"image": ["a", "b", "c"], "text": raw}))
    before, broken, after = rows_of(tmp_path, content)
    assert (before, after) == (Row(0, "a", "a"), Row(2, "c", "c"))
    assert broken.parse_error.detail.startswith("row 1: 'utf-8' codec can't decode byte 0xff")


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    assert rows_of(tmp_path, written(table_of(0, pa.string()))) == []


@pytest.mark.parametrize(("columns", "message"), [
    ({"image": ["a"], "caption": ["b"]}, "no column 'text' among image, caption"),
    ({"image": ["a"], "text": [1]}, "column 'text' is int64, not string"),
    ({"image": [b"a"], "text": ["b"]}, "column 'image' is binary, not string"),
    ({"image": [{"path": "a"}], "text": ["b"]}, "column 'image' is struct<path: string>, not"),
])  # fmt: skip
def test_a_column_that_is_missing_or_no_text_is_named(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    assert message in unreadable(tmp_path, written(pa.table(columns)))


def test_a_needed_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, ["image", "text", "text"])
    assert "2 columns 'text' among" in unreadable(tmp_path, written(table))


@pytest.mark.parametrize("cut", [slice(0, 0), slice(0, -9), slice(4, 100)])
def test_what_is_no_parquet_file_is_unreadable(tmp_path: Path, cut: slice) -> None:
    unreadable(tmp_path, written(table_of(1000))[cut])


def test_a_damaged_row_group_is_unreadable_when_it_is_reached(tmp_path: Path) -> None:
    content = bytearray(written(table_of(5000), row_group_size=2500, compression="zstd"))
    chunk = parquet.ParquetFile(io.BytesIO(content)).metadata.row_group(1).column(1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + 2000] = b"\x55" * 2000
    store, stored = store_of(tmp_path, bytes(content))
    rows = FORMAT.rows(store, stored, FORMAT.survey(store, stored), 0)
    assert [next(rows) for _ in range(2500)] == expected(range(2500))
    with pytest.raises(ObjectUnreadable, match=stored.uri):
        next(rows)


def test_a_change_while_it_is_read_stays_a_change(tmp_path: Path) -> None:
    content = written(table_of(200_000), row_group_size=20_000)
    store, stored = store_of(tmp_path, content)
    rows = FORMAT.rows(store, stored, FORMAT.survey(store, stored), 0)
    next(rows)
    os.utime(store.path, (1, 1))
    with pytest.raises(ObjectChanged, match="plan again"):
        list(rows)


def test_memory_is_that_of_a_batch(tmp_path: Path) -> None:
    table = pa.table({"image": ["a.png"] * 40_000, "text": [f"{n:01000}" for n in range(40_000)]})
    content = written(table, compression="none", use_dictionary=False)
    store, stored = store_of(tmp_path, content)
    assert stored.size > 38 << 20
    del table, content
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    survey = FORMAT.survey(store, stored)
    most = max(pa.total_allocated_bytes() for _ in FORMAT.rows(store, stored, survey, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 << 20
    assert most - before < 24 << 20


def test_pyarrow_is_not_imported_before_a_parquet_object_is_read() -> None:
    ask = "import sys, clip_scoring.sources.formats; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", ask], check=False).returncode == 0
