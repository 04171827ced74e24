"""Figures of the pages: what charts show and tables repeat, computed from rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from clip_scoring.overview import DayTotals
from clip_scoring.quality import BINS_PER_UNIT, Histogram

STAGES = ("read", "fetch", "decode", "score", "commit")
TIMELINE_DAYS = 60
_MOST_BARS = 60
Chart = Mapping[str, Sequence[str | float | None]]
"""Names and values of what a chart draws."""


@dataclass(frozen=True, slots=True)
class Day:
    """Totals of the runs that started on one UTC day."""

    day: date
    runs: int
    failed: int
    outcomes: int
    pairs_per_second: float | None
    rejection_rate: float | None


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of similarities: the share of this run's pairs in it, and of the runs' before."""

    start: float
    stop: float
    now: float
    before: float | None


@dataclass(frozen=True, slots=True)
class Stage:
    """Seconds of one stage, and their share of all stages."""

    name: str
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Price:
    """The price of an hour of one device, for instance 2.5 EUR."""

    amount: float
    currency: str

    @classmethod
    def parse(cls, text: str) -> Price:
        """`2.5 EUR`; raises ValueError."""
        amount, currency = text.split()
        if not 0 < float(amount) < 1e6 or not currency.isalpha():
            raise ValueError(text)
        return cls(float(amount), currency)


def timeline(totals: Iterable[DayTotals], today: date) -> list[Day]:
    """The last 60 days up to today, also those without a run."""
    by_day = {total.day: total for total in totals}
    days = [today - timedelta(days=ago) for ago in reversed(range(TIMELINE_DAYS))]
    return [_day(day, by_day.get(day)) for day in days]


def _day(day: date, total: DayTotals | None) -> Day:
    if total is None:
        return Day(day, 0, 0, 0, None, None)
    outcomes = total.scored + total.rejected
    return Day(
        day,
        total.runs,
        total.failed,
        outcomes,
        outcomes / total.wall_seconds if total.wall_seconds else None,
        total.rejected / outcomes if outcomes else None,
    )


def distribution(now: Histogram, before: Sequence[Histogram]) -> list[Bar]:
    """Shares of similarities in at most 60 bars of equal width over all that occurs."""
    earlier: dict[int, int] = {}
    for histogram in before:
        for bin_index, count in histogram.items():
            earlier[bin_index] = earlier.get(bin_index, 0) + count
    bin_indexes = [*now, *earlier]
    if not now:
        return []
    first, last = min(bin_indexes), max(bin_indexes)
    width = -(-(last - first + 1) // _MOST_BARS)
    shares, past = (_shares(histogram, first, width) for histogram in (now, earlier))
    return [
        Bar(
            (first + bar * width) / BINS_PER_UNIT,
            (first + (bar + 1) * width) / BINS_PER_UNIT,
            shares.get(bar, 0.0),
            past.get(bar, 0.0) if earlier else None,
        )
        for bar in range((last - first) // width + 1)
    ]


def _shares(histogram: Histogram, first: int, width: int) -> dict[int, float]:
    total = sum(histogram.values())
    shares: dict[int, float] = {}
    for bin_index, count in histogram.items():
        bar = (bin_index - first) // width
        shares[bar] = shares.get(bar, 0.0) + count / total
    return shares


def mean_similarity(histogram: Histogram) -> float | None:
    """The mean to the width of a bin, None without scores."""
    total = sum(histogram.values())
    if not total:
        return None
    return (
        sum((bin_index + 0.5) * count for bin_index, count in histogram.items())
        / total
        / BINS_PER_UNIT
    )


def stages(seconds: Mapping[str, float]) -> list[Stage]:
    """The stages of the work in their order; those that took nothing too."""
    total = sum(seconds.get(name, 0.0) for name in STAGES)
    return [
        Stage(name, seconds.get(name, 0.0), seconds.get(name, 0.0) / total if total else 0.0)
        for name in STAGES
    ]


def timeline_chart(days: Sequence[Day]) -> Chart:
    """Series of the chart of the days."""
    return {
        "days": [day.day.isoformat() for day in days],
        "rates": [_rounded(day.pairs_per_second, 1) for day in days],
        "rejected": [_rounded(day.rejection_rate, 4, times=100) for day in days],
    }


def distribution_chart(bars: Sequence[Bar]) -> Chart:
    """Series of the chart of the similarities, in percent."""
    return {
        "starts": [f"{bar.start:.3f}" for bar in bars],
        "now": [_rounded(bar.now, 4, times=100) for bar in bars],
        "before": [_rounded(bar.before, 4, times=100) for bar in bars],
    }


def stages_chart(stages: Sequence[Stage]) -> Chart:
    """Series of the bar of the stages."""
    return {
        "names": [stage.name for stage in stages],
        "seconds": [_rounded(stage.seconds, 3) for stage in stages],
    }


def _rounded(value: float | None, digits: int, *, times: float = 1) -> float | None:
    return None if value is None else round(times * value, digits)
