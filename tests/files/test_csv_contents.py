"""Every row of a CSV file comes out once, in order, its cells as they were, whatever is in them."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_scoring.errors import ClipScoringError, ObjectUnreadable, SettingsInvalid
from clip_scoring.files import reader as csv_file
from clip_scoring.files.score import FileResult, FileScoring
from clip_scoring.files.writer import COLUMNS
from clip_scoring.settings.file_options import FileOptions
from clip_scoring.sources import csv_records
from tests.files.fake import PretendScorer

HEADER = ["url", "caption", "more"]
CELL = st.text(
    st.one_of(st.sampled_from('",;\t\r\n\0 =+-@\ufeff\u202e｜é'), st.characters(codec="utf-8")),
    max_size=12,
)
ROWS = st.lists(st.lists(CELL, min_size=1, max_size=5), max_size=30)


def score(path: Path, **given: Any) -> FileResult:
    """By the engine of the command line, without a model."""
    chosen = {"batch_size": 4, **given}
    options = FileOptions.of({"path": path, **chosen})
    scorer = PretendScorer(batch_size=chosen.get("batch_size"))
    with closing(FileScoring(options, {}, scorer)) as scoring:  # type: ignore[arg-type]
        result = scoring.run(watch=lambda _: None, stopping=lambda: False)
        scoring.discard_journal_if_clean(result)
    return result


def read(path: Path, delimiter: str = ",") -> list[list[str]]:
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def written(folder: Path, content: bytes, name: str = "pairs.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, delimiter=st.sampled_from(",;\t|"), line_end=st.sampled_from(["\n", "\r\n"]),
       bom=st.booleans(), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))  # fmt: skip
def test_each_row_comes_out_once_in_order_and_unchanged(
    rows: list[list[str]], delimiter: str, line_end: str, bom: bool, quoting: Any
) -> None:
    # What a writer that knows no other line end than its own leaves without quotes is no CSV.
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\r\n", quoting=quoting)
    writer.writerow(HEADER)
    for row in rows:
        writer.writerow(row)
    lines = stream.getvalue().replace("\r\n", line_end) if _calm(rows) else stream.getvalue()
    with TemporaryDirectory() as made:
        path = written(Path(made), (b"\xef\xbb\xbf" if bom else b"") + lines.encode())
        given_rows = read(path, delimiter)
        result = score(path)
        found = read(result.output, delimiter)
        assert result.output.read_bytes().startswith(b"\xef\xbb\xbf") == bom
    assert found[0] == [*HEADER, *COLUMNS]
    assert len(found) == len(given_rows)
    for before, after in zip(given_rows[1:], found[1:], strict=True):
        padded = [*before, *[""] * (3 - len(before))]
        assert after[:3] == padded[:3]
        assert after[9:] == padded[3:]
        similarity, reason = after[3], after[7]
        assert bool(similarity) != bool(reason)
        assert (reason == "record_invalid") == (len(before) != 3)


def _calm(rows: list[list[str]]) -> bool:
    return not any("\r" in cell or "\n" in cell for row in rows for cell in row)


def test_the_lines_of_a_row_end_as_those_of_the_input(folder: Path) -> None:
    for end in (b"\n", b"\r\n"):
        path = written(folder, end.join([b"url,caption", b"a,b", b'"c\nd",e', b""]))
        result = score(path, force=True)
        content = result.output.read_bytes()
        assert content.count(end) == content.count(b"\n") - (end != b"\n")


@pytest.mark.parametrize("block", [1, 7, 8, 9, 13, 40, 4096])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_row_keeps_its_own_quotes_wherever_it_is_cut_while_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, end: bytes, block: int
) -> None:
    monkeypatch.setattr(csv_file, "_BLOCK", block)
    rows = [
        b'"a","b"',
        b'a "b",c',
        b'"d\n\r\nd",""',
        b'"","x ""y"" \n\n\n z"',
        b"\xff,b",
        b'"e", f ',
    ]
    path = written(folder, end.join([b"url,caption", b"", *rows[:3], b"", *rows[3:]]))
    content = score(path).output.read_bytes()
    _, tail = content.split(end, 1)
    for row in rows:
        line, tail = tail[: len(row)], tail[len(row) :]
        assert line == row
        _, tail = tail.split(end, 1)
    assert not tail
    assert [row[:2] for row in read(path) if row] == [row[:2] for row in read(score(path).output)]


def test_a_mark_in_the_first_cell_that_is_written_is_not_taken_for_that_of_the_file(
    folder: Path,
) -> None:
    path = written(folder, b'\n\xef\xbb\xbf"a,b\nc,"d"\n')
    result = score(path, has_header=False, image_column="1", caption_column="2")
    assert [row[:2] for row in read(result.output)] == [['\ufeff"a', "b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("url,caption\n".encode("utf-16"), "UTF-16"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n\n", "is empty"),
        (b"PK\x03\x04 rest", "Excel"),
        (b"PAR1 rest", "Parquet"),
        (b"url,caption\ra,b\r", "CR alone"),
        (b"link,caption\na,b\n", "no column 'url', only 'link', 'caption'"),
        (b"url,url,caption\na,b,c\n", "2 columns 'url'"),
        (b"url,caption,similarity\na,b,c\n", "column-prefix"),
        (gzip.compress(b"url,caption\na,b\n" * 1000, mtime=0)[:-20], "damaged"),
    ],
)  # fmt: skip
def test_what_is_no_csv_of_pairs_is_refused_with_what_it_is(
    folder: Path, content: bytes, said: str
) -> None:
    path = written(folder, content)
    with pytest.raises(ClipScoringError, match=said):
        score(path)
    assert not (folder / "pairs_scored.csv").exists()


def test_ragged_rows_are_rejected_with_their_line(folder: Path) -> None:
    path = written(folder, b'url,caption\na,b\nc\n"d\nd",e\nf,g,h\n')
    found = read(score(path).output)[1:]
    assert [row[6:] for row in found] == [
        ["", ""],
        ["record_invalid", "line 3: 1 cells, header has 2"],
        ["", ""],
        ["record_invalid", "line 6: 3 cells, header has 2", "h"],
    ]


def test_a_quote_that_never_closes_costs_its_own_line(folder: Path) -> None:
    path = written(folder, b'url,caption\na,"b\nc,d\n')
    found = read(score(path).output)
    assert [row[:2] for row in found[1:]] == [["a", "b"], ["c", "d"]]
    assert [row[6] for row in found[1:]] == ["record_invalid", ""]
    assert found[1][7].startswith("line 2: ")


def test_bytes_that_are_not_utf8_are_kept_and_cost_their_row_only_in_a_pair(folder: Path) -> None:
    path = written(folder, b"url,caption,by\na,caf\xe9,x\nb,good,Ren\xe9\n")
    result = score(path)
    lines = result.output.read_bytes().splitlines()
    assert lines[1] == b"a,caf\xe9,x,,,,,record_invalid,line 2: not UTF-8"
    assert lines[2].startswith(b"b,good,Ren\xe9,")
    assert result.tally.rejections == {"record_invalid": 1}


def test_cells_of_ten_megabytes_with_many_lines_are_kept(folder: Path) -> None:
    text = "x\n" * 5_000_000
    path = written(folder, f'url,caption,html\na,b,"{text}"\nc,d,e\n'.encode())
    old = csv.field_size_limit()
    found = read(score(path).output)
    assert csv.field_size_limit() == old == csv_records.LIMIT_BYTES
    assert (found[1][2] == text, found[1][7], found[2][:3]) == (True, "", ["c", "d", "e"])


def test_a_gzip_file_is_read_whatever_it_is_called(folder: Path) -> None:
    path = written(folder, gzip.compress(b"url,caption\na,b\n"))
    assert [row[:2] for row in read(score(path).output)] == [["url", "caption"], ["a", "b"]]


def test_a_gzip_file_of_several_parts_is_read_to_its_end(folder: Path) -> None:
    path = written(folder, gzip.compress(b"url,caption\na,b\n") + gzip.compress(b"c,d\n"))
    assert [row[0] for row in read(score(path).output)] == ["url", "a", "c"]


@pytest.mark.parametrize("lines", [20_000])
def test_a_stray_quote_on_each_line_costs_each_line_and_no_more_time(
    folder: Path, lines: int
) -> None:
    path = written(folder, b"url,caption\n" + b'a,"b\n' * lines + b"c,d\n")
    result = score(path, batch_size=512)
    assert (result.tally.rows, result.tally.scored) == (lines + 1, 1)


def test_the_output_of_a_gzip_file_is_named_without_gz(folder: Path) -> None:
    path = written(folder, gzip.compress(b"url,caption\na,b\n"), "pairs.csv.gz")
    assert score(path).output == folder / "pairs_scored.csv"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_found_and_kept(folder: Path, delimiter: str) -> None:
    path = written(
        folder, f"id{delimiter}url{delimiter}caption\n7{delimiter}a,1{delimiter}b\n".encode()
    )
    found = read(score(path).output, delimiter)
    assert found[1][:3] == ["7", "a,1", "b"]
    assert found[1][3]


def test_a_named_delimiter_wins(folder: Path) -> None:
    path = written(folder, b"url:caption\na:b\n")
    assert read(score(path, delimiter=":").output, ":")[1][:2] == ["a", "b"]


def test_without_a_header_columns_are_called_by_number(folder: Path) -> None:
    path = written(folder, b"a caption\thttp://example.org/a.jpg\n")
    result = score(path, has_header=False, image_column="2", caption_column="1")
    (row,) = read(result.output, "\t")
    assert row[:2] == ["a caption", "http://example.org/a.jpg"]
    assert row[2]


def test_ids_keep_their_zeros_and_duplicate_and_empty_headers_their_places(folder: Path) -> None:
    path = written(folder, b"id,,x,x,url,caption\n007,1,2,3,a,b\n")
    found = read(score(path, id_column="id").output)
    assert found[0][:6] == ["id", "", "x", "x", "url", "caption"]
    assert found[1][:6] == ["007", "1", "2", "3", "a", "b"]


def test_a_limit_takes_the_first_rows_and_a_seed_the_same_random_ones(folder: Path) -> None:
    path = written(folder, b"url,caption\n" + b"".join(b"%d,c\n" % n for n in range(200)))

    def numbers(**given: Any) -> list[int]:
        return [int(row[0]) for row in read(score(path, force=True, limit=20, **given).output)[1:]]

    assert numbers() == list(range(20))
    drawn = numbers(seed=1)
    assert drawn == numbers(seed=1) == sorted(set(drawn))
    assert len(drawn) == 20
    assert drawn != numbers(seed=2)
    assert drawn[-1] > 100


def test_a_template_is_put_around_captions_and_empty_ones_stay_empty(folder: Path) -> None:
    path = written(folder, b"url,caption\na,b\nc, \n")
    plain = read(score(path, force=True).output)[1]
    templated = read(score(path, force=True, prefix="A photo of {caption}!").output)
    before = read(score(path, force=True, prefix="A photo of").output)[1]
    spelled = written(folder, b"url,caption\na,A photo of b!\n", "spelled.csv")
    assert templated[1][2] == read(score(spelled).output)[1][2] != plain[2]
    assert before[2] not in {plain[2], templated[1][2]}
    assert templated[2][6] == "caption_empty"


def test_text_that_is_a_formula_gets_an_apostrophe_and_numbers_do_not(folder: Path) -> None:
    cells = ["=1+1", "+x", "-5", "+3.5e2", "@sum", "-x", "＝1", "safe", "\tx"]
    rows = [["url", "caption", "=note"], *(["a", "b", cell] for cell in cells)]
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    found = read(score(written(folder, stream.getvalue().encode()), excel_safe=True).output)
    assert [row[2] for row in found] == [
        "'=note", "'=1+1", "'+x", "-5", "+3.5e2", "'@sum", "'-x", "'＝1", "safe", "'\tx",
    ]  # fmt: skip
    assert all(float(row[3]) <= 1 for row in found[1:])


def test_a_prefix_for_our_columns_lets_two_weights_stand_side_by_side(folder: Path) -> None:
    first = score(written(folder, b"url,caption\na,b\n")).output
    second = score(first, column_prefix="next_", output=folder / "both.csv").output
    assert read(second)[0][2:] == [*COLUMNS, *(f"next_{each}" for each in COLUMNS)]


def named(rows: Sequence[Any], name: str) -> list[Any]:
    return [row[name] for row in rows]


@pytest.fixture
def read_as(folder: Path) -> Callable[[str], list[dict[str, Any]]]:
    """Rows of another format than CSV, made of one with everything in it."""
    path = written(
        folder, b"url,caption,caption_2,,url\n".replace(b",url\n", b",x\n")
        + b"a,b,c,d,e\ntimeout,b,c,d,e\nf,g\nh,i,j,k,l,m\nn,caf\xe9,p,q,r\n",
    )  # fmt: skip

    def rows_of(suffix: str) -> list[dict[str, Any]]:
        output = score(path, output=folder / f"out{suffix}").output
        if suffix == ".parquet":
            from pyarrow import parquet

            return list(parquet.read_table(output).to_pylist())
        import json

        return [json.loads(line) for line in output.read_text().splitlines()]

    return rows_of


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_other_formats_hold_the_same_rows_with_types(
    read_as: Callable[[str], list[dict[str, Any]]], suffix: str
) -> None:
    rows = read_as(suffix)
    assert list(rows[0])[:11] == ["url", "caption", "caption_2", "column_4", "x", *COLUMNS]
    assert named(rows, "url") == ["a", "timeout", "f", "h", "n"]
    assert named(rows, "rejection") == [
        None, "timeout", "record_invalid", "record_invalid", "record_invalid"
    ]  # fmt: skip
    assert isinstance(rows[0]["similarity"], float)
    assert (rows[0]["caption_truncated"], rows[1]["caption_truncated"]) == (False, None)
    assert rows[2]["x"] is None
    assert rows[3]["surplus_cells"] == ["m"]
    assert rows[4]["caption"] in {"caf\\xe9", "caf\udce9"}


def test_the_same_rows_give_the_same_bytes_in_each_format(folder: Path) -> None:
    path = written(folder, b"url,caption\n" + b"".join(b"%d,c\n" % n for n in range(50)))
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz", ".jsonl.gz"):
        one, other = (
            score(path, output=folder / f"{n}{suffix}").output.read_bytes() for n in (1, 2)
        )
        assert one == other, suffix


def test_an_output_of_an_unknown_kind_is_refused(folder: Path) -> None:
    path = written(folder, b"url,caption\na,b\n")
    with pytest.raises(SettingsInvalid, match=r"ends in one of \.csv"):
        score(path, output=folder / "out.xlsx")


def test_a_file_that_changes_while_it_is_scored_is_refused(folder: Path) -> None:
    path = written(folder, b"url,caption\n" + b"".join(b"%d,c\n" % n for n in range(50)))
    options = FileOptions.of({"path": path})
    scorer = PretendScorer(batch_size=4)
    with closing(FileScoring(options, {}, scorer)) as scoring:  # type: ignore[arg-type]
        path.write_bytes(b"url,caption\nx,y\n")
        with pytest.raises(ObjectUnreadable, match="was changed while it was read"):
            scoring.run(watch=lambda _: None, stopping=lambda: False)
    assert not (folder / "pairs_scored.csv").exists()
