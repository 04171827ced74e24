"""Totals of outcomes, counted one by one: memory does not grow with their number."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log, log1p

from clip_scoring.quality import BINS_PER_UNIT, Histogram
from clip_scoring.records import Outcome, Rejection, Score

SHOWN = 12
"""How many of the lowest, of the highest and of those drawn at random are kept."""
MATRIX_PAIRS = 200
"""The maximum number of pairs that are all compared with each other."""
Texts = Callable[[int], tuple[str, str, str]]
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
        return [pair for *_, pair in sorted(self._lowest, key=lambda kept: (-kept[0], -kept[1]))]

    @property
    def highest(self) -> Sequence[ScoredPair]:
        """Highest first; of equals the earlier row."""
        return [pair for *_, pair in sorted(self._highest, key=lambda kept: (-kept[0], -kept[1]))]

    @property
    def drawn(self) -> Sequence[ScoredPair]:
        """Drawn at random, each pair with the same chance.

        Reservoir sampling, algorithm L (Li 1994, doi 10.1145/198429.198435).
        """
        return self._drawn

    def count(self, outcomes: Sequence[Outcome], texts: Texts) -> None:
        """Take these as well; `texts(i)` gives name, address and caption of the one at i."""
        scores = [outcome for outcome in outcomes if isinstance(outcome, Score)]
        similarities = [score.similarity for score in scores]
        self._bins.update([int(similarity * BINS_PER_UNIT // 1) for similarity in similarities])
        self.truncated += sum([score.caption_truncated for score in scores])
        if len(scores) < len(outcomes):
            reasons = (
                str(outcome.reason) for outcome in outcomes if isinstance(outcome, Rejection)
            )
            self.rejections.update(reasons)
        if self._may_show(similarities):
            self._look(outcomes, texts)
        self.rows += len(outcomes)
        self.scored += len(scores)

    def _may_show(self, similarities: Sequence[float]) -> bool:
        """Whether an example could be among pairs of these similarities."""
        after = self.scored + len(similarities)
        if self.scored <= MATRIX_PAIRS or after > self._passed_over:
            return True
        lowest, highest = min(similarities, default=inf), max(similarities, default=-inf)
        return self._lowest[0][0] < -lowest or self._highest[0][0] < highest

    def _look(self, outcomes: Sequence[Outcome], texts: Texts) -> None:
        """Keep the examples among them."""
        scored = self.scored
        for at, outcome in enumerate(outcomes):
            if isinstance(outcome, Score):
                scored += 1
                if self._is_wanted(outcome.similarity, scored):
                    pair = ScoredPair(*texts(at), outcome.similarity)
                    self._show(pair, scored, self.rows + at)

    def _is_wanted(self, similarity: float, number: int) -> bool:
        if number <= MATRIX_PAIRS + 1 or number > self._passed_over:
            return True
        return self._lowest[0][0] < -similarity or self._highest[0][0] < similarity

    def _show(self, pair: ScoredPair, number: int, row: int) -> None:
        if len(self.first) <= MATRIX_PAIRS:
            self.first.append(pair)
        _keep(self._lowest, -pair.similarity, -row, pair)
        _keep(self._highest, pair.similarity, -row, pair)
        if number <= SHOWN:
            self._drawn.append(pair)
        elif number > self._passed_over:
            self._drawn[int(self._random() * SHOWN)] = pair
        if number >= SHOWN and number > self._passed_over:
            self._pass_over(number)

    def _pass_over(self, number: int) -> None:
        """Choose how many pairs are not drawn before the next one is."""
        self._weight = min(self._weight * self._random() ** (1 / SHOWN), _BELOW_ONE)
        passed = log(1 - self._random()) / log1p(-self._weight) if self._weight else inf
        self._passed_over = number + (int(passed) if passed < inf else _NEVER)


def _keep(
    heap: list[tuple[float, int, ScoredPair]], rank: float, before: int, pair: ScoredPair
) -> None:
    entry = (rank, before, pair)
    if len(heap) < SHOWN:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)
