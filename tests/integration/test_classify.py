"""`clip-scoring classify`: each row of a CSV file comes out once with its labels, or why not."""

from __future__ import annotations

import csv
import gzip
import io
import os
import random
import signal
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clip_scoring.cli import main
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.errors import ClipScoringError, ObjectUnreadable, SettingsInvalid
from clip_scoring.files import classify as wiring
from clip_scoring.files.classify import Classification, Classified, LabelOptions
from clip_scoring.files.csv_writer import without_formulas
from clip_scoring.files.labels import read_labels
from clip_scoring.files.reader import CsvRow, Dialect
from clip_scoring.files.writer import Layout, write_csv
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Reason, Record, Rejection, Score
from clip_scoring.sample.drawing import render
from clip_scoring.sample.scenes import Colour, Pattern, random_scene
from clip_scoring.settings.scorer_options import ScorerOptions

LABELS = ["cat", "dog", "a red, round thing"]
OURS = ["label", "probability", *(f"p_{each}" for each in LABELS), "rejection", "rejection_detail"]
CELL = st.text(
    st.one_of(st.sampled_from('",;\t\r\n\0 =+-@\ufeff｜é'), st.characters(codec="utf-8")),
    max_size=12,
)
ROWS = st.lists(st.lists(CELL, min_size=1, max_size=5), max_size=30)


class PretendScorer:
    """`Scorer` by hash; a path that ends in a reason is rejected with it."""

    device = "none"
    signals = 0
    """So many times it is interrupted at the second batch."""

    def __init__(self, **choices: Any) -> None:
        self.options = ScorerOptions.of(choices)
        self.asked: list[str] = []
        self.prompts: list[Sequence[Sequence[str]]] = []
        self.judged = self.most_ahead = 0
        self.closed = False

    def load(self, records: Sequence[Record]) -> Sequence[DecodedImage | Rejection]:
        self.asked += [each.image_uri for each in records]
        return [self._image(each) for each in records]

    def probabilities(
        self, images: Sequence[DecodedImage], prompts: Sequence[Sequence[str]]
    ) -> NDArray[np.float32]:
        self.most_ahead = max(self.most_ahead, len(self.asked) - self.judged)
        self.judged += len(images)
        self.prompts.append(prompts)
        if len(self.prompts) == 2:
            for _ in range(self.signals):
                os.kill(os.getpid(), signal.SIGINT)
        return np.stack([probabilities(each.digest.decode(), prompts) for each in images])

    def close(self) -> None:
        self.closed = True

    def _image(self, record: Record) -> DecodedImage | Rejection:
        name = record.image_uri.rpartition("/")[2]
        if name in set(Reason):
            return Rejection(Reason(name), "as asked")
        return DecodedImage(np.zeros((1, 1, 3), np.uint8), name.encode(errors="surrogatepass"))


def probabilities(name: str, prompts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    if name == "nan":
        return np.full(len(prompts), np.nan, np.float32)
    if name == "equal":  # each other one
        return np.resize(np.array([0.1, 0.3], np.float32), len(prompts))
    drawn = [int.from_bytes(sha256(f"{name} {each}".encode()).digest()[:4]) for each in prompts]
    return np.asarray(np.array(drawn) / sum(drawn), np.float32)


def expected(name: str, labels: Sequence[str] = LABELS) -> NDArray[np.float32]:
    return probabilities(name, [[each] for each in labels])


def read(path: Path, delimiter: str = ",") -> list[list[str]]:
    text = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def classify(path: Path, scorer: PretendScorer | None = None, **given: Any) -> Classified:
    """By the engine of the command line, without a model."""
    labels = given.pop("labels", None)
    if labels is None:
        labels = path.with_name("labels.txt")
        labels.write_text("\n".join(LABELS))
    options = LabelOptions.of({"path": path, "labels": labels, **given})
    used = scorer or PretendScorer(batch_size=given.get("batch_size", 4))
    found = Classification(options, {}, used)  # type: ignore[arg-type]  # its face is the same
    return found.run(watch=lambda _: None, stopping=lambda: False)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / "images.csv"
    path.write_text("id,url\n" + "".join(f"{n},{n}.jpg\n" for n in range(10)))
    return path


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(LABELS))
    return path


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[PretendScorer]:
    """Scorers that the command line opens are of the kind that needs no model."""
    opened: list[PretendScorer] = []

    def open_one(**choices: Any) -> PretendScorer:
        opened.append(PretendScorer(**choices))
        return opened[-1]

    monkeypatch.setattr(wiring, "Scorer", open_one)
    monkeypatch.setattr(PretendScorer, "signals", 0)
    return opened


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, delimiter=st.sampled_from(",;\t|"), bom=st.booleans(),
       quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))  # fmt: skip
def test_each_row_comes_out_once_in_order_and_unchanged_with_ours_behind(
    rows: list[list[str]], delimiter: str, bom: bool, quoting: Any
) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\r\n", quoting=quoting)
    writer.writerows([["url", "caption", "more"], *rows])
    with TemporaryDirectory() as made:
        path = Path(made, "images.csv")
        path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + stream.getvalue().encode())
        output = classify(path).output
        found = read(output, delimiter)
        assert output.read_bytes().startswith(b"\xef\xbb\xbf") == bom
    assert found[0] == ["url", "caption", "more", *OURS]
    for before, after in zip(rows, found[1:], strict=True):
        assert after[:3] == [*before, "", ""][:3]
        assert after[3 + len(OURS) :] == before[3:]
        label, reason = after[3], after[3 + len(OURS) - 2]
        assert bool(label) != bool(reason)
        assert (reason == "record_invalid") == (len(before) != 3)


def test_a_row_says_the_most_probable_label_and_the_probability_of_each(images: Path) -> None:
    found = read(classify(images).output)
    assert found[0] == ["id", "url", *OURS]
    for number, row in enumerate(found[1:]):
        wanted = expected(f"{number}.jpg")
        assert row[2] == LABELS[int(wanted.argmax())]
        assert row[3:7] == [str(wanted.max()), *map(str, wanted)]
        assert row[7:] == ["", ""]


def test_probabilities_are_the_shortest_text_of_their_float32(images: Path) -> None:
    cell = read(classify(images).output)[1][3]
    assert np.float32(cell) == expected("0.jpg").max()
    assert len(cell) < len(str(float(expected("0.jpg").max())))


def test_top_names_so_many_labels_by_probability(images: Path) -> None:
    found = read(classify(images, top="2").output)
    assert found[0][4:8] == ["label_1", "probability_1", "label_2", "probability_2"]
    wanted = expected("3.jpg")
    order = np.argsort(wanted)[::-1]
    assert found[4][4:8] == [
        text for at in order[:2] for text in (LABELS[at], str(wanted[at]))
    ]  # fmt: skip
    assert found[4][2:4] == found[4][4:6]


def test_of_equally_probable_labels_the_one_named_first_counts(images: Path) -> None:
    images.write_text("url\nequal\n")
    path = images.with_name("labels.txt")
    path.write_text("\n".join(f"label {n}" for n in range(40)))
    row = read(classify(images, labels=path, top=3).output)[1]
    assert row[1:8:2] == ["label 1", "label 1", "label 3", "label 5"]


def test_what_cannot_be_loaded_has_a_reason_and_no_label(images: Path) -> None:
    images.write_text("url\na.jpg\nhttp_404_410\nb.jpg\n")
    result = classify(images, batch_size=2)
    _, first, second, third = read(result.output)
    assert second == ["http_404_410", "", "", "", "", "", "http_404_410", "as asked"]
    assert [first[-2], third[-2]] == ["", ""]
    assert (result.rows, result.rejected, result.rejections) == (3, 1, {"http_404_410": 1})


def test_rows_of_which_none_can_be_loaded_are_no_trouble(images: Path) -> None:
    images.write_text("url\n" + "timeout\n" * 9)
    assert classify(images).rejections == {"timeout": 9}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"only one", "line 3: 1 cells, header has 2"),
        (b"b.jpg,1,2", "line 3: 3 cells, header has 2"),
        (b'"b.jpg,2', "line 3: unexpected end of data"),
        (b"\xff.jpg,2", "line 3: not UTF-8"),
    ],
)
def test_a_row_that_is_none_is_rejected_with_its_line(images: Path, line: bytes, said: str) -> None:
    images.write_bytes(b"url,n\na.jpg,1\n" + line + b"\n")
    row = read(classify(images).output)[2]
    assert "record_invalid" in row
    assert said in row[-1] or said in row[-2]


def test_an_image_without_direction_is_rejected(images: Path) -> None:
    images.write_text("url\na.jpg\nnan\n")
    assert [row[-2] for row in read(classify(images).output)[1:]] == ["", "non_finite"]


def test_relative_paths_begin_beside_the_file(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    images.write_text("url\na/b.jpg\n/c.jpg\nhttps://example.org/d.jpg\n")
    scorer = PretendScorer()
    classify(images, scorer)
    folder = images.parent
    assert scorer.asked == [f"{folder}/a/b.jpg", "/c.jpg", "https://example.org/d.jpg"]


def test_relative_paths_begin_at_the_image_root_where_there_is_one(images: Path) -> None:
    scorer = PretendScorer(image_root=images.parent, batch_size=64)
    classify(images, scorer)
    assert scorer.asked == [f"{number}.jpg" for number in range(10)]


def test_each_label_is_put_into_each_template(images: Path) -> None:
    scorer = PretendScorer()
    classify(images, scorer, templates=["a {label}", "{label} {of} {label}"])
    assert scorer.prompts[0][1] == ["a dog", "dog {of} dog"]


def test_without_a_template_the_label_is_the_caption(images: Path) -> None:
    scorer = PretendScorer()
    classify(images, scorer)
    assert scorer.prompts[0] == [[each] for each in LABELS]


def test_few_batches_are_in_memory_however_long_the_file_is(images: Path) -> None:
    images.write_text("url\n" + "".join(f"{n}.jpg\n" for n in range(5000)))
    scorer = PretendScorer(batch_size=16)
    assert classify(images, scorer).rows == scorer.judged == 5000
    assert scorer.most_ahead <= 9 * 16


def test_blank_lines_and_what_stands_around_a_label_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeff\r\n cat \r\n\n\tdog\r\nüñ\n\n".encode())
    assert read_labels(path) == {"cat": 2, "dog": 4, "üñ": 5}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "the file is empty"),
        (b"cat\ndog\n cat\n", "line 3 is line 1 again, 'cat'"),
        (b"caf\xe9\n", "not UTF-8"),
        ("cat\n".encode("utf-16"), "not UTF-8"),
        (b"\n".join(b"%d" % n for n in range(10_001)), "over 10000 labels"),
        (b"x" * 20_000, "line 1 has over 16384 letters"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_with_the_line(
    images: Path, content: bytes, said: str
) -> None:
    path = images.with_name("labels.txt")
    path.write_bytes(content)
    with pytest.raises(ClipScoringError, match=said):
        classify(images, labels=path)


def test_as_many_labels_as_may_be_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(b"\n".join(b"%d" % n for n in range(10_000)) + b"\n\n")
    assert len(read_labels(path)) == 10_000


def test_a_file_of_labels_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ObjectUnreadable, match=r"labels .*nothing\.txt: No such file"):
        read_labels(tmp_path / "nothing.txt")


def test_a_label_that_no_caption_may_be_is_refused_with_its_line(images: Path) -> None:
    path = images.with_name("labels.txt")
    path.write_bytes(b"cat\nd\0g\n")
    with pytest.raises(SettingsInvalid, match="line 2: caption_invalid"):
        classify(images, labels=path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"templates": ["a photo"]},
            r"templates\[0\]: 'a photo' must be a string with \{label\} in it",
        ),
        ({"top": 4}, "4 is more than the 3 labels"),
        ({"top": "-1"}, "option top: '-1' must be a whole number"),
        ({"image_column": "image"}, "no column 'image', only 'id', 'url'"),
        ({"output": Path("/nowhere/out.csv")}, "no such folder"),
        ({"output": Path("out.parquet")}, r"ends in \.csv or \.tsv"),
    ],
)
def test_wrong_use_is_refused_before_a_scorer_is_opened(
    images: Path, labels: Path, pretended: list[PretendScorer], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        Classification(LabelOptions.of({"path": images, "labels": labels, **given}), {})
    assert pretended == []


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("images.csv", "images_classified.csv"),
        ("a.b.tsv", "a.b_classified.tsv"),
        ("images.csv.gz", "images_classified.csv"),
        ("images.txt", "images_classified.csv"),
    ],
)
def test_the_output_is_called_after_the_input(images: Path, name: str, output: str) -> None:
    content = images.read_bytes()
    path = images.rename(images.with_name(name))
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert classify(path).output == path.with_name(output)
    assert names(path.parent) == sorted([name, output, "labels.txt"])


def test_an_output_called_tsv_is_parted_by_tabs(images: Path) -> None:
    output = images.with_name("out.tsv")
    classify(images, output=output)
    assert read(output, "\t")[0] == ["id", "url", *OURS]


def test_without_a_header_none_is_written(images: Path) -> None:
    images.write_text("a.jpg,1\nb.jpg,2\n")
    found = read(classify(images, has_header=False).output)
    assert [row[:3] for row in found] == [
        [name, n, LABELS[int(expected(name).argmax())]]
        for name, n in (("a.jpg", "1"), ("b.jpg", "2"))
    ]


def test_a_column_that_is_there_already_needs_a_prefix_for_ours(images: Path) -> None:
    images.write_text("url,label\na.jpg,cat\n")
    with pytest.raises(SettingsInvalid, match="column 'label' already: give ours a --column"):
        classify(images)
    assert read(classify(images, column_prefix="clip_").output)[0] == [
        "url", "label", *(f"clip_{each}" for each in OURS)
    ]  # fmt: skip


def test_formulas_are_made_text_where_that_was_asked_for(images: Path) -> None:
    path = images.with_name("labels.txt")
    path.write_text("=1+1\n")
    images.write_text("url,note,n\na.jpg,@SUM(A1),-3.5\n")
    found = read(classify(images, labels=path, excel_safe=True).output)
    assert found[1][:4] == ["a.jpg", "'@SUM(A1)", "-3.5", "'=1+1"]
    assert read(classify(images, labels=path, force=True).output)[1][3] == "=1+1"


@given(cells=st.lists(CELL, min_size=1, max_size=6))
def test_the_same_cells_are_formulas_as_to_the_command_score(cells: list[str]) -> None:
    stream = io.BytesIO()
    dialect = Dialect(",", "\r\n", bom=False, has_header=False)
    layout = Layout([""] * len(cells), dialect, excel_safe=True)
    write_csv(stream, [(CsvRow(2, cells), Score(0.5, caption_truncated=False))], layout)
    by_score = next(csv.reader(io.StringIO(stream.getvalue().decode(), newline="")))
    assert by_score[: len(cells)] == without_formulas(cells)


def test_an_output_that_exists_is_kept_without_force(
    images: Path, labels: Path, pretended: list[PretendScorer], capsys: pytest.CaptureFixture[str]
) -> None:
    output = images.with_name("images_classified.csv")
    output.write_text("mine")
    assert main(["classify", str(images), "--labels", str(labels)]) is ExitCode.WRONG_USE
    assert f"output {output} exists already: --force" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(["classify", str(images), "--labels", str(labels), "--force"]) is ExitCode.DONE
    assert len(read(output)) == 11
    assert [each.closed for each in pretended] == [True]


def test_the_input_is_never_the_output(images: Path) -> None:
    before = images.read_bytes()
    with pytest.raises(SettingsInvalid, match="is the input"):
        classify(images, output=images, force=True)
    assert images.read_bytes() == before


def test_it_prints_what_became_of_the_rows(
    images: Path, labels: Path, pretended: list[PretendScorer], capsys: pytest.CaptureFixture[str]
) -> None:
    images.write_text("url\n" + "a.jpg\n" * 3 + "timeout\n" * 2)
    assert (
        main(["classify", str(images), "--labels", str(labels), "--batch-size", "2"])
        is ExitCode.DONE
    )
    first, *more = capsys.readouterr().out.splitlines()
    assert first.endswith("images_classified.csv: 5 rows  classified 3  rejected 2")
    assert more == [f"  {LABELS[int(expected('a.jpg').argmax())]}  3", "rejected", "  timeout  2"]


def test_its_help_says_that_it_cannot_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["classify", "--help"])
    assert "cannot be resumed" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("signals", [1, 2])
def test_interrupted_it_leaves_nothing_behind(
    images: Path, labels: Path, pretended: list[PretendScorer], signals: int,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(PretendScorer, "signals", signals)
    images.write_text("url\n" + "".join(f"{n}.jpg\n" for n in range(100)))
    assert (
        main(["classify", str(images), "--labels", str(labels), "--batch-size", "2"])
        is ExitCode.TRY_AGAIN
    )
    assert "interrupted" in capsys.readouterr().err
    assert names(images.parent) == ["images.csv", "labels.txt"]
    assert pretended[0].closed
    assert len(pretended[0].prompts) == 2


def test_an_input_that_breaks_half_way_leaves_nothing_behind(images: Path) -> None:
    rows = b"".join(b"%d.jpg,%s\n" % (n, os.urandom(40).hex().encode()) for n in range(5000))
    images.write_bytes(gzip.compress(b"url,caption\n" + rows)[:-2000])
    with pytest.raises(ObjectUnreadable, match="damaged"):
        classify(images)
    assert names(images.parent) == ["images.csv", "labels.txt"]


def test_the_embedded_weights_know_the_colours_of_pictures(tmp_path: Path) -> None:
    rng, drawn = random.Random(7), []
    while len(drawn) < 20:
        scene = random_scene(rng)
        if len(scene.shapes) == 1 and scene.pattern is Pattern.PLAIN:
            render(scene, rng, longer_side=128).save(tmp_path / f"{len(drawn)}.png")
            drawn.append(str(scene.shapes[0].colour))
    images, labels = tmp_path / "images.csv", tmp_path / "labels.txt"
    named = "".join(f"{n}.png,{colour}\n" for n, colour in enumerate(drawn))
    images.write_text(f"url,colour\n{named}missing.png,none\n")
    labels.write_text("\n".join(Colour))
    command = ["classify", str(images), "--labels", str(labels), "--template", "a {label} shape"]
    assert main([*command, "--device", "cpu"]) is ExitCode.DONE
    *good, missing = read(tmp_path / "images_classified.csv")[1:]
    assert sum(row[1] == row[2] for row in good) >= 19
    for row in good:
        assert sum(map(float, row[4:12])) == pytest.approx(1, abs=1e-5)
    assert missing[2:13] == ["", "", *[""] * 8, "object_not_found"]
