"""Rows of JSON Lines: one a line, and a broken line costs itself."""

import json
import tracemalloc
from codecs import BOM_UTF8
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_scoring.errors import ObjectUnreadable
from clip_scoring.runs import Window
from clip_scoring.sources import lines
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.rows_json import JsonLinesRows
from clip_scoring.sources.stored_objects import Row, StoredObject

FORMAT = JsonLinesRows("image", "text")
EVER = Window(None, datetime(9999, 1, 1, tzinfo=UTC))
GOOD = b'{"image": "a.png", "text": "a"}\n'


def store_of(folder: Path, content: bytes) -> tuple[LocalFiles, StoredObject]:
    path = folder / "pairs.jsonl"
    path.write_bytes(content)
    store = LocalFiles(path)
    return store, next(store.list_objects(EVER))


def rows_of(folder: Path, content: bytes, first: int = 0) -> list[Row]:
    store, stored = store_of(folder, content)
    survey = FORMAT.survey(store, stored)
    found = list(FORMAT.rows(store, stored, survey, first))
    assert survey.rows == len(found) + first
    return found


def parse_error(folder: Path, line: bytes) -> str:
    """The detail of a line between two good ones."""
    before, row, after = rows_of(folder, GOOD + line + b"\n" + GOOD)
    assert before == Row(0, "a.png", "a")
    assert after == Row(2, "a.png", "a")
    assert row.parse_error is not None
    assert row.number == 1
    return row.parse_error.detail


def test_fields_are_found_by_name(tmp_path: Path) -> None:
    content = b'{"text": "a cat", "id": 7, "image": "cat.png"}\r\n' + GOOD.strip()
    assert rows_of(tmp_path, content) == [Row(0, "cat.png", "a cat"), Row(1, "a.png", "a")]


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, b"\n \t\r\n" + GOOD + b"\n" + GOOD + b"\n\n")
    assert [row.number for row in rows] == [0, 1]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    assert rows_of(tmp_path, BOM_UTF8 + GOOD) == [Row(0, "a.png", "a")]


def test_what_a_caption_may_not_hold_is_left_for_the_screening(tmp_path: Path) -> None:
    content = rb'{"image": "a", "text": "\u0000 \ud800"}'
    assert rows_of(tmp_path, content) == [Row(0, "a", "\x00 \ud800")]


@pytest.mark.parametrize(("line", "detail"), [
    (b"{", "line 2: Expecting property name enclosed in double quotes at column 2"),
    (b"nonsense", "line 2: Expecting value at column 1"),
    (b'["a", "b"]', "line 2: not a JSON object"),
    (b'"a"', "line 2: not a JSON object"),
    (b'{"image": "a"}', "line 2: no field 'text'"),
    (b'{"image": "a", "text": null}', "line 2: field 'text' must be a string"),
    (b'{"image": 7, "text": "a"}', "line 2: field 'image' must be a string"),
    (b'{"image": "\xff", "text": "a"}', "line 2: 'utf-8' codec can't decode byte 0xff in "
     "position 11: invalid start byte"),
    (b"[" * 100_000, "line 2: nested too deeply"),
])  # fmt: skip
def test_a_line_that_is_no_pair_costs_itself(tmp_path: Path, line: bytes, detail: str) -> None:
    assert parse_error(tmp_path, line) == detail


def test_a_number_of_too_many_digits_costs_its_line(tmp_path: Path) -> None:
    line = b'{"image": "a", "text": "b", "n": ' + b"9" * 5000 + b"}"
    assert parse_error(tmp_path, line).startswith("line 2: Exceeds the limit")


def test_a_detail_is_one_printable_line_of_at_most_200_characters(tmp_path: Path) -> None:
    strange = JsonLinesRows("image", "te\x1b[31m\n\u202e" + "x" * 500)
    store, stored = store_of(tmp_path, GOOD)
    survey = FORMAT.survey(store, stored)
    (row,) = strange.rows(store, stored, survey, 0)
    assert row.parse_error.detail.isprintable()
    assert len(row.parse_error.detail) == 200


def test_a_line_over_the_limit_is_one_flaw_and_never_in_memory(tmp_path: Path) -> None:
    content = GOOD + b'{"text": "' + b"x" * (80 << 20) + b'"}\n' + GOOD
    store, stored = store_of(tmp_path, content)
    del content
    tracemalloc.start()
    survey = FORMAT.survey(store, stored)
    _, long, after = FORMAT.rows(store, stored, survey, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert long.parse_error.detail == f"line 2: over {16 << 20} bytes"
    assert after == Row(2, "a.png", "a")
    assert peak < 40 << 20


def test_a_line_as_long_as_the_limit_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LIMIT_BYTES", len(GOOD) - 1)
    assert rows_of(tmp_path, GOOD + GOOD.strip()) == [Row(0, "a.png", "a"), Row(1, "a.png", "a")]


def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    line = json.dumps({"image": "a.png", "text": "x" * 8192}).encode() + b"\n"
    store, stored = store_of(tmp_path, line * 6_000)
    tracemalloc.start()
    survey = FORMAT.survey(store, stored)
    count = sum(1 for _ in FORMAT.rows(store, stored, survey, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, stored.size > 46 << 20, peak < 3 << 20) == (6_000, True, True)


PARTS = [GOOD, b"\n", b"{}\n", b"\xff\n", b"x", b"\r", b" ", b"y" * 70_000 + b"\n"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=12), st.sampled_from([b"", BOM_UTF8]))
def test_reading_from_any_mark_finds_the_rows_that_reading_from_the_start_finds(
    parts: list[bytes], bom: bytes
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_MARK_BYTES", 1)
        patch.setattr(lines, "LIMIT_BYTES", 100)
        content = bom + GOOD + b"".join(parts)
        whole = rows_of(Path(folder), content)
        for first in range(len(whole) + 1):
            assert rows_of(Path(folder), content, first) == whole[first:]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert rows_of(tmp_path, b"") == []


@pytest.mark.parametrize("good", [b"", GOOD])
def test_a_hundred_flawed_rows_at_the_start_are_no_json_lines(tmp_path: Path, good: bytes) -> None:
    store, stored = store_of(tmp_path, b"x\n" * 100 + good)
    with pytest.raises(ObjectUnreadable, match="the first 100 rows are no pairs; line 1: Expect"):
        FORMAT.survey(store, stored)


def test_one_good_row_among_the_first_hundred_is_enough(tmp_path: Path) -> None:
    assert len(rows_of(tmp_path, b"x\n" * 99 + GOOD + b"x\n" * 200)) == 300


def test_utf16_is_called_by_its_name(tmp_path: Path) -> None:
    store, stored = store_of(tmp_path, GOOD.decode().encode("utf-16"))
    with pytest.raises(ObjectUnreadable, match="UTF-16 or UTF-32: save it as UTF-8"):
        FORMAT.survey(store, stored)
