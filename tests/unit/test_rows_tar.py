"""Rows of WebDataset tars: samples, captions, marks, and tars that break."""

import io
import json
import random
import tarfile
import tracemalloc
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clip_scoring.errors import ObjectUnreadable
from clip_scoring.records import Reason, Rejection
from clip_scoring.runs import Window
from clip_scoring.sources import rows_tar
from clip_scoring.sources.local import LocalFiles
from clip_scoring.sources.rows_tar import IMAGE_LIMIT_BYTES, TarRows
from clip_scoring.sources.stored_objects import Row, StoredObject, Survey

FORMAT = TarRows("", "caption")
EVER = Window(None, datetime(9999, 1, 1, tzinfo=UTC))
LONG = "long/" + "n" * 300
Members = Iterable[tuple[str, bytes | str]]


def tar_of(members: Members, form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, body in members:
            content = body.encode() if isinstance(body, str) else body
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return file.getvalue()


def pairs_of(count: int, name: str = "{:06}") -> list[tuple[str, bytes | str]]:
    return [
        member
        for each in range(count)
        for member in (
            (f"{name.format(each)}.jpg", b"image %d" % each),
            (f"{name.format(each)}.txt", f"caption {each}"),
        )
    ]


def store_of(folder: Path, content: bytes) -> tuple[LocalFiles, StoredObject]:
    path = folder / "pairs.tar"
    path.write_bytes(content)
    store = LocalFiles(path)
    return store, next(store.list_objects(EVER))


def rows_of(folder: Path, content: bytes) -> list[Row]:
    store, stored = store_of(folder, content)
    survey = FORMAT.survey(store, stored)
    rows = list(FORMAT.rows(store, stored, survey, 0))
    assert len(rows) == survey.rows
    assert [row.number for row in rows] == list(range(len(rows)))
    return rows


def row_of(folder: Path, *members: tuple[str, bytes | str]) -> Row:
    (row,) = rows_of(folder, tar_of(members))
    return row


def unreadable(folder: Path, content: bytes) -> str:
    store, stored = store_of(folder, content)
    with pytest.raises(ObjectUnreadable) as raised:
        FORMAT.survey(store, stored)
    assert str(raised.value).startswith(stored.uri)
    return str(raised.value)


def test_a_sample_is_its_image_its_caption_and_its_place(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, tar_of(pairs_of(2, "a/{:03}")))
    uri = f"file://{tmp_path}/pairs.tar"
    assert rows == [
        Row(0, f"{uri}#a/000.jpg", "caption 0", b"image 0"),
        Row(1, f"{uri}#a/001.jpg", "caption 1", b"image 1"),
    ]


@pytest.mark.parametrize(
    "kind", ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "JPG", "Png"]
)
def test_every_kind_of_image_is_one(tmp_path: Path, kind: str) -> None:
    row = row_of(tmp_path, ("1.txt", "c"), (f"1.{kind}", b"image"))
    assert (row.image, row.caption, row.parse_error) == (b"image", "c", None)


def test_the_name_of_a_sample_ends_at_the_first_dot_after_the_last_slash(tmp_path: Path) -> None:
    members = [
        ("v1.0/a.jpg", b"1"),
        ("v1.0/a.seg.png", b"2"),
        ("v1.0/b.jpg", b"3"),
        ("b.jpg", b"4"),
    ]
    rows = rows_of(tmp_path, tar_of(members))
    assert [row.image for row in rows] == [b"1", b"3", b"4"]


def test_a_kind_that_comes_twice_begins_the_next_sample(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, tar_of([*pairs_of(1), *pairs_of(1), ("000000.JPG", b"3")]))
    assert [row.image for row in rows] == [b"image 0", b"image 0", b"3"]


def test_folders_links_devices_and_hidden_files_belong_to_no_sample(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in (
            ("a.d", tarfile.DIRTYPE), ("1.jpg", tarfile.SYMTYPE), ("1.png", tarfile.LNKTYPE),
            ("1.gif", tarfile.FIFOTYPE), ("1.bmp", tarfile.CHRTYPE),
        ):  # fmt: skip
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            tar.addfile(header)
        for name, content in (("._1.jpg", b"x"), ("README", b"x"), ("1.webp", b"image")):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    (row,) = rows_of(tmp_path, file.getvalue())
    assert row.image == b"image"


def test_the_text_is_the_caption_before_any_json(tmp_path: Path) -> None:
    row = row_of(tmp_path, ("1.json", '{"caption": "j"}'), ("1.jpg", b"i"), ("1.txt", "t\n"))
    assert row.caption == "t\n"


@pytest.mark.parametrize(("described", "caption"), [
    ({"caption": "a cat", "width": 7}, "a cat"), ({"caption": None}, ""), ({"text": "other"}, "")
])  # fmt: skip
def test_without_text_the_json_tells_the_caption(
    tmp_path: Path, described: dict[str, object], caption: str
) -> None:
    row = row_of(tmp_path, ("1.jpg", b"i"), ("1.json", json.dumps(described)))
    assert (row.caption, row.parse_error) == (caption, None)


def test_without_any_caption_it_is_empty(tmp_path: Path) -> None:
    row = row_of(tmp_path, ("1.jpg", b"i"))
    assert (row.caption, row.image, row.parse_error) == ("", b"i", None)


def test_what_a_caption_may_not_hold_is_left_for_the_screening(tmp_path: Path) -> None:
    assert row_of(tmp_path, ("1.jpg", b"i"), ("1.txt", "a\x00b")).caption == "a\x00b"


@pytest.mark.parametrize(("member", "detail"), [
    (("1.txt", b"\xff"), "1.txt: 'utf-8' codec can't decode byte 0xff in position 0"),
    (("1.json", "{"), "1.json: Expecting property name"),
    (("1.json", "[1]"), "1.json: not a JSON object"),
    (("1.json", '{"caption": 7}'), "1.json: field 'caption' must be a string"),
    (("1.json", "[" * 100_000), "1.json: maximum recursion depth exceeded"),
])  # fmt: skip
def test_a_caption_that_cannot_be_read_costs_its_sample(
    tmp_path: Path, member: tuple[str, bytes | str], detail: str
) -> None:
    broken, whole = rows_of(tmp_path, tar_of([("1.jpg", b"i"), member, ("2.jpg", b"j")]))
    assert broken.parse_error is not None
    assert (broken.parse_error.reason, broken.image) == (Reason.RECORD_INVALID, None)
    assert broken.parse_error.detail.startswith(detail)
    assert whole.image == b"j"


def test_a_sample_without_image_is_a_flaw_by_its_name(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, tar_of([("x/1\n.txt", "c"), ("2.jpg", b"j")]))
    parse_error = Rejection(Reason.RECORD_INVALID, "sample x/1?: no image member")
    assert (rows[0].parse_error, rows[1].image) == (parse_error, b"j")


def test_an_image_over_the_limit_is_a_flaw_and_never_in_memory(tmp_path: Path) -> None:
    content = tar_of([("1.jpg", bytes(3 * IMAGE_LIMIT_BYTES)), ("1.txt", "c"), ("2.jpg", b"j")])
    store, stored = store_of(tmp_path, content)
    del content
    tracemalloc.start()
    survey = FORMAT.survey(store, stored)
    large, small = FORMAT.rows(store, stored, survey, 0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    detail = f"jpg of {3 * IMAGE_LIMIT_BYTES} bytes, limit {IMAGE_LIMIT_BYTES}"
    assert large.parse_error == Rejection(Reason.IMAGE_TOO_LARGE, detail)
    assert (large.image, small.image) == (None, b"j")
    assert peak < 3 << 20


def test_an_image_as_large_as_the_limit_is_read(tmp_path: Path) -> None:
    row = row_of(tmp_path, ("1.jpg", bytes(IMAGE_LIMIT_BYTES)))
    assert row.image == bytes(IMAGE_LIMIT_BYTES)


def test_a_text_over_its_limit_is_a_caption_too_long(tmp_path: Path) -> None:
    row = row_of(tmp_path, ("1.jpg", b"i"), ("1.txt", b"x" * 70_000))
    assert row.parse_error == Rejection(Reason.CAPTION_TOO_LONG, "txt of 70000 bytes, limit 65536")


def test_memory_does_not_grow_with_the_object(tmp_path: Path) -> None:
    store, stored = store_of(
        tmp_path, tar_of([(f"{each}.jpg", bytes(1 << 16)) for each in range(800)])
    )
    tracemalloc.start()
    survey = FORMAT.survey(store, stored)
    count = sum(1 for _ in FORMAT.rows(store, stored, survey, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (count, stored.size > 50 << 20, peak < 2 << 20) == (800, True, True)


def test_members_are_not_remembered(tmp_path: Path) -> None:
    store, stored = store_of(tmp_path, tar_of([(f"{each}.jpg", b"") for each in range(5_000)]))
    tracemalloc.start()
    assert FORMAT.survey(store, stored).rows == 5_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_marks_lie_every_eight_mebibytes_at_the_start_of_a_sample(tmp_path: Path) -> None:
    members = [(f"{each}.jpg", bytes((1 << 20) - 512)) for each in range(20)]
    store, stored = store_of(tmp_path, tar_of(members))
    marks = FORMAT.survey(store, stored).marks
    assert [(mark.row, mark.byte) for mark in marks] == [(0, 0), (8, 8 << 20), (16, 16 << 20)]


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("end", [None, -1024 * 12, -1024 * 11 + 512, -30 * 512])
def test_reading_from_any_mark_finds_the_rows_that_reading_from_the_start_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: int, end: int | None
) -> None:
    monkeypatch.setattr(rows_tar, "_MARK_BYTES", 1)
    name = "short/{}" if form == tarfile.USTAR_FORMAT else LONG + "{}"
    store, stored = store_of(tmp_path, tar_of(pairs_of(8, name), form)[:end])
    survey = FORMAT.survey(store, stored)
    rows = list(FORMAT.rows(store, stored, survey, 0))
    assert len(survey.marks) == survey.rows == len(rows)
    assert len(rows) > 2
    for mark in survey.marks:
        alone = Survey(survey.rows, [mark])
        assert list(FORMAT.rows(store, stored, alone, mark.row)) == rows[mark.row :]


def test_reading_begins_at_the_row_that_is_asked_for(tmp_path: Path) -> None:
    store, stored = store_of(tmp_path, tar_of(pairs_of(5)))
    rows = FORMAT.rows(store, stored, FORMAT.survey(store, stored), 3)
    assert [(row.number, row.caption) for row in rows] == [(3, "caption 3"), (4, "caption 4")]


def broken_after(folder: Path, content: bytes, count: int) -> str:
    """The one parse_error that follows `count` good rows."""
    *good, last = rows_of(folder, content)
    assert [row.caption for row in good] == [f"caption {each}" for each in range(count)]
    assert last.parse_error is not None
    assert last.parse_error.reason is Reason.RECORD_INVALID
    return last.parse_error.detail


@pytest.mark.parametrize(("cut", "count", "detail"), [
    # A sample takes four blocks: header and body of the image, then of the text.
    (4 * 512 * 3, 2, "the tar breaks at byte 6144: it ends without its end mark"),
    (4 * 512 * 3 + 100, 2, "the tar breaks at byte 6144: truncated header"),
    (4 * 512 * 3 + 512 + 3, 3, "the tar breaks at byte 6656: it ends in the middle of a member"),
    (4 * 512 * 3 + 512, 3, "the tar breaks at byte 6656: it ends in the middle of a member"),
    (4 * 512 * 3 + 3 * 512, 3, "the tar breaks at byte 7680: it ends in the middle of a member"),
])  # fmt: skip
def test_a_tar_that_ends_early_ends_in_one_flaw(
    tmp_path: Path, cut: int, count: int, detail: str
) -> None:
    assert broken_after(tmp_path, tar_of(pairs_of(9))[:cut], count) == detail


def test_a_damaged_header_ends_the_tar_in_one_flaw(tmp_path: Path) -> None:
    content = bytearray(tar_of(pairs_of(9)))
    content[4 * 512 * 3 + 20] ^= 1
    detail = broken_after(tmp_path, bytes(content), 2)
    assert detail == "the tar breaks at byte 6144: bad checksum"


def test_records_behind_the_end_mark_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    first = tar_of(pairs_of(2))
    detail = broken_after(tmp_path, first + tar_of(pairs_of(2)), 2)
    assert detail == "the tar breaks at byte 4096: more follows its end mark"


def resized(size: int) -> bytes:
    """Two samples, and a third whose header claims another size."""
    header = tarfile.TarInfo("x.jpg")
    header.size = size
    return tar_of(pairs_of(2))[: 8 * 512] + header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


@pytest.mark.parametrize("size", [1 << 20, 1 << 60, 1 << 80])
def test_a_size_beyond_the_object_is_not_waited_for(tmp_path: Path, size: int) -> None:
    *good, last = rows_of(tmp_path, resized(size))
    assert [row.caption for row in good] == ["caption 0", "caption 1"]
    assert last.parse_error is not None
    assert (
        last.parse_error.detail == "the tar breaks at byte 4608: it ends in the middle of a member"
    )


def test_a_negative_size_is_a_break(tmp_path: Path) -> None:
    detail = broken_after(tmp_path, resized(-512), 1)
    assert detail == "the tar breaks at byte 4096: a header of -512 bytes"


def test_a_name_of_gibibytes_is_a_break(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 31
    content = tar_of(pairs_of(2))[: 8 * 512] + header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    detail = broken_after(tmp_path, content, 1)
    assert detail == "the tar breaks at byte 4096: a header of 2147483648 bytes"


def test_a_global_header_that_renames_all_members_is_a_break(tmp_path: Path) -> None:
    renaming = tarfile.TarInfo.create_pax_global_header({"path": "same.jpg"})
    content = tar_of(pairs_of(2))[: 8 * 512] + renaming + tar_of(pairs_of(1))
    assert broken_after(tmp_path, content, 1).endswith("renames or resizes all that follow")


def test_a_global_comment_is_nothing(tmp_path: Path) -> None:
    comment = tarfile.TarInfo.create_pax_global_header({"comment": "0123abcd"})
    assert [row.caption for row in rows_of(tmp_path, comment + tar_of(pairs_of(2)))] == [
        "caption 0", "caption 1"
    ]  # fmt: skip


def test_a_tar_of_nothing_has_no_rows(tmp_path: Path) -> None:
    assert rows_of(tmp_path, tar_of([])) == []


@pytest.mark.parametrize("content", [
    b"", b"x" * 10_000, b"\x1f\x8b" + b"x" * 10_000, tar_of(pairs_of(1))[:700], bytes(512) + b"x"
])  # fmt: skip
def test_what_is_no_tar_is_unreadable(tmp_path: Path, content: bytes) -> None:
    assert "the tar breaks at byte " in unreadable(tmp_path, content)


def test_no_damage_makes_reading_raise_or_find_other_rows_than_counting(tmp_path: Path) -> None:
    drawn = random.Random(7)
    whole = tar_of(pairs_of(4, LONG + "{}"))
    whole = whole.rstrip(b"\0") + bytes(1024)
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(3):
            content[drawn.randrange(len(content))] = drawn.randrange(256)
        try:
            rows_of(tmp_path, bytes(content[: drawn.randrange(1, len(content))]))
        except ObjectUnreadable as refused:
            assert "the tar breaks at byte" in str(refused)
