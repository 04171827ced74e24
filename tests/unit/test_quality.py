"""Quality gates: which figures pass, and what a gate says that trips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from clip_scoring.quality import BINS_PER_UNIT, FEWEST_SCORES, Gates, Histogram, drift


def histogram(similarities: np.ndarray) -> Histogram:
    places, counts = np.unique(
        np.floor(similarities * BINS_PER_UNIT).astype(int), return_counts=True
    )
    return dict(zip(places.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("limit", [None, 0.2, 0.5, 1.0])
def test_a_rejection_rate_at_or_below_the_limit_passes(limit: float | None) -> None:
    assert Gates(max_rejection_rate=limit).tripped(rejection_rate=0.2, drift=None) == []


@pytest.mark.parametrize("limit", [0.0, 0.19])
def test_a_rejection_rate_above_the_limit_trips_with_both_figures(limit: float) -> None:
    assert Gates(max_rejection_rate=limit).tripped(rejection_rate=0.2, drift=None) == [
        f"rejection rate 0.2000 above the limit {limit}"
    ]


def test_the_limit_zero_passes_a_run_without_rejections() -> None:
    assert Gates(max_rejection_rate=0.0).tripped(rejection_rate=0.0, drift=None) == []


def test_drift_above_the_limit_trips_with_both_figures() -> None:
    assert Gates(max_drift=0.05).tripped(rejection_rate=0.0, drift=0.0512) == [
        "similarities drifted by 0.0512 from the last runs, above the limit 0.05"
    ]


@pytest.mark.parametrize("moved", [None, 0.0, 0.05])
def test_drift_that_is_unknown_or_within_the_limit_passes(moved: float | None) -> None:
    assert Gates(max_drift=0.05).tripped(rejection_rate=1.0, drift=moved) == []


def test_every_gate_that_trips_is_named() -> None:
    assert len(Gates(0.1, 0.1).tripped(rejection_rate=0.2, drift=0.2)) == 2


def test_equal_distributions_have_no_drift_whatever_their_sizes() -> None:
    one = {250: 100, 300: 50}
    assert drift(one, [{250: 10, 300: 5}, {250: 1000, 300: 500}]) == pytest.approx(0.0)


@given(st.integers(-500, 500))
def test_a_shift_of_every_similarity_is_the_drift(bins: int) -> None:
    before = {-300: 40, 0: 20, 310: 90}
    now = {place + bins: count for place, count in before.items()}
    assert drift(now, [before]) == pytest.approx(abs(bins) / BINS_PER_UNIT)


@given(*[st.dictionaries(st.integers(-1000, 1000), st.integers(0, 10**9), min_size=1)] * 2)
def test_drift_is_the_wasserstein_distance_of_scipy(now: Histogram, before: Histogram) -> None:
    assume(min(sum(now.values()), sum(before.values())) >= FEWEST_SCORES)
    bins = wasserstein_distance(list(now), list(before), [*now.values()], [*before.values()])
    assert drift(now, [before]) == pytest.approx(bins / BINS_PER_UNIT, rel=1e-9, abs=1e-12)


def test_drift_is_exact_where_a_sum_of_shares_would_be_rounded() -> None:
    before = {place: 1 for place in range(49)}
    assert drift({place + 7: 3 for place in range(49)}, [before]) == 7 / BINS_PER_UNIT


def test_samples_of_one_distribution_drift_little_and_of_a_shifted_one_by_the_shift() -> None:
    rng = np.random.default_rng(7)
    before = [histogram(rng.normal(0.25, 0.05, 5000)) for _ in range(3)]
    assert drift(histogram(rng.normal(0.25, 0.05, 5000)), before) < 0.005  # type: ignore[operator]
    moved = drift(histogram(rng.normal(0.22, 0.05, 5000)), before)
    assert moved == pytest.approx(0.03, abs=0.005)


@pytest.mark.parametrize("most", [0, FEWEST_SCORES - 1])
def test_few_scores_on_either_side_say_nothing(most: int) -> None:
    few, many = {250: most}, {250: 1000}
    assert drift(few, [many]) is None
    assert drift(many, [few]) is None
    assert drift(many, []) is None
