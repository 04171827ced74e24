"""What outcomes come to, counted one by one: memory does not grow with their number."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clip_scoring.quality import BINS_PER_UNIT, Histogram
from clip_scoring.records import Outcome, Rejection

SHOWN = 12
"""How many of the lowest, of the highest and of those drawn at random are kept."""
MATRIX_PAIRS = 200
"""So many pairs, and no more, can all be compared with each other."""


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A pair that was scored, as people look at it; `name` is its id, or the number of its row."""

    name: str
    image_uri: str
    caption: str
    similarity: float


class Tally:
    """Counts, distribution and examples of outcomes; `draw(n)` gives a number below n at random."""

    def __init__(self, draw: Callable[[int], int]) -> None:
        self.rows = 0
        self.truncated = 0
        self.rejections: Counter[str] = Counter()
        self.first: list[ScoredPair] = []
        """The first scored pairs, one more than can be compared with each other."""
        self._bins: Counter[int] = Counter()
        self._lowest: list[tuple[float, int, ScoredPair]] = []
        self._highest: list[tuple[float, int, ScoredPair]] = []
        self._drawn: list[ScoredPair] = []
        self._draw = draw

    @property
    def rejected(self) -> int:
        """How many pairs could not be scored."""
        return sum(self.rejections.values())

    @property
    def scored(self) -> int:
        """How many were."""
        return self.rows - self.rejected

    @property
    def rejection_rate(self) -> float:
        """Rejected share of all, 0 where there is none."""
        return self.rejected / (self.rows or 1)

    @property
    def histogram(self) -> Histogram:
        """Similarities by bin, ascending."""
        return dict(sorted(self._bins.items()))

    @property
    def lowest(self) -> Sequence[ScoredPair]:
        """Lowest first; of equals the earlier row."""
        return [pair for *_, pair in sorted(self._lowest, key=lambda each: (-each[0], -each[1]))]

    @property
    def highest(self) -> Sequence[ScoredPair]:
        """Highest first; of equals the earlier row."""
        return [pair for *_, pair in sorted(self._highest, key=lambda each: (-each[0], -each[1]))]

    @property
    def drawn(self) -> Sequence[ScoredPair]:
        """Drawn at random, each pair with the same chance (reservoir sampling, Vitter 1985 R)."""
        return self._drawn

    def count(self, outcome: Outcome, name: str, image_uri: str, caption: str) -> None:
        """Take one more outcome."""
        self.rows += 1
        if isinstance(outcome, Rejection):
            self.rejections[str(outcome.reason)] += 1
            return
        similarity = outcome.similarity
        self.truncated += outcome.caption_truncated
        self._bins[int(similarity * BINS_PER_UNIT // 1)] += 1
        place = self._place_for(similarity)
        if place is None:
            return
        pair = ScoredPair(name, image_uri, caption, similarity)
        if len(self.first) <= MATRIX_PAIRS:
            self.first.append(pair)
        _keep(self._lowest, -similarity, -self.rows, pair)
        _keep(self._highest, similarity, -self.rows, pair)
        if place < len(self._drawn):
            self._drawn[place] = pair
        elif len(self._drawn) < SHOWN:
            self._drawn.append(pair)

    def _place_for(self, similarity: float) -> int | None:
        """The pair's place among the drawn, SHOWN for none; None where nobody needs the pair."""
        scored = self.scored
        if scored <= MATRIX_PAIRS + 1:
            return self._draw(scored) if scored > SHOWN else SHOWN
        place = self._draw(scored)
        shown = (
            place < SHOWN or self._lowest[0][0] < -similarity or self._highest[0][0] < similarity
        )
        return place if shown else None


def _keep(
    heap: list[tuple[float, int, ScoredPair]], rank: float, before: int, pair: ScoredPair
) -> None:
    entry = (rank, before, pair)
    if len(heap) < SHOWN:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)
