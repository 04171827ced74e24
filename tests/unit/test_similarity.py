"""The two published scales, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clip_scoring.similarity import clip_score, similarity_01


@pytest.mark.parametrize(
    ("cosine", "expected"), [(1.0, 2.5), (0.5, 1.25), (0.25, 0.625), (0.0, 0.0)]
)
def test_clip_score_is_two_and_a_half_times_a_positive_cosine(
    cosine: float, expected: float
) -> None:
    assert clip_score(cosine) == expected


@pytest.mark.parametrize("cosine", [-1.0, -0.5, -1e-12])
def test_clip_score_of_a_negative_cosine_is_zero(cosine: float) -> None:
    assert clip_score(cosine) == 0.0


def test_clip_score_of_a_negative_cosine_prints_without_a_sign() -> None:
    assert math.copysign(1.0, clip_score(-1.0)) == 1.0


@pytest.mark.parametrize(
    ("cosine", "expected"), [(-1.0, 0.0), (-0.5, 0.25), (0.0, 0.5), (0.5, 0.75), (1.0, 1.0)]
)
def test_similarity_01_moves_the_cosine_to_the_unit_interval(
    cosine: float, expected: float
) -> None:
    assert similarity_01(cosine) == expected


@pytest.mark.parametrize("scale", [clip_score, similarity_01])
def test_arrays_are_scaled_as_their_elements_are(scale: Callable[[Any], Any]) -> None:
    cosines = np.float32(np.random.default_rng(0).uniform(-1, 1, 1000)).astype(np.float64)
    assert scale(cosines).tolist() == [scale(each) for each in cosines.tolist()]
    assert [clip_score(each) for each in cosines] == [2.5 * max(each, 0.0) for each in cosines]
