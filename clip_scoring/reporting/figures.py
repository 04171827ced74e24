"""The contents of a report: figures and pairs that the caller collected while scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from clip_scoring.quality import Histogram

MOST_IN_MATRIX = 200
"""More pairs than this make neither a picture that can be read nor a page that can be sent."""


@dataclass(frozen=True, slots=True)
class ReportPair:
    """A scored pair as the report shows it; its texts may be hostile, its similarity is finite."""

    name: str
    image_uri: str
    caption: str
    similarity: float
    picture: bytes | None
    """A small upright JPEG, or None where there is none to show."""

    def __post_init__(self) -> None:
        if not isfinite(self.similarity):
            raise ValueError(f"pair {self.name!r}: similarity {self.similarity} is not finite")


@dataclass(frozen=True, slots=True, eq=False)
class ReportFigures:
    """The contents of a report, finite throughout; texts may be hostile."""

    title: str
    facts: Mapping[str, str]
    """Name to text, in the order to be read; short ones at the start are shown large."""
    histogram: Histogram
    rejections: Mapping[str, int]
    """Pairs by reason."""
    throughput: Sequence[tuple[float, int]]
    """(seconds since the start, outcomes committed so far), both ascending."""
    lowest: Sequence[ReportPair]
    highest: Sequence[ReportPair]
    random: Sequence[ReportPair]
    matrix: NDArray[np.float32] | None
    """Shape (n, n), n at most 200: the similarity of image i and caption j."""
    matrix_names: Sequence[str] = ()
    """Names of the n pairs in the matrix; without them they are numbered from 1."""

    def __post_init__(self) -> None:
        _check_counts("histogram", self.histogram)
        _check_counts("rejections", self.rejections)
        _check_throughput(self.throughput)
        if self.matrix is not None:
            _check_matrix(self.matrix, self.matrix_names)


def _check_counts(what: str, counts: Mapping[int, int] | Mapping[str, int]) -> None:
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"{what}: {count} at {name!r} is below 0")


def _check_throughput(points: Sequence[tuple[float, int]]) -> None:
    for seconds, outcomes in points:
        if not (isfinite(seconds) and seconds >= 0 and outcomes >= 0):
            raise ValueError(f"throughput: ({seconds}, {outcomes}) is no time and count from 0 on")
    for before, after in pairwise(points):
        if after[0] < before[0] or after[1] < before[1]:
            raise ValueError(f"throughput: {after} comes after {before}, sort the points")


def _check_matrix(matrix: NDArray[np.float32], names: Sequence[str]) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix: shape {matrix.shape} is not square")
    if len(matrix) > MOST_IN_MATRIX:
        raise ValueError(f"matrix: {len(matrix)} pairs, limit {MOST_IN_MATRIX}; pass None")
    if not np.isfinite(matrix).all():
        raise ValueError("matrix: not every similarity is finite")
    if names and len(names) != len(matrix):
        raise ValueError(f"matrix: {len(names)} names for {len(matrix)} pairs")
