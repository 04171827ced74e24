"""What outcomes come to, counted one by one: memory does not grow with their number."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log, log1p

from clip_scoring.quality import BINS_PER_UNIT, Histogram
from clip_scoring.records import Outcome, Rejection

SHOWN = 12
"""How many of the lowest, of the highest and of those drawn at random are kept."""
MATRIX_PAIRS = 200
"""So many pairs, and no more, can all be compared with each other."""
_BELOW_ONE = 1 - 2**-53
_NEVER = 2**62


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """A pair that was scored, as people look at it; `name` is its id, or the number of its row."""

    name: str
    image_uri: str
    caption: str
    similarity: float


class Tally:
    """Counts, distribution and examples of outcomes; `random` gives numbers in [0, 1)."""

    def __init__(self, random: Callable[[], float]) -> None:
        self.rows = self.scored = self.truncated = 0
        self.rejections: Counter[str] = Counter()
        self.first: list[ScoredPair] = []
        """The first scored pairs, one more than can be compared with each other."""
        self._bins: Counter[int] = Counter()
        self._lowest: list[tuple[float, int, ScoredPair]] = []
        self._highest: list[tuple[float, int, ScoredPair]] = []
        self._drawn: list[ScoredPair] = []
        self._random = random
        self._passed_over, self._weight = 0, 1.0

    @property
    def rejected(self) -> int:
        """How many pairs could not be scored."""
        return self.rows - self.scored

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
        """Drawn at random, each pair with the same chance.

        Reservoir sampling, algorithm L (Li 1994, doi 10.1145/198429.198435).
        """
        return self._drawn

    def count(self, outcome: Outcome, texts: Callable[[], tuple[str, str, str]]) -> None:
        """Take one more outcome; `texts` gives name, address and caption if they are wanted."""
        self.rows += 1
        if isinstance(outcome, Rejection):
            self.rejections[str(outcome.reason)] += 1
            return
        similarity = outcome.similarity
        self.scored += 1
        self.truncated += outcome.caption_truncated
        self._bins[int(similarity * BINS_PER_UNIT // 1)] += 1
        if not self._is_wanted(similarity):
            return
        pair = ScoredPair(*texts(), similarity)
        if len(self.first) <= MATRIX_PAIRS:
            self.first.append(pair)
        _keep(self._lowest, -similarity, -self.rows, pair)
        _keep(self._highest, similarity, -self.rows, pair)
        if self.scored <= SHOWN:
            self._drawn.append(pair)
        elif self.scored > self._passed_over:
            self._drawn[int(self._random() * SHOWN)] = pair
        if self.scored >= SHOWN and self.scored > self._passed_over:
            self._pass_over()

    def _is_wanted(self, similarity: float) -> bool:
        if self.scored <= MATRIX_PAIRS + 1 or self.scored > self._passed_over:
            return True
        return self._lowest[0][0] < -similarity or self._highest[0][0] < similarity

    def _pass_over(self) -> None:
        """Choose how many pairs are not drawn before the next one is."""
        self._weight = min(self._weight * self._random() ** (1 / SHOWN), _BELOW_ONE)
        passed = log(1 - self._random()) / log1p(-self._weight) if self._weight else inf
        self._passed_over = self.scored + (int(passed) if passed < inf else _NEVER)


def _keep(
    heap: list[tuple[float, int, ScoredPair]], rank: float, before: int, pair: ScoredPair
) -> None:
    entry = (rank, before, pair)
    if len(heap) < SHOWN:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)
