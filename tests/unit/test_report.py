"""The report of a scored file: its figures, its page, its pictures, and texts of others in it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from jinja2 import UndefinedError
from numpy.typing import NDArray
from PIL import Image, ImageColor

from clip_scoring.reporting import ReportFigures, ReportPair, plots, retrieval, write_report
from clip_scoring.reporting.distribution import Bar, bars, described
from clip_scoring.reporting.lettering import drawable
from clip_scoring.reporting.page import environment
from clip_scoring.reporting.page import page as page_html
from clip_scoring.reporting.palette import DARK, LIGHT
from clip_scoring.reporting.sheets import MOST_ON_SHEET, contact_sheet

ALWAYS = {"index.html", "distribution.png", "throughput.png"}
SHEETS = {"lowest.png", "highest.png", "random.png"}
HOSTILE = [
    "<script>window.__pwn = 1</script>",
    '"><img src=x onerror="window.__pwn = 2">',
    "' onmouseover='window.__pwn = 3",
    "</style></title><svg onload=window.__pwn=4>",
    "&lt;b&gt; {{ 7 * 7 }} ${7 * 7} %(x)s",
]


def matrix_of(*rows: list[float]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)


def jpeg(colour: str, size: tuple[int, int] = (32, 24), form: str = "JPEG") -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, colour).save(written, form, quality=95)
    return written.getvalue()


def pair(caption: str = "a red square", *, name: str = "7", similarity: float = 0.5,
         uri: str = "images/7.jpg", picture: bytes | None = None) -> ReportPair:  # fmt: skip
    return ReportPair(name, uri, caption, similarity, picture)


FULL = ReportFigures(
    title="pairs.csv",
    facts={"rows": "5", "scored": "4", "verdict": "score-bound: add a GPU, or a faster one"},
    histogram={100: 1, 300: 3},
    rejections={"timeout": 1, "caption_empty": 3},
    throughput=[(60.0, 500), (125.0, 1234)],
    lowest=[pair("a low one", picture=jpeg("red"), similarity=-0.25)],
    highest=[pair("a high one", picture=jpeg("blue"))],
    random=[pair("any one", picture=jpeg("lime"))],
    matrix=matrix_of([0.9, 0.1, 0.2], [0.5, 0.4, 0.4], [0.3, 0.8, 0.7]),
    matrix_names=["first", "second", "third"],
)
EMPTY = ReportFigures("empty.csv", {}, {}, {}, [], [], [], [], None)


class Read(HTMLParser):
    """The page as a browser takes it apart."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.style = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "style" and not self.style:
            self.style = data
        elif data.strip():
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(figures: ReportFigures) -> str:
    """The page without its plots."""
    return page_html(figures, {}, {})


def read(figures: ReportFigures, folder: Path) -> Read:
    return Read(write_report(figures, folder).read_text())


def pixels(picture: bytes | Path | None) -> NDArray[np.int64]:
    assert picture is not None
    opened = Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture)
    return np.asarray(opened.convert("RGB")).astype(np.int64)


def places(picture: bytes | Path | None, colour: str) -> tuple[NDArray[np.int64], ...]:
    """Rows and columns of the pixels that have about this colour."""
    off = np.abs(pixels(picture) - np.array(ImageColor.getrgb(colour))).max(axis=-1)
    return np.nonzero(off < 12)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report with something in every part."""
    return write_report(FULL, tmp_path_factory.mktemp("report") / "new").parent


@pytest.fixture(scope="module")
def page(full: Path) -> Read:
    return Read((full / "index.html").read_text())


# Ranks


def test_a_rank_counts_those_at_least_as_similar() -> None:
    assert FULL.matrix is not None
    assert retrieval.caption_ranks(FULL.matrix).tolist() == [1, 3, 2]
    assert retrieval.image_ranks(FULL.matrix).tolist() == [1, 2, 1]


def test_ties_count_against_us() -> None:
    alike = np.full((12, 12), 0.3, np.float32)
    assert retrieval.caption_ranks(alike).tolist() == [12] * 12
    assert retrieval.summary(retrieval.image_ranks(alike)).recall_at_10 == 0


def test_recall_is_the_share_of_ranks_up_to_k() -> None:
    ranks = np.array([1, 2, 5, 6, 10, 11, 1, 40])
    assert retrieval.summary(ranks) == retrieval.Retrieval(5.5, 2 / 8, 4 / 8, 6 / 8)


def test_the_only_pair_is_first() -> None:
    ranks = retrieval.caption_ranks(matrix_of([-0.5]))
    assert retrieval.summary(ranks) == retrieval.Retrieval(1, 1, 1, 1)


def test_guessing_spreads_ranks_evenly() -> None:
    assert retrieval.by_chance(20) == retrieval.Retrieval(10.5, 1 / 20, 5 / 20, 10 / 20)


def test_misranked_pairs_come_in_the_order_of_their_last_rank() -> None:
    assert FULL.matrix is not None
    assert retrieval.misranked(FULL.matrix, 10) == [1, 2]
    assert retrieval.misranked(FULL.matrix, 1) == [1]


# Distribution


def test_mean_and_quantiles_are_those_of_the_middles_of_bins() -> None:
    known = described({300: 3, 100: 1})
    assert known is not None
    assert (known.pairs, known.lowest, known.highest) == (4, 0.1005, 0.3005)
    assert known.mean == pytest.approx((0.1005 + 3 * 0.3005) / 4)
    assert known.median == pytest.approx(0.3005)


def test_the_median_of_an_even_number_lies_between() -> None:
    known = described({-200: 2, 100: 1, 300: 1})
    assert known is not None
    assert known.median == pytest.approx((-0.1995 + 0.1005) / 2)


def test_quantiles_count_pairs_and_not_bins() -> None:
    known = described({0: 95, 500: 5, 900: 0})
    assert known is not None
    assert (known.p5, known.p75, known.highest) == (0.0005, 0.0005, 0.5005)


def test_bars_are_the_bins_where_these_are_few() -> None:
    assert bars({-1: 2, 1: 5, 7: 0}) == [
        Bar(-0.001, 0.0, 2), Bar(0.0, 0.001, 0), Bar(0.001, 0.002, 5),
    ]  # fmt: skip


def test_bars_are_at_most_100_on_round_numbers_and_lose_no_pair() -> None:
    found = bars({-363: 1, -361: 2, 866: 4})
    assert len(found) == 63
    assert found[0] == Bar(-0.38, -0.36, 3)
    assert found[-1] == Bar(0.86, 0.88, 4)
    assert sum(bar.pairs for bar in found) == 7


# Texts


def test_pictures_show_hidden_characters_by_code_and_others_as_a_box() -> None:
    assert drawable("a\n\tb \u202e$x$ 猫") == "a b ⟨U+202E⟩$x$ □"


# Figures that cannot be


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"histogram": {5: -1}}, "histogram: -1 at 5"),
        ({"rejections": {"timeout": -2}}, "rejections: -2 at 'timeout'"),
        ({"throughput": [(1.0, 5), (0.5, 9)]}, "sort the points"),
        ({"throughput": [(1.0, 5), (2.0, 4)]}, "sort the points"),
        ({"throughput": [(float("nan"), 5)]}, "no time"),
        ({"matrix": np.zeros((2, 3), np.float32)}, "not square"),
        ({"matrix": np.zeros((201, 201), np.float32), "matrix_names": ()}, "limit 200"),
        ({"matrix": np.full((3, 3), np.nan, np.float32)}, "finite"),
        ({"matrix_names": ["one"]}, "1 names for 3 pairs"),
    ],
)
def test_figures_that_cannot_be_are_refused(change: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replace(FULL, **change)  # type: ignore[arg-type]


def test_a_similarity_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="'7': similarity nan"):
        pair(similarity=float("nan"))


# Files


def test_a_full_report_has_every_picture(full: Path) -> None:
    found = {each.name for each in full.iterdir()}
    assert found == ALWAYS | SHEETS | {"rejections.png", "matrix.png"}


def test_without_figures_there_are_no_pictures(tmp_path: Path) -> None:
    write_report(EMPTY, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["index.html"]


def test_pictures_of_an_earlier_report_go_and_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_bytes(b"mine")
    write_report(FULL, tmp_path)
    write_report(replace(FULL, rejections={"timeout": 0}, matrix=None, matrix_names=()), tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == ALWAYS | SHEETS | {"notes.png"}


def test_the_same_figures_give_the_same_bytes(full: Path, tmp_path: Path) -> None:
    write_report(FULL, tmp_path)
    for each in full.iterdir():
        assert (tmp_path / each.name).read_bytes() == each.read_bytes(), each.name


def test_a_report_that_cannot_be_written_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = write_report(EMPTY, tmp_path).read_bytes()

    def full_disk(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_report(FULL, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_bytes() == before


def test_who_reads_the_earlier_page_reads_it_to_its_end(tmp_path: Path) -> None:
    path = write_report(FULL, tmp_path)
    before = path.read_bytes()
    with path.open("rb") as reader:
        write_report(EMPTY, tmp_path)
        assert reader.read() == before


def test_pictures_do_not_tell_when_or_by_what_they_were_made(full: Path) -> None:
    for each in full.glob("*.png"):
        with Image.open(each) as opened:
            assert set(opened.info) == {"dpi"}, each.name


def test_settings_of_matplotlib_stay_as_they_were(tmp_path: Path) -> None:
    with mpl.rc_context({"font.size": 23.0, "axes.facecolor": "pink"}):
        before = dict(mpl.rcParams)
        write_report(FULL, tmp_path)
        assert dict(mpl.rcParams) == before


def loaded_after(statement: str) -> set[str]:
    message = subprocess.run(
        [sys.executable, "-c", f"import sys\n{statement}\nprint(*sys.modules)"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return set(message.stdout.split())


def test_the_report_needs_neither_torch_nor_a_database_nor_global_plots() -> None:
    loaded = loaded_after("import clip_scoring.reporting")
    assert "matplotlib.figure" in loaded
    assert not loaded & {"torch", "sqlalchemy", "airflow", "matplotlib.pyplot"}


def test_the_command_line_starts_without_the_report() -> None:
    loaded = loaded_after("import clip_scoring.cli")
    assert "clip_scoring.cli" in loaded
    assert "matplotlib" not in loaded


# The page


def test_the_page_has_what_the_figures_say(page: Read) -> None:
    assert "pairs.csv" in page.text
    assert "verdict score-bound: add a GPU, or a faster one" in page.text
    assert "median 0.3005" in page.text
    assert "mean 0.2505" in page.text
    assert "outcomes 1,234 time 2 min 05 s outcomes per second 9.87" in page.text
    assert "reason pairs share caption_empty 3 75.0 % timeout 1 25.0 %" in page.text


def test_a_pair_shows_its_similarity_its_clip_score_and_where_it_is_from(page: Read) -> None:
    assert "−0.2500 7 a low one clip_score 0.0000 images/7.jpg" in page.text
    assert "0.5000 7 a high one clip_score 1.2500 images/7.jpg" in page.text


def test_the_page_has_ranks_both_ways_and_says_how_ties_count(page: Read) -> None:
    assert "ties count against us" in page.text
    assert (
        "image → caption caption → image by chance median rank 2 1 2 "
        "Recall@1 33.3 % 66.7 % 33.3 % Recall@5 100.0 %" in page.text
    )


def test_the_page_names_the_pairs_that_others_beat(page: Read) -> None:
    assert "rank of its image second 0.4000 3 2 third 0.7000 2 1" in page.text


def test_pairs_in_a_matrix_without_names_are_numbered_from_1() -> None:
    found = Read(page_of(replace(FULL, matrix_names=())))
    assert "rank of its image 2 0.4000 3 2 3 0.7000 2 1" in found.text


def test_the_page_asks_nobody_for_anything(page: Read) -> None:
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "poster", "background"}
    ]
    assert len(addresses) == 1 + 4 * 2 + 3
    assert {str(each).partition(",")[0] for each in addresses} == {
        "data:", "data:image/png;base64", "data:image/jpeg;base64",
    }  # fmt: skip


def test_the_page_brings_its_plots_by_day_as_they_lie_beside_it(full: Path, page: Read) -> None:
    by_day = [each for each in page.all("img") if each.get("class") == "light"]
    names = ("distribution", "throughput", "rejections", "matrix")
    for name, shown in zip(names, by_day, strict=True):
        inside = b64decode(str(shown["src"]).partition(",")[2])
        assert inside == (full / f"{name}.png").read_bytes()


def test_the_policy_allows_the_one_style_and_nothing_else(page: Read) -> None:
    (policy,) = [
        str(each["content"]) for each in page.all("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    ]  # fmt: skip
    digest = b64encode(sha256(page.style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'",
        "base-uri 'none'", "form-action 'none'",
    ]  # fmt: skip
    assert not [tag for tag, attributes in page.tags if "style" in attributes]


def test_every_picture_has_a_text_and_every_table_a_caption(page: Read) -> None:
    assert all(each.get("alt") for each in page.all("img"))
    assert len(page.all("table")) == len(page.all("caption")) == 6


def test_short_facts_at_the_start_are_shown_large_and_the_others_in_a_table(page: Read) -> None:
    assert (len(page.all("dt")), len(page.all("dd"))) == (2, 2)


# Hostile texts


def hostile(text: str) -> ReportFigures:
    """Figures with this text wherever a text of others may stand."""
    one = pair(text, name=text, uri=text, picture=jpeg("red"))
    return ReportFigures(
        text, {text: text, "long": text * 9}, {1: 1}, {text: 2}, [(1.0, 1)], [one], [one], [one],
        matrix_of([0.1, 0.2], [0.3, 0.1]), [text, text],
    )  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_others_are_shown_and_never_markup(text: str) -> None:
    plain, found = Read(page_of(hostile("plain, but not short"))), Read(page_of(hostile(text)))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(each) for _, each in found.tags] == [sorted(each) for _, each in plain.tags]
    assert text in found.text


def marked(place: str) -> str:
    """Markup that says where it was put."""
    return f"<b id='{place}'>&\""


def marked_pair(place: str) -> ReportPair:
    return ReportPair(
        marked(f"{place}-name"), marked(f"{place}-uri"), marked(f"{place}-caption"), 0.5,
        jpeg("red"),
    )  # fmt: skip


def test_markup_is_escaped_at_every_place_of_the_page() -> None:
    facts = {"short": marked("!"), marked("fact"): "long" * 9, "longer": marked("text") + " " * 9}
    tile = {marked("tile"): "1"}
    written = page_of(
        ReportFigures(
            marked("title"), tile | facts, {1: 1}, {marked("reason"): 2}, [(1.0, 1)],
            [marked_pair("lowest")], [marked_pair("highest")], [marked_pair("random")],
            matrix_of([0.1, 0.2], [0.3, 0.1]), [marked("first"), marked("second")],
        )
    )  # fmt: skip
    once = ["tile", "!", "fact", "text", "reason", "first", "second"]
    cards = ["lowest", "highest", "random"]
    expected = Counter(
        {"title": 2}
        | dict.fromkeys(once, 1)
        | {f"{card}-name": 2 for card in cards}
        | {f"{card}-{place}": 1 for card in cards for place in ("uri", "caption")}
    )
    places = re.findall(r"&lt;b id=&#39;([^&]*)&#39;&gt;&amp;&#34;", written)
    assert Counter(places) == expected
    assert "<b " not in written


def test_only_the_style_sheet_is_put_in_without_being_escaped() -> None:
    templates = [
        environment.loader.get_source(environment, name)[0]  # type: ignore[union-attr]
        for name in environment.list_templates()
    ]
    written_out = re.findall(r"\S+ \| safe\b|autoescape false|Markup", "".join(templates))
    assert environment.autoescape is True
    assert written_out == ["style | safe"]


def test_a_name_that_the_template_does_not_know_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="titel"):
        environment.from_string("{{ titel }}").render(title="pairs.csv")


@pytest.mark.parametrize("character", ["\u202e", "\u200b", "\x1b", "\u2028", "\ufeff", "\ud800"])
def test_characters_that_are_not_seen_are_written_out(character: str) -> None:
    written = page_of(hostile(f"a{character}b"))
    assert character not in written
    assert Read(written).text.count(f"a⟨U+{ord(character):04X}⟩b") > 10


def test_texts_are_cut_at_300_characters() -> None:
    found = Read(page_of(hostile("y" * 10_000)))
    assert "y" * 299 + "…" in found.text
    assert "y" * 300 not in found.text


def test_signatures_and_logins_are_nowhere_on_the_page() -> None:
    written = page_of(
        replace(EMPTY, lowest=[pair(uri="https://me:secret@host/a.jpg?signature=secret#secret")])
    )
    assert "https://host/a.jpg?…" in written
    assert "secret" not in written


@pytest.mark.filterwarnings("error")
def test_characters_without_a_glyph_and_broken_mathematics_can_be_drawn(tmp_path: Path) -> None:
    text = "$\\frac{$ " + "".join(map(chr, range(1, 0x11000, 97)))
    one = pair(text, picture=jpeg("red"))
    for chunk in range(0, len(text), 250):
        each = text[chunk : chunk + 250]
        assert contact_sheet("Sheet", [replace(one, caption=each)], LIGHT)
    assert plots.rejections({text[:40]: 1, "$\\frac{$": 2}, LIGHT)
    assert plots.matrix(matrix_of([1, 0], [0, 1]), ["$\\frac{$", "\U0001f5ff 猫"], DARK)


@pytest.mark.parametrize(
    "picture",
    [b"", b"not a picture", jpeg("red")[:200], jpeg("red", (3000, 8)), jpeg("red", form="PNG"),
     b'<svg xmlns="http://www.w3.org/2000/svg" onload="window.__pwn=1"/>'],
    ids=["empty", "noise", "cut", "large", "png", "svg"],
)  # fmt: skip
def test_a_picture_that_is_no_small_jpeg_is_left_out(picture: bytes, tmp_path: Path) -> None:
    found = read(replace(EMPTY, lowest=[pair(picture=picture)]), tmp_path)
    assert found.all("img") == []
    assert "no picture 0.5000" in found.text
    assert (tmp_path / "lowest.png").read_bytes() == contact_sheet(
        "Lowest similarities", [pair()], LIGHT
    )


# Little to show


def edge(folder: Path, **figures: object) -> str:
    """What a report says that has these figures and no others."""
    found = read(replace(EMPTY, **figures), folder)  # type: ignore[arg-type]
    assert "nan" not in found.text.split()
    assert "inf" not in found.text.split()
    return found.text


def test_a_file_without_scores_says_so(tmp_path: Path) -> None:
    assert "No pair was scored." in edge(tmp_path, histogram={})


def test_one_score_is_its_own_mean_and_median(tmp_path: Path) -> None:
    text = edge(tmp_path, histogram={-363: 1})
    assert "median −0.3625 mean −0.3625" in text


def test_equal_similarities_make_one_bar(tmp_path: Path) -> None:
    text = edge(tmp_path, histogram={1000: 10**9})
    assert "mean 1.0000 25 % are below 1.0000" in text
    assert len(places(tmp_path / "distribution.png", LIGHT.main)[0]) > 1000


def test_a_file_without_rejections_says_so(tmp_path: Path) -> None:
    assert "No pair was rejected." in edge(tmp_path, rejections={})


def test_nothing_committed_is_told(tmp_path: Path) -> None:
    assert "Nothing was committed." in edge(tmp_path, throughput=[])


@pytest.mark.parametrize(
    ("point", "message"),
    [((0.0, 5), "outcomes 5 time 0.0 s outcomes per second –"),
     ((2.0, 0), "outcomes 0 time 2.0 s outcomes per second 0"),
     ((4.0, 2), "outcomes 2 time 4.0 s outcomes per second 0.5"),
     ((36_000.0, 7_200_000), "time 10 h 00 min outcomes per second 200")],
)  # fmt: skip
def test_throughput_of_one_point_has_a_rate_where_time_passed(
    point: tuple[float, int], message: str, tmp_path: Path
) -> None:
    assert message in edge(tmp_path, throughput=[point])


def test_a_matrix_of_one_pair_is_drawn(tmp_path: Path) -> None:
    text = edge(tmp_path, matrix=matrix_of([0.5]))
    assert "median rank 1 1 1" in text
    assert "Misranked pairs" not in text
    assert (tmp_path / "matrix.png").exists()


def test_a_matrix_of_no_pairs_is_left_out(tmp_path: Path) -> None:
    none = np.zeros((0, 0), np.float32)
    text = edge(tmp_path, matrix=none)
    assert "Retrieval" not in text
    assert not (tmp_path / "matrix.png").exists()


def test_the_largest_matrix_and_thousands_of_commits_are_drawn(tmp_path: Path) -> None:
    large = np.random.default_rng(1).normal(size=(200, 200)).astype(np.float32)
    points = [(float(at), 64 * at) for at in range(1, 10_001)]
    text = edge(tmp_path, matrix=large, throughput=points)
    assert "outcomes 640,000" in text


# Pictures


def test_mean_and_median_are_marked_where_they_are() -> None:
    for histogram, mean_is_left in (({100: 1, 300: 3}, True), ({100: 3, 300: 1}, False)):
        drawn = plots.distribution(histogram, LIGHT)
        middle = pixels(drawn).shape[0] // 2
        mean, median = (
            columns[rows == middle].mean()
            for rows, columns in (places(drawn, LIGHT.bad), _any_row(drawn, middle))
        )
        assert bool(mean < median) is mean_is_left


def _any_row(drawn: bytes | None, middle: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The dashes of the median, moved into one row."""
    rows, columns = places(drawn, LIGHT.good)
    below = rows > middle
    return np.full(below.sum(), middle), columns[below]


def test_more_outcomes_at_the_start_lift_the_curve() -> None:
    early, late = (
        len(places(plots.throughput([(5.0, middle), (10.0, 100)], LIGHT), "#deE8f6")[0])
        for middle in (90, 10)
    )
    assert early > 1.5 * late > 0


def test_thousands_of_commits_are_drawn_from_the_first_to_the_last() -> None:
    few = [(4001.0, 40_010), (20_000.0, 50_000), (20_000.0, 50_000)]
    many = [*((float(at), 10 * at) for at in range(1, 4002)), few[-1]]
    expected, found = (pixels(plots.throughput(points, LIGHT)) for points in (few, many))
    assert np.abs(expected - found).mean() < 0.5


def test_bars_of_reasons_are_as_long_as_they_are_frequent() -> None:
    rows, columns = places(plots.rejections({"a": 10, "b": 40, "c": 0}, LIGHT), LIGHT.bad)
    lengths = [int(np.sum(rows == row)) for row in (rows.min() + 5, rows.max() - 5)]
    assert lengths[0] == pytest.approx(4 * lengths[1], rel=0.05)
    assert columns.min() > 0


def test_images_go_down_and_captions_go_across() -> None:
    drawn = plots.matrix(matrix_of([0, 1], [0, 0]), (), LIGHT)
    rows, columns = places(drawn, "#fde725")
    height, width, _ = pixels(drawn).shape
    assert rows.mean() < height / 2
    assert columns.mean() > width / 2 * 0.9
    assert len(rows) > height * width / 10


def test_a_contact_sheet_has_the_pictures_of_its_pairs(full: Path) -> None:
    for name, own, other in (("lowest", "#fe0000", "#0000fe"), ("highest", "#0000fe", "#00ff01")):
        assert len(places(full / f"{name}.png", own)[0]) > 10_000
        assert len(places(full / f"{name}.png", other)[0]) == 0


def test_a_picture_keeps_its_proportions_on_the_sheet() -> None:
    rows, columns = places(contact_sheet("One", [pair(picture=jpeg("red", (60, 20)))], LIGHT),
                           "#fe0000")  # fmt: skip
    assert np.ptp(columns) == pytest.approx(3 * np.ptp(rows), rel=0.05)


def test_a_contact_sheet_ends_after_60_pairs() -> None:
    sixty, more = (contact_sheet("Many", [pair()] * count, LIGHT) for count in (60, 75))
    assert MOST_ON_SHEET == 60
    assert sixty == more


def test_plots_by_night_have_the_colours_of_the_night() -> None:
    for palette in (LIGHT, DARK):
        corner = pixels(plots.rejections({"timeout": 1}, palette))[0, 0]
        assert tuple(corner) == ImageColor.getrgb(palette.card)
