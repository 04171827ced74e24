"""The benchmarks' own arithmetic: what is repeated, who is compared, what the pages show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.album import DISTINCT, REPEATED, read_album, write_album
from benchmarks.contestants.entry import Entry
from benchmarks.engine import figures
from benchmarks.figures import written
from benchmarks.pages import filled
from benchmarks.photographs import MODES, encoded, photograph
from benchmarks.race import Race

FIGURE = {
    "what": "ours", "value": 20.0, "unit": "pairs/s", "baseline": 10.0, "baseline_what": "theirs",
    "ratio": 2.0, "targets": {">= 3x": False},
}  # fmt: skip
MACHINE = {"cores": 2, "cpu": "a CPU", "memory_gib": 8, "python": "3.11", "packages": {"numpy": 2}}
PAGE = "before\n<!-- figures: engine -->\nold\n<!-- end of figures -->\nafter\n"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    tree: dict[str, Any] = {
        "measured_on": "2026-01-01", "machine": MACHINE, "figures": [FIGURE],
        "missing": {"GPU": "not measured: torch sees no GPU"},
    }  # fmt: skip
    (tmp_path / "engine.json").write_text(json.dumps(tree))
    return tmp_path


def test_a_table_shows_the_ratio_the_missed_target_and_what_could_not_be_measured(
    results: Path,
) -> None:
    page = filled(PAGE, results)
    assert page.startswith("before\n<!-- figures: engine -->\n") and page.endswith("\nafter\n")
    assert "| ours | 20.00 pairs/s | theirs: 10.00 | 2.00× | >= 3x: **missed** |" in page
    assert "| GPU | not measured: torch sees no GPU |" in page
    assert "old" not in page
    assert filled(page, results) == page


def test_a_table_without_results_says_how_to_get_them(tmp_path: Path) -> None:
    assert "Not measured yet: `python -m benchmarks engine`." in filled(PAGE, tmp_path)


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234.50"), (0.0, "0.00"), (0.00012, "1.2e-04")]
)
def test_small_values_are_not_rounded_away(value: float, text: str) -> None:
    assert written(value) == text


def test_three_of_ten_images_and_captions_of_the_repeating_set_were_seen_before_in_it(
    tmp_path: Path,
) -> None:
    write_album(tmp_path, {"repeats": 20})
    pairs = read_album(tmp_path)["repeats"]
    assert len({each.path for each in pairs}) == 20 - round(20 * REPEATED)
    assert len({each.caption for each in pairs}) == 20 - round(20 * REPEATED)


def test_files_beyond_the_distinct_pictures_are_copies_that_differ_in_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DISTINCT > 2
    monkeypatch.setattr("benchmarks.album.DISTINCT", 2)
    write_album(tmp_path, {"320x240": 3})
    first, other, copy = (Path(each.path) for each in read_album(tmp_path)["320x240"])
    assert len({each.read_bytes() for each in (first, other, copy)}) == 3
    assert np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(copy)))
    assert not np.array_equal(np.asarray(Image.open(first)), np.asarray(Image.open(other)))


def test_pictures_come_anew_from_their_seed_and_compress_like_photographs() -> None:
    one, same = (encoded(photograph(np.random.default_rng(3), 320, 240)) for _ in range(2))
    assert one == same
    assert 0.15 < len(one) / (320 * 240) < 0.6
    picture = photograph(np.random.default_rng(3), 40, 30)
    assert {Image.open(_stream(each(picture))).mode for each in MODES.values()} >= {
        "RGB", "L", "CMYK", "P", "RGBA", "I;16",
    }  # fmt: skip


def _stream(body: bytes) -> Any:
    import io

    return io.BytesIO(body)


def test_a_contestant_that_is_absent_is_compared_with_nobody() -> None:
    race = Race({"mix": 10}, {("ours", "mix"): [4.0, 2.0, 1.0], ("theirs", "mix"): [5.0]})
    compared = figures(race, [("ours", "theirs", 2.5), ("ours", "nobody", 1.0)], "mix")
    assert [(each.value, each.baseline) for each in compared] == [(5.0, 2.0)]
    assert compared[0].targets == {">= 2.5x": True}


def test_an_entry_survives_the_command_line() -> None:
    entry = Entry("product", "album", [0, 1], "weights", threads=2, share=[1, 2])
    assert Entry.of_json(entry.to_json()) == entry
