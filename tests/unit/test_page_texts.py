"""What the pages compute and how they write it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from clip_airflow.web import figures, texts
from clip_airflow.web.figures import Price
from clip_scoring.overview import DayTotals


def test_days_without_runs_are_there_and_empty() -> None:
    total = DayTotals(date(2026, 1, 2), runs=2, failed=1, scored=90, rejected=10, wall_seconds=20.0)
    days = figures.timeline([total], date(2026, 1, 3))
    assert len(days) == 60
    assert days[0].day == date(2025, 11, 5)
    assert days[-1] == figures.Day(date(2026, 1, 3), 0, 0, 0, None, None)
    assert days[-2] == figures.Day(date(2026, 1, 2), 2, 1, 100, 5.0, 0.1)


def test_a_day_of_runs_that_found_nothing_has_no_rate() -> None:
    total = DayTotals(date(2026, 1, 3), runs=1, failed=0, scored=0, rejected=0, wall_seconds=None)
    day = figures.timeline([total], date(2026, 1, 3))[-1]
    assert (day.pairs_per_second, day.rejection_rate) == (None, None)


def test_bars_cover_both_distributions_and_their_shares_add_up() -> None:
    bars = figures.distribution({200: 1, 310: 3}, [{-50: 2}, {310: 2, 200: 4}])
    assert len(bars) <= 60
    assert bars[0].start == pytest.approx(-0.05)
    assert bars[-1].stop > 0.310
    assert sum(bar.now for bar in bars) == pytest.approx(1)
    assert sum(bar.before or 0 for bar in bars) == pytest.approx(1)
    assert max(bar.now for bar in bars) == pytest.approx(0.75)
    assert bars[0].before == pytest.approx(0.25)


def test_without_runs_before_there_is_nothing_to_compare_with() -> None:
    assert {bar.before for bar in figures.distribution({5: 1}, [])} == {None}
    assert figures.distribution({}, [{5: 1}]) == []


def test_the_mean_is_that_of_the_bins() -> None:
    assert figures.mean_similarity({100: 1, 300: 1}) == pytest.approx(0.2005)
    assert figures.mean_similarity({}) is None


def test_stages_share_the_seconds_of_all_but_the_wall() -> None:
    found = figures.stages({"wall": 99.0, "decode": 3.0, "score": 1.0})
    assert [(each.name, each.share) for each in found] == [
        ("read", 0.0), ("fetch", 0.0), ("decode", 0.75), ("score", 0.25), ("commit", 0.0),
    ]  # fmt: skip
    assert sum(each.share for each in figures.stages({})) == 0


@pytest.mark.parametrize("text", ["", "2.50", "EUR 2", "-1 EUR", "nan EUR", "1 E<R", "1e9 EUR"])
def test_a_price_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Price.parse(text)


def test_a_price_has_an_amount_and_a_currency() -> None:
    assert Price.parse("2.50 EUR") == Price(2.5, "EUR")


def test_instants_are_in_utc() -> None:
    berlin = datetime.fromisoformat("2026-01-03T01:30:00+02:00")
    assert texts.instant(berlin) == "2026-01-02 23:30:00"
    assert texts.took(berlin, berlin + timedelta(minutes=2)) == "2 min 00 s"
    assert texts.last_day(datetime(2026, 1, 4, tzinfo=UTC)) == "2026-01-03"
