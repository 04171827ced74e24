"""The two published scales of a cosine similarity; NumPy's arrays are taken element by element."""

from __future__ import annotations


def clip_score(similarity: float) -> float:
    """CLIPScore, 2.5 · max(cos, 0) (Hessel et al. 2021, equation 1), in [0, 2.5]."""
    positive = (similarity + abs(similarity)) / 2.0  # max(cos, 0) without rounding
    return 2.5 * positive


def similarity_01(similarity: float) -> float:
    """The cosine moved to [0, 1]: (cos + 1) / 2."""
    return (similarity + 1.0) / 2.0
