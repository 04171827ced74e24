"""Successors, the ranges between reserved ranges, the size of shards, and valid claims."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clip_scoring.records import Key
from clip_scoring.shards import (
    Checkpoint,
    Claim,
    KeyRange,
    free_ranges,
    shard_size,
    successor,
)

TEXT = st.text(st.characters(exclude_characters="\x00", codec="utf-8"))
NEAR = st.text(st.sampled_from("\x01\x02a\U0010ffff"), max_size=4)
HELD = st.lists(
    st.tuples(st.integers(0, 10), st.integers(1, 10)).map(lambda at: (at[0], at[0] + at[1])),
    max_size=6,
).map(sorted)


def claim(offset: Key, *, start: Key = 40, stop: Key = 64) -> Claim:
    return Claim(7, 1, 7, start, stop, Checkpoint(offset, 1))


@pytest.mark.parametrize(("key", "expected"), [(0, 1), (-1, 0), (2**63 - 2, 2**63 - 1)])
def test_the_successor_of_an_integer_is_one_more(key: int, expected: int) -> None:
    assert successor(key) == expected


@pytest.mark.parametrize("key", ["", "a", "a\x01", "é", "\U0010ffff"])
def test_the_successor_of_a_text_is_greater(key: str) -> None:
    assert successor(key) > key  # type: ignore[operator]


@given(TEXT, TEXT)
@example("a", "a\x01")
@example("", "\x01")
def test_no_text_without_nul_lies_between_a_text_and_its_successor(key: str, other: str) -> None:
    assert not key < other < successor(key)  # type: ignore[operator]


@given(NEAR, NEAR)
def test_no_longer_text_that_begins_alike_lies_between_either(key: str, tail: str) -> None:
    assert not key < key + tail < successor(key)  # type: ignore[operator]


@given(TEXT, TEXT)
def test_the_order_of_keys_is_the_order_of_their_utf8_bytes(key: str, other: str) -> None:
    assert (successor(key) <= other) == (key.encode() < other.encode())  # type: ignore[operator]


def covered(found: list[KeyRange], key: int) -> int:
    """How many of the ranges hold the key."""
    return sum(
        (each.start is None or each.start <= key) and (each.stop is None or key < each.stop)  # type: ignore[operator]
        for each in found
    )


@given(HELD)
@example([(0, 5), (5, 8)])
@example([(0, 5), (3, 8)])
@example([(0, 9), (2, 4), (6, 7)])
@example([(0, 9), (2, 4), (9, 10)])
@example([(3, 4), (3, 8), (3, 5)])
def test_each_key_is_free_once_exactly_when_nothing_holds_it(
    reserved: list[tuple[int, int]],
) -> None:
    found = list(free_ranges(KeyRange(start, stop) for start, stop in reserved))
    for key in range(-2, 22):
        taken = any(start <= key < stop for start, stop in reserved)
        assert covered(found, key) == (0 if taken else 1), key


@given(HELD)
def test_free_ranges_come_in_order_and_none_is_empty(reserved: list[tuple[int, int]]) -> None:
    found = list(free_ranges(KeyRange(start, stop) for start, stop in reserved))
    edges = [each for free in found for each in (free.start, free.stop)]
    assert (edges[0], edges[-1]) == (None, None)
    assert edges[1:-1] == sorted(set(edges[1:-1]))  # type: ignore[type-var]


def test_with_nothing_held_the_whole_space_is_free() -> None:
    assert list(free_ranges([])) == [KeyRange(None, None)]


def test_text_keys_leave_the_same_gaps() -> None:
    reserved = [KeyRange("b", "d"), KeyRange("c", "f"), KeyRange("m", "n")]
    assert list(free_ranges(reserved)) == [
        KeyRange(None, "b"), KeyRange("f", "m"), KeyRange("n", None)
    ]  # fmt: skip


BACKLOG, WANTED, BATCH = st.integers(0, 10**10), st.integers(1, 10**7), st.integers(1, 4096)


@given(BACKLOG, WANTED, BATCH)
def test_a_shard_size_lies_on_the_batch_grid(backlog: int, wanted: int, batch: int) -> None:
    assert shard_size(backlog, wanted=wanted, batch_size=batch) % batch == 0


@given(BACKLOG, WANTED, BATCH)
@example(1000, 1, 1)
@example(1001, 1, 1)
def test_a_backlog_of_any_size_makes_at_most_1000_shards(
    backlog: int, wanted: int, batch: int
) -> None:
    assert shard_size(backlog, wanted=wanted, batch_size=batch) * 1000 >= backlog


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=1000), WANTED, BATCH)
@example([3] * 501, 1, 1)
def test_what_other_runs_leave_over_makes_at_most_1000_shards(
    free: list[int], wanted: int, batch: int
) -> None:
    size = shard_size(sum(free), wanted=wanted, batch_size=batch, ranges=len(free))
    assert sum(-(-each // size) for each in free) <= 1000


@given(BACKLOG, WANTED, BATCH)
def test_a_shard_is_never_smaller_than_wanted(backlog: int, wanted: int, batch: int) -> None:
    assert shard_size(backlog, wanted=wanted, batch_size=batch) >= wanted


@pytest.mark.parametrize(
    ("backlog", "wanted", "batch", "expected"),
    [
        (0, 1, 1, 1),
        (0, 10_000, 64, 10_048),
        (100, 128, 64, 128),
        (1_000_000, 100, 10, 1000),
        (1_000_001, 100, 10, 1010),
        (1001, 1, 1, 2),
    ],
)
def test_a_shard_is_no_larger_than_it_must_be(
    backlog: int, wanted: int, batch: int, expected: int
) -> None:
    assert shard_size(backlog, wanted=wanted, batch_size=batch) == expected


@pytest.mark.parametrize("offset", [12, 39, 65])
def test_a_claim_refuses_an_offset_outside_its_range(offset: int) -> None:
    with pytest.raises(ValueError, match=rf"^shard 7: offset {offset} outside \[40, 64\]$"):
        claim(offset)


def test_a_claim_on_text_keys_refuses_an_offset_outside_its_range() -> None:
    with pytest.raises(ValueError, match=r"^shard 7: offset 'Z' outside \['a', 'b'\]$"):
        claim("Z", start="a", stop="b")


@pytest.mark.parametrize(("offset", "done"), [(40, False), (63, False), (64, True)])
def test_a_claim_is_done_at_its_stop_and_nowhere_before(offset: int, done: bool) -> None:
    assert claim(offset).done is done


def test_an_advanced_claim_differs_in_its_offset_alone() -> None:
    assert claim(40).advanced(50) == claim(50)


def test_a_claim_cannot_advance_beyond_its_stop() -> None:
    with pytest.raises(ValueError, match="offset 65 outside"):
        claim(40).advanced(65)
