"""Bars, mean and quantiles of similarities that were counted in bins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, count
from math import ceil, floor

from clip_scoring.quality import BINS_PER_UNIT, Histogram

MOST_BARS = 100


@dataclass(frozen=True, slots=True)
class Bar:
    """How many similarities lie in [start, stop)."""

    start: float
    stop: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Distribution:
    """Similarities in figures; each value is the middle of its bin, so right to half a bin."""

    pairs: int
    mean: float
    lowest: float
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    highest: float


def described(histogram: Histogram) -> Distribution | None:
    """The distribution in figures, None without scores."""
    pairs = sum(histogram.values())
    if not pairs:
        return None
    mean = sum(_middle(bin_index) * count for bin_index, count in histogram.items()) / pairs
    shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    return Distribution(pairs, mean, *(_quantile(histogram, share) for share in shares))


def bars(histogram: Histogram) -> list[Bar]:
    """At most 100 bars of equal width over all that occurs, on round numbers; empty ones too."""
    bins = [bin_index for bin_index, pairs in histogram.items() if pairs]
    if not bins:
        return []
    width = next(size for size in _widths() if max(bins) // size - min(bins) // size < MOST_BARS)
    pairs_by_bar: dict[int, int] = {}
    for bin_index in bins:
        pairs_by_bar[bin_index // width] = (
            pairs_by_bar.get(bin_index // width, 0) + histogram[bin_index]
        )
    return [
        Bar(
            bar * width / BINS_PER_UNIT, (bar + 1) * width / BINS_PER_UNIT, pairs_by_bar.get(bar, 0)
        )
        for bar in range(min(pairs_by_bar), max(pairs_by_bar) + 1)
    ]


def _widths() -> Iterator[int]:
    """In bins: 1, 2, 5, 10, 20, 50 and so on."""
    for power in count():
        yield from (10**power, 2 * 10**power, 5 * 10**power)


def _quantile(histogram: Histogram, share: float) -> float:
    """Between the two values in the middle lies the median of an even number, as anywhere."""
    last = sum(histogram.values()) - 1
    low, high = floor(last * share), ceil(last * share)
    return (_value(histogram, low) + _value(histogram, high)) / 2


def _value(histogram: Histogram, at: int) -> float:
    """The value at this position, from 0, of all values in ascending order."""
    bins = sorted(histogram)
    up_to = accumulate(histogram[bin_index] for bin_index in bins)
    bin_index = next(
        bin_index for bin_index, reached in zip(bins, up_to, strict=True) if reached > at
    )
    return _middle(bin_index)


def _middle(bin_index: int) -> float:
    """Of a bin, but no further out than a cosine goes: 1 itself begins a bin."""
    return max(-1.0, min((bin_index + 0.5) / BINS_PER_UNIT, 1.0))
