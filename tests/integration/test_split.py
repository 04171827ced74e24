"""`clip-scoring split`: each row of a CSV file in one part, all parts there at once or none."""

from __future__ import annotations

import csv
import gzip
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_scoring.cli import main
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.files.split import SplitOptions, split_file
from clip_scoring.files.splitting import part_of

THREE = "0.7,0.2,0.1"
CELL = st.text(
    st.one_of(st.sampled_from('",;\t\r\n\0 =ab\ufeff'), st.characters(codec="utf-8")), max_size=8
)
ROWS = st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=40)
Row = list[str]


def read(path: Path, delimiter: str = ",") -> list[Row]:
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def written(path: Path, rows: Iterable[Row], end: str = "\n", **more: Any) -> Path:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator=end, **more).writerows(rows)
    path.write_bytes(stream.getvalue().encode(errors="surrogateescape"))
    return path


def split(path: Path, ratios: str = THREE, **more: Any) -> list[Path]:
    options = SplitOptions.of({"path": path, "ratios": ratios, **more})
    return [each.path for each in split_file(options)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [[f"{number % 100}.jpg", f"caption {number}"] for number in range(300)]
    return written(tmp_path / "pairs.csv", [["url", "caption"], *rows])


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, delimiter=st.sampled_from(",;\t|"), bom=st.booleans(),
       quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))  # fmt: skip
def test_each_row_is_in_one_part_once_in_order_and_unchanged(
    rows: list[Row], delimiter: str, bom: bool, quoting: Any
) -> None:
    with TemporaryDirectory() as made:
        table = [["url", "caption"], *rows]
        path = written(
            Path(made, "pairs.csv"), table, end="\r\n", delimiter=delimiter, quoting=quoting
        )
        path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + path.read_bytes())
        outputs = split(path, delimiter=delimiter)
        assert [each.read_bytes().startswith(b"\xef\xbb\xbf") for each in outputs] == [bom] * 3
        parts = [read(each, delimiter) for each in outputs]
    assert [each[0] for each in parts] == [["url", "caption"]] * 3
    left = [each[1:] for each in parts]
    for row in rows:
        heads = [each for each in left if each and each[0] == row]
        assert heads, f"{row} is missing, or not in its place"
        assert all(each[0][0] == row[0] for each in heads)
        # Equal rows have equal values, so there is no choice among them.
        assert len(heads) == 1
        heads[0].pop(0)
    assert left == [[], [], []]


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from("abcdefghij"), CELL)), order=st.randoms(),
       more=st.lists(st.tuples(CELL, CELL)))  # fmt: skip
def test_rows_that_are_added_or_moved_change_the_part_of_no_other(
    rows: list[tuple[str, str]], order: Any, more: list[tuple[str, str]]
) -> None:
    def parts(table: list[tuple[str, str]]) -> list[list[Row]]:
        with TemporaryDirectory() as made:
            path = Path(made, "pairs.csv")
            written(path, [["url", "caption"], *map(list, table)], end="\r\n")
            return [read(each)[1:] for each in split(path)]

    shuffled = [*rows, *more]
    order.shuffle(shuffled)
    for before, after in zip(parts(rows), parts(shuffled), strict=True):
        assert all(each in after for each in before)


def test_rows_with_one_value_are_in_one_part_by_the_column_that_was_named(pairs: Path) -> None:
    for column, place in (("url", 0), ("caption", 1)):
        found = [read(each)[1:] for each in split(pairs, by=column, force=True)]
        values = [{row[place] for row in part} for part in found]
        assert sum(map(len, values)) == len(set.union(*values))
        for number, each in enumerate(values):
            assert {part_of(value, (0.7, 0.2, 0.1)) for value in each} == {number}


def test_the_salt_changes_the_split(pairs: Path) -> None:
    first = [read(each) for each in split(pairs)]
    assert [read(each) for each in split(pairs, salt="", force=True)] == first
    assert [read(each) for each in split(pairs, salt="2", force=True)] != first


def test_lines_end_as_those_of_the_input(tmp_path: Path) -> None:
    for end in ("\n", "\r\n"):
        rows = [[f"{n}.jpg", "a\nb"] for n in range(20)]
        path = written(tmp_path / "pairs.csv", [["url", "caption"], *rows], end=end)
        content = b"".join(each.read_bytes() for each in split(path, force=True))
        assert content.count(b"\r\n") == (23 if end == "\r\n" else 0)
        assert content.count(b"\n") == 43


def test_rows_that_are_ragged_or_broken_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b'id,url\n1,a.jpg\n2\n3,b.jpg,more\n4,"never closed\n5,\xff.jpg\n')
    found = [row for each in split(path) for row in read(each)[1:]]
    assert sorted(found) == [
        ["1", "a.jpg"], ["2"], ["3", "b.jpg", "more"], ["4", "never closed"], ["5", "\udcff.jpg"]
    ]  # fmt: skip


def test_a_row_without_the_column_is_where_empty_cells_are(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"id,url\n1,\n2\n3,\n")
    counts = [len(read(each)) - 1 for each in split(path)]
    assert counts[part_of("", (0.7, 0.2, 0.1))] == 3


def test_without_a_header_columns_have_numbers_and_no_row_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "pairs.csv", [[f"{n}.jpg", "same"] for n in range(50)])
    found = [read(each) for each in split(path, has_header=False)]
    assert sorted(row[0] for part in found for row in part) == sorted(f"{n}.jpg" for n in range(50))
    by_caption = [read(each) for each in split(path, has_header=False, by="2", force=True)]
    assert sorted(map(len, by_caption)) == [0, 0, 50]


@pytest.mark.parametrize(
    ("name", "ratios", "names"),
    [
        ("pairs.csv", "0.5,0.5", ["pairs_train.csv", "pairs_test.csv"]),
        ("pairs.csv", THREE, ["pairs_train.csv", "pairs_val.csv", "pairs_test.csv"]),
        ("a.b.tsv", "0.25,0.25,0.25,0.25", [f"a.b_part{n}.tsv" for n in range(1, 5)]),
        ("pairs.csv.gz", "0.5,0.5", ["pairs_train.csv", "pairs_test.csv"]),
        ("pairs.txt", "0.5,0.5", ["pairs_train.csv", "pairs_test.csv"]),
    ],
)
def test_parts_are_called_after_the_file_and_lie_beside_it(
    pairs: Path, name: str, ratios: str, names: list[str]
) -> None:
    content = pairs.read_bytes()
    path = pairs.rename(pairs.with_name(name))
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    outputs = split(path, ratios)
    assert [each.name for each in outputs] == names
    assert sum(len(read(each)) - 1 for each in outputs) == 300


def test_names_and_the_folder_can_be_chosen(pairs: Path) -> None:
    folder = pairs.with_name("parts")
    folder.mkdir()
    assert main(
        ["split", str(pairs), "--ratios", "0.5,0.5", "--names", "fit,check", "-o", str(folder)]
    ) == 0  # fmt: skip
    assert sorted(each.name for each in folder.iterdir()) == ["pairs_check.csv", "pairs_fit.csv"]
    assert sorted(each.name for each in pairs.parent.iterdir()) == ["pairs.csv", "parts"]


def test_it_prints_the_rows_of_each_part_and_their_share(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["split", str(pairs), "--ratios", THREE]) is ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    counts = [len(read(pairs.with_name(f"pairs_{each}.csv"))) - 1 for each in ("train", "val", "test")]  # fmt: skip # noqa: E501
    assert sum(counts) == 300
    for line, count in zip(lines, counts, strict=True):
        assert line.endswith(f": {count} rows, {count / 300:.2%}")


def test_it_needs_no_settings(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_SCORING_SOURCES", "/nowhere/sources.yaml")
    assert main(["split", str(pairs), "--ratios", "0.5,0.5"]) is ExitCode.DONE


def test_a_part_that_exists_is_refused_before_anything_is_written(
    pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = pairs.with_name("pairs_test.csv")
    test.write_text("mine")
    assert main(["split", str(pairs), "--ratios", THREE]) is ExitCode.WRONG_USE
    assert "pairs_test.csv exists already: --force" in capsys.readouterr().err
    assert sorted(each.name for each in pairs.parent.iterdir()) == ["pairs.csv", "pairs_test.csv"]
    assert test.read_text() == "mine"
    assert main(["split", str(pairs), "--ratios", THREE, "--force"]) is ExitCode.DONE
    assert test.read_text() != "mine"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--ratios", "70,20,10"], "sum is 100, not 1"),
        (["--ratios", "0.5,0.5", "--by", "image"], "no column 'image', only 'url', 'caption'"),
        (["--ratios", "0.5,0.5", "--names", "a"], "1 names for 2 ratios"),
        (["--ratios", "0.5,0.5", "-o", "/nowhere/parts"], "no such folder"),
        (["--ratios", "0.5,0.5", "--delimiter", "ab"], "must be one character"),
    ],
)
def test_wrong_use_is_exit_code_2_with_what_is_wrong(
    pairs: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(["split", str(pairs), *more]) is ExitCode.WRONG_USE
    assert said in capsys.readouterr().err
    assert [each.name for each in pairs.parent.iterdir()] == ["pairs.csv"]


def test_an_input_that_breaks_half_way_leaves_nothing(pairs: Path) -> None:
    content = b"".join(b"%d.jpg,%s\n" % (n, os.urandom(40).hex().encode()) for n in range(5000))
    pairs.write_bytes(gzip.compress(b"url,caption\n" + content)[:-2000])
    assert main(["split", str(pairs), "--ratios", THREE]) is ExitCode.WRONG_USE
    assert [each.name for each in pairs.parent.iterdir()] == ["pairs.csv"]


def failing(real: Callable[[int], None], at: int, error: BaseException) -> Callable[[int], None]:
    left = iter(range(1, at + 1))

    def fsync(descriptor: int) -> None:
        if next(left) == at:
            raise error
        real(descriptor)

    return fsync


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_no_part_is_there_before_all_are_on_the_disk(
    pairs: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(os, "fsync", failing(os.fsync, 3, error))
    assert main(["split", str(pairs), "--ratios", THREE]) is ExitCode.TRY_AGAIN
    assert [each.name for each in pairs.parent.iterdir()] == ["pairs.csv"]
