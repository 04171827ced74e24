"""How well each image finds its own caption among all, and each caption its own image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.int64]
"""Shape (n,): 1 is the first place, n the last."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The median rank of what belongs together, and the shares ranked 1st, up to 5th, 10th."""

    median_rank: float
    recall_at_1: float
    recall_at_5: float
    recall_at_10: float


def caption_ranks(matrix: NDArray[np.float32]) -> Ranks:
    """The rank of each image's own caption among all captions.

    `matrix` has shape (n, n), the similarity of image i and caption j. The rank is 1 + the number
    of other captions at least as similar to the image as its own: ties count against us, so that
    weights which find everything equal are not praised for it.
    """
    own = np.diagonal(matrix)[:, np.newaxis]
    ranks: Ranks = np.sum(matrix >= own, axis=1, dtype=np.int64)
    return ranks


def image_ranks(matrix: NDArray[np.float32]) -> Ranks:
    """The rank of each caption's own image among all images, with ties as in `caption_ranks`."""
    return caption_ranks(matrix.T)


def summary(ranks: Ranks) -> Retrieval:
    """Median rank and Recall@1, @5, @10 of at least one rank."""
    first, fifth, tenth = (float(np.mean(ranks <= place)) for place in (1, 5, 10))
    return Retrieval(float(np.median(ranks)), first, fifth, tenth)


def by_chance(pairs: int) -> Retrieval:
    """The figures of guessing: each rank from 1 to `pairs` as likely as any other."""
    return summary(np.arange(1, pairs + 1, dtype=np.int64))


def misranked(matrix: NDArray[np.float32], most: int) -> list[int]:
    """Pairs that are not first both ways, at most `most`, those with the last ranks first."""
    worst = np.maximum(caption_ranks(matrix), image_ranks(matrix))
    order = np.argsort(-worst, kind="stable")
    return [int(pair) for pair in order if worst[pair] > 1][:most]
