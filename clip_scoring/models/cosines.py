"""Cosines of embeddings in float32, each as if it were computed alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clip_scoring.models.embeddings import Embedding


def unit_vector(embedding: Embedding) -> Embedding:
    """The same direction with length 1; NaN where it has none."""
    with np.errstate(all="ignore"):
        unit: Embedding = embedding / np.linalg.norm(embedding)
        return unit


def cosines(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Products of unit rows (N, D) and (M, D), shape (N, M), each as if it were alone.

    A matrix product would round each by the shape of the whole matrix.
    """
    with np.errstate(all="ignore"):
        products: NDArray[np.float32] = np.vecdot(left[:, None], right[None])
        return products


def cosine(left: Embedding, right: Embedding) -> float:
    """Cosine in float32; NaN where one of them has no direction."""
    return float(cosines(unit_vector(left)[None], unit_vector(right)[None])[0, 0])
