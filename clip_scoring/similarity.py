"""The two published scales of a cosine similarity, of one or of an array of them."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Cosine = TypeVar("Cosine", float, NDArray[np.float64])


def clip_score(similarity: Cosine) -> Cosine:
    """CLIPScore, 2.5 · max(cos, 0) (Hessel et al. 2021, equation 1), in [0, 2.5]."""
    positive = (similarity + abs(similarity)) / 2.0  # max(cos, 0) without rounding
    return 2.5 * positive


def similarity_01(similarity: Cosine) -> Cosine:
    """The cosine moved to [0, 1]: (cos + 1) / 2."""
    return (similarity + 1.0) / 2.0
