"""Outcomes are counted one by one, and the examples kept of them are the right ones."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from clip_scoring.files.tally import MATRIX_PAIRS, SHOWN, Tally
from clip_scoring.records import Reason, Rejection, Score

BLOCK = 7


def tally_of(similarities: list[float], seed: int = 0) -> Tally:
    tally = Tally(Random(seed).random)
    scores = [Score(each, number % 4 == 0) for number, each in enumerate(similarities)]
    for start in range(0, len(scores), BLOCK):
        block = scores[start : start + BLOCK]
        tally.count(block, lambda at, start=start: (str(start + at), "uri", "c"))
    return tally


def test_scores_and_rejections_are_counted_by_reason() -> None:
    tally = tally_of([0.5, -0.25, 0.5004])
    reasons = (Reason.TIMEOUT, Reason.TIMEOUT, Reason.CAPTION_EMPTY)
    tally.count([Rejection(each) for each in reasons], lambda at: pytest.fail("not wanted"))
    assert (tally.rows, tally.scored, tally.rejected, tally.truncated) == (6, 3, 3, 1)
    assert tally.rejection_rate == 0.5
    assert tally.rejections == {"timeout": 2, "caption_empty": 1}
    assert tally.histogram == {-250: 1, 500: 2}


def test_nothing_counted_is_no_rejection_rate() -> None:
    assert Tally(Random(0).random).rejection_rate == 0


def test_the_lowest_and_the_highest_come_in_their_order_and_of_equals_the_first() -> None:
    values = [((n * 37) % 1000) / 1000 for n in range(1000)] + [0.0, 0.999]
    tally = tally_of(values)
    order = sorted(range(len(values)), key=lambda n: (values[n], n))
    assert [int(each.name) for each in tally.lowest] == order[:SHOWN]
    order = sorted(range(len(values)), key=lambda n: (-values[n], n))
    assert [int(each.name) for each in tally.highest] == order[:SHOWN]


def test_of_few_pairs_all_are_kept_and_of_many_one_more_than_can_be_compared() -> None:
    assert [each.name for each in tally_of([0.1] * 5).drawn] == list("01234")
    assert len(tally_of([0.1] * 5).first) == 5
    assert len(tally_of([0.1] * 1000).first) == MATRIX_PAIRS + 1


def test_each_pair_has_the_same_chance_to_be_drawn() -> None:
    times: Counter[int] = Counter()
    rounds, pairs = 3000, 300
    for seed in range(rounds):
        drawn = [int(each.name) for each in tally_of([0.1] * pairs, seed).drawn]
        assert len(set(drawn)) == SHOWN
        times.update(drawn)
    expected = rounds * SHOWN / pairs
    spread = sum((times[n] - expected) ** 2 / expected for n in range(pairs))
    assert spread < 400  # chi-squared with 299 degrees of freedom: 1 in 25,000 above
    for part in (range(100), range(100, 200), range(200, 300)):
        assert sum(times[n] for n in part) == pytest.approx(100 * expected, rel=0.05)


def test_the_same_seed_draws_the_same_pairs() -> None:
    assert tally_of([0.1] * 500, 3).drawn == tally_of([0.1] * 500, 3).drawn
    assert tally_of([0.1] * 500, 3).drawn != tally_of([0.1] * 500, 4).drawn
