"""Rows of CSV objects: where each begins, and what a broken one costs."""

import csv
import io
import tracemalloc
from codecs import BOM_UTF8
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_scoring.errors import ObjectUnreadable
from clip_scoring.records import Reason
from clip_scoring.runs import Window
from clip_scoring.sources import csv_records, lines
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.rows_csv import CsvRows
from clip_scoring.sources.stored_objects import Row, StoredObject

FORMAT = CsvRows("image_uri", "caption")
EVER = Window(None, datetime(9999, 1, 1, tzinfo=UTC))
HEADER = b"image_uri,caption\n"


def store_of(folder: Path, content: bytes) -> tuple[LocalFiles, StoredObject]:
    path = folder / "pairs.csv"
    path.write_bytes(content)
    store = LocalFiles(path)
    return store, next(store.list_objects(EVER))


def rows_of(folder: Path, content: bytes, first: int = 0) -> list[Row]:
    store, stored = store_of(folder, content)
    survey = FORMAT.survey(store, stored)
    found = list(FORMAT.rows(store, stored, survey, first))
    assert survey.rows == len(found) + first
    return found


def pairs(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row.image_uri, row.caption) for row in rows if row.parse_error is None]


def parse_errors(rows: list[Row]) -> dict[int, str]:
    assert {row.parse_error.reason for row in rows if row.parse_error} <= {Reason.RECORD_INVALID}
    return {row.number: row.parse_error.detail for row in rows if row.parse_error}


def unreadable(folder: Path, content: bytes) -> str:
    store, stored = store_of(folder, content)
    with pytest.raises(ObjectUnreadable) as raised:
        FORMAT.survey(store, stored)
    assert stored.uri in str(raised.value)
    return str(raised.value)


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    content = b"id,caption,x,image_uri\n7,a cat,,cat.png\n8,a dog,,dog.png\n"
    assert rows_of(tmp_path, content) == [Row(0, "cat.png", "a cat"), Row(1, "dog.png", "a dog")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_line_ends_of_both_kinds_and_none_at_the_end_are_read(
    tmp_path: Path, end: bytes, last: bytes
) -> None:
    content = end.join([b"image_uri,caption", b"a.png,a", b"b.png,b"]) + last
    assert pairs(rows_of(tmp_path, content)) == [("a.png", "a"), ("b.png", "b")]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert rows_of(tmp_path, BOM_UTF8 + HEADER + b"a.png,a\n") == [Row(0, "a.png", "a")]


def test_a_byte_order_mark_may_stand_before_a_quote(tmp_path: Path) -> None:
    content = BOM_UTF8 + b'"image_uri","caption"\na.png,a\n'
    assert pairs(rows_of(tmp_path, content)) == [("a.png", "a")]


def test_quoted_fields_keep_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    content = HEADER + b'"a,b.png","one\r\ntwo ""three""\n\nfour"\nb.png,b\n'
    assert pairs(rows_of(tmp_path, content)) == [
        ("a,b.png", 'one\r\ntwo "three"\n\nfour'), ("b.png", "b")
    ]  # fmt: skip


def test_a_blank_line_is_no_row_yet_counts_as_a_line(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"\n" + HEADER + b"\n\r\na.png,a\n\nb.png\nc.png,c\n\n")
    assert pairs(rows) == [("a.png", "a"), ("c.png", "c")]
    assert parse_errors(rows) == {1: "line 7: 1 fields, header has 2"}


def test_what_a_caption_may_not_hold_is_left_for_the_screening(tmp_path: Path) -> None:
    assert pairs(rows_of(tmp_path, HEADER + b"a.png,x\x00y\n")) == [("a.png", "x\x00y")]


@pytest.mark.parametrize(("line", "fields"), [(b"b.png", 1), (b"b.png,b,c", 3), (b'""', 1)])
def test_a_ragged_row_keeps_its_number_and_costs_itself(
    tmp_path: Path, line: bytes, fields: int
) -> None:
    rows = rows_of(tmp_path, HEADER + b"a.png,a\n" + line + b"\nc.png,c\n")
    assert [row.number for row in rows] == [0, 1, 2]
    assert pairs(rows) == [("a.png", "a"), ("c.png", "c")]
    assert parse_errors(rows) == {1: f"line 3: {fields} fields, header has 2"}


def test_a_row_after_a_record_of_many_lines_is_named_by_its_physical_line(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, HEADER + b'a.png,"1\n2\n3"\nb.png\n')
    assert parse_errors(rows) == {1: "line 5: 1 fields, header has 2"}


def test_bytes_that_are_not_utf8_cost_their_record_only(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, HEADER + b'a.png,"1\n\xff\n3"\nb.png,b\n')
    assert pairs(rows) == [("b.png", "b")]
    assert parse_errors(rows) == {0: "line 2: not UTF-8"}


@pytest.mark.parametrize("after", [b"", b'c.png,"c"\n', b"c.png,c\n" * 1500])
def test_a_quote_that_never_closes_costs_one_row_and_none_after_it(
    tmp_path: Path, after: bytes
) -> None:
    rows = rows_of(tmp_path, HEADER + b'a.png,a\nb.png,"b\n' + after)
    assert list(parse_errors(rows)) == [1]
    assert pairs(rows) == [("a.png", "a")] + [("c.png", "c")] * after.count(b"\n")


def test_text_behind_a_closing_quote_is_a_flaw(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, HEADER + b'a.png,"a"b\nc.png,c\n')
    assert pairs(rows) == [("c.png", "c")]
    assert parse_errors(rows) == {0: "line 2: ',' expected after '\"'"}


def test_a_record_over_the_limit_is_a_flaw_and_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_records, "LIMIT_BYTES", 100)
    inside = b"x" * 60 + b"\n"
    rows = rows_of(tmp_path, HEADER + b'a.png,"' + inside * 2 + b'"\nb.png,b\n')
    assert pairs(rows) == [("b.png", "b")]
    assert parse_errors(rows)[0] == "line 2: over 100 bytes: does a quote never close?"


def test_a_line_over_the_limit_is_one_flaw_and_never_in_memory(tmp_path: Path) -> None:
    content = HEADER + b"a.png,a\nb.png," + b"x" * (80 << 20) + b"\nc.png,c\n"
    store, stored = store_of(tmp_path, content)
    del content
    tracemalloc.start()
    survey = FORMAT.survey(store, stored)
    rows = list(FORMAT.rows(store, stored, survey, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (survey.rows, pairs(rows)) == (3, [("a.png", "a"), ("c.png", "c")])
    assert parse_errors(rows) == {1: f"line 3: over {16 << 20} bytes"}
    assert peak < 40 << 20


def test_a_field_of_a_mebibyte_is_read(tmp_path: Path) -> None:
    caption = "x" * (1 << 20)
    assert pairs(rows_of(tmp_path, HEADER + f"a.png,{caption}\n".encode())) == [("a.png", caption)]


def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    store, stored = store_of(tmp_path, HEADER + (b"a.png," + b"x" * 8192 + b"\n") * 6_000)
    tracemalloc.start()
    survey = FORMAT.survey(store, stored)
    count = sum(1 for _ in FORMAT.rows(store, stored, survey, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, stored.size > 46 << 20, peak < 3 << 20) == (6_000, True, True)


def test_marks_lie_every_ten_thousand_rows(tmp_path: Path) -> None:
    store, stored = store_of(tmp_path, HEADER + b"a.png,a\n" * 25_000)
    survey = FORMAT.survey(store, stored)
    starts = [(mark.row, mark.byte, mark.line) for mark in survey.marks]
    assert starts == [(0, 18, 2), (10_000, 80_018, 10_002), (20_000, 160_018, 20_002)]


def test_marks_lie_every_four_mebibytes(tmp_path: Path) -> None:
    store, stored = store_of(tmp_path, HEADER + (b"a.png," + b"x" * 8185 + b"\n") * 1_200)
    assert [mark.row for mark in FORMAT.survey(store, stored).marks] == [0, 512, 1024]


def test_reading_begins_at_the_nearest_mark(tmp_path: Path) -> None:
    opened = []

    class Noted(LocalFiles):
        def open(self, stored, start=0):
            opened.append(start)
            return super().open(stored, start)

    store, stored = store_of(tmp_path, HEADER + b"a.png,a\n" * 25_000)
    survey = FORMAT.survey(store, stored)
    rows = FORMAT.rows(Noted(store.path), stored, survey, 20_001)
    assert next(rows).number == 20_001
    rows.close()
    assert opened == [0, 160_018]


PARTS = [b"a", b",", b'"', b"\n", b"\r", b"\xff", b"\n\n"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=40), st.sampled_from([b"", BOM_UTF8]))
def test_reading_from_any_mark_finds_the_rows_that_reading_from_the_start_finds(
    parts: list[bytes], bom: bytes
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_MARK_BYTES", 1)
        content = bom + HEADER + b"good,row\n" + b"".join(parts)
        whole = rows_of(Path(folder), content)
        for first in range(len(whole) + 1):
            assert rows_of(Path(folder), content, first) == whole[first:]


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(), st.text()), max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_wrote_is_what_is_read(written: list[tuple[str, str]], end: str) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
        [("image_uri", "caption"), *written]
    )
    with TemporaryDirectory() as folder:
        rows = rows_of(Path(folder), file.getvalue().encode())
    assert rows == [Row(number, *pair) for number, pair in enumerate(written)]


def test_only_a_header_is_no_row(tmp_path: Path) -> None:
    assert rows_of(tmp_path, HEADER) == []


@pytest.mark.parametrize("content", [b"", BOM_UTF8, b"\n\r\n"])
def test_an_empty_file_is_unreadable(tmp_path: Path, content: bytes) -> None:
    assert "is empty: a CSV file begins with a header" in unreadable(tmp_path, content)


def test_a_missing_column_is_named_beside_those_there_are(tmp_path: Path) -> None:
    text = unreadable(tmp_path, b"image_uri,Caption\na.png,a\n")
    assert text.endswith("has no column 'caption', only 'image_uri', 'Caption'")


def test_a_needed_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "2 columns 'caption'" in unreadable(tmp_path, b"image_uri,caption,caption\na,b,c\n")


def test_another_column_may_stand_twice(tmp_path: Path) -> None:
    assert pairs(rows_of(tmp_path, b"x,image_uri,caption,x\n1,a,b,2\n")) == [("a", "b")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_called_by_its_name(tmp_path: Path, encoding: str) -> None:
    content = "image_uri,caption\na.png,a\n".encode(encoding)
    assert "UTF-16 or UTF-32: save it as UTF-8" in unreadable(tmp_path, content)


@pytest.mark.parametrize("header", [b"image_uri,caption,\xff\n", b'image_uri,"caption\n'])
def test_a_broken_header_makes_the_file_unreadable(tmp_path: Path, header: bytes) -> None:
    assert ": the header: " in unreadable(tmp_path, header + b"a.png,a\n")


@pytest.mark.parametrize("good", [b"", b"a.png,a\n"])
def test_a_hundred_flawed_rows_at_the_start_are_no_csv_file(tmp_path: Path, good: bytes) -> None:
    text = unreadable(tmp_path, HEADER + b"x\n" * 100 + good)
    assert "the first 100 rows are no pairs; line 2: 1 fields, header has 2" in text


def test_one_good_row_among_the_first_hundred_is_enough(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, HEADER + b"x\n" * 99 + b"a.png,a\n" + b"x\n" * 200)
    assert (len(rows), len(parse_errors(rows))) == (300, 299)


def test_a_single_row_that_is_flawed_is_no_csv_file(tmp_path: Path) -> None:
    assert "not one row is a pair; line 2" in unreadable(tmp_path, HEADER + b"x\n")
