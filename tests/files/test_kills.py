"""Killed at any moment and called again, scoring a file ends with the bytes of an unbroken run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.files.kills import call, kill_rounds, pairs_file

ROWS = 2_000
POINTS = ("write", "written", "fsync", "synced", "noted", "rename", "renamed", "discard")
EARLY = {"write": 7, "written": 7, "fsync": 3, "synced": 3}
"""Times that a point is passed before the process dies there; the others are passed once."""


@pytest.mark.parametrize("rejected", [True, False], ids=["some rejected", "all scored"])
def test_killed_at_each_named_point_it_goes_on_to_the_same_bytes(
    tmp_path: Path, rejected: bool
) -> None:
    path = pairs_file(tmp_path, ROWS, rejected=rejected)
    output, journal = tmp_path / "pairs_scored.csv", tmp_path / "pairs_scored.csv.journal"
    assert call(path).code == 0
    expected = output.read_bytes()
    for point in POINTS:
        output.unlink()
        journal.unlink(missing_ok=True)
        if point == "discard" and rejected:
            continue  # the journal stays
        died = call(path, die_at=f"{point} {EARLY.get(point, 1)}")
        assert died.killed, (point, died)
        if output.exists():
            assert output.read_bytes() == expected, point
        again = call(path)
        assert again.code == 0, (point, again)
        assert output.read_bytes() == expected, point
        assert journal.exists() == rejected, point
        assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
            ["pairs.csv", output.name, *([journal.name] if rejected else [])]
        ), point


def test_a_torn_line_and_all_behind_it_is_scored_again(tmp_path: Path) -> None:
    path = pairs_file(tmp_path, ROWS)
    output, journal = tmp_path / "pairs_scored.csv", tmp_path / "pairs_scored.csv.journal"
    assert call(path).code == 0
    expected, whole = output.read_bytes(), journal.read_bytes()
    for cut in (1, 40, len(whole) // 2, len(whole) - 30):
        for torn in (whole[:-cut], whole[:-cut] + b"\0" * 300 + b"\n"):
            output.unlink()
            journal.write_bytes(torn)
            assert call(path).code == 0
            assert output.read_bytes() == expected, cut


def test_ten_kills_at_random_moments_leave_no_trace(tmp_path: Path) -> None:
    figures = kill_rounds(tmp_path, seed=3, kills=10, rows=15_000)
    assert (figures.kills, figures.different, figures.halves) == (10, 0, 0)
    assert figures.kills_of_unfinished > 0
