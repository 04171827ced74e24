"""Quality gates: figures of a run that must stay within bounds, or the run counts as failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Histogram = Mapping[int, int]
"""Similarities counted in bins: bin i holds those in [i, i + 1) / BINS_PER_UNIT."""
Ranked = Sequence[tuple[str, float]]
"""Record keys with their similarities."""


BINS_PER_UNIT = 1000
DRIFT_RUNS = 7
"""How many earlier runs a run is compared with."""
FEWEST_SCORES = 30
"""Fewer scores on either side say nothing about a distribution."""


@dataclass(frozen=True, slots=True)
class Gates:
    """Bounds that the caller sets for a run; None leaves a gate open."""

    max_rejection_rate: float | None = None
    max_drift: float | None = None

    def tripped(self, *, rejection_rate: float, drift: float | None) -> list[str]:
        """One line with the figure and its limit for each gate that the run does not pass."""
        texts = []
        if self.max_rejection_rate is not None and rejection_rate > self.max_rejection_rate:
            texts.append(
                f"rejection rate {rejection_rate:.4f} above the limit {self.max_rejection_rate}"
            )
        if self.max_drift is not None and drift is not None and drift > self.max_drift:
            texts.append(
                f"similarities drifted by {drift:.4f} from the last runs, "
                f"above the limit {self.max_drift}"
            )
        return texts


def drift(now: Histogram, before: Iterable[Histogram]) -> float | None:
    """How far the distribution of similarities moved, in units of similarity.

    The Wasserstein distance between the run and the earlier runs taken together: the mean way
    that a similarity would have to go. None where either side has fewer than `FEWEST_SCORES`.
    """
    earlier: dict[int, int] = {}
    for histogram in before:
        for bin_index, count in histogram.items():
            earlier[bin_index] = earlier.get(bin_index, 0) + count
    if min(sum(now.values()), sum(earlier.values())) < FEWEST_SCORES:
        return None
    return _wasserstein(now, earlier) / BINS_PER_UNIT


def _wasserstein(one: Histogram, other: Histogram) -> float:
    """In bins: the area between both cumulative distributions, Vallender 1974.

    Counts are whole numbers, so that the area is exact and only the quotient is rounded.
    """
    one_total, other_total = sum(one.values()), sum(other.values())
    edges = sorted(one.keys() | other.keys())
    lead = area = 0
    for bin_index, following in pairwise(edges):
        lead += one.get(bin_index, 0) * other_total - other.get(bin_index, 0) * one_total
        area += abs(lead) * (following - bin_index)
    return area / (one_total * other_total)
