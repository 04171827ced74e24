"""A value's part depends on the value, the ratios and the salt, and on nothing else."""

from __future__ import annotations

from fractions import Fraction
from hashlib import blake2b
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_scoring.errors import SettingsInvalid
from clip_scoring.files import splitting
from clip_scoring.files.splitting import parse_names, parse_ratios, part_of, usual_names

THREE = (0.7, 0.2, 0.1)
VALUES = [f"https://example.org/{number}.jpg" for number in range(20_000)]
WEIGHTS = st.lists(st.integers(1, 1000), min_size=2, max_size=10)
TEXT = st.text(st.characters(), max_size=40)


def ratios_of(weights: list[int]) -> tuple[float, ...]:
    return tuple(each / sum(weights) for each in weights)


@given(value=TEXT, salt=TEXT, weights=WEIGHTS)
def test_the_part_is_where_the_hash_falls_among_the_ratios(
    value: str, salt: str, weights: list[int]
) -> None:
    text = (salt + "\0" + value).encode(errors="surrogatepass")
    point = Fraction(int.from_bytes(blake2b(text, digest_size=8).digest(), "big"), 2**64)
    tops = [Fraction(sum(weights[: k + 1]), sum(weights)) for k in range(len(weights))]
    # Within a rounding of a cut either side of it is right.
    near = {k for k, top in enumerate(tops) if point < top + Fraction(1, 10**11)}
    far = {k for k, top in enumerate(tops) if point < top - Fraction(1, 10**11)}
    assert part_of(value, ratios_of(weights), salt) in {min(near), min(far, default=len(tops) - 1)}


def test_known_values_stay_in_their_parts_for_ever() -> None:
    values = ["", "a.jpg", "b.jpg", "images/001.png", "https://example.org/1.jpg", "é", "\udcff"]
    assert [part_of(each, THREE) for each in values] == [0, 0, 0, 2, 1, 0, 0]
    assert [part_of(each, THREE, "2") for each in values] == [0, 0, 0, 1, 2, 0, 0]


@given(value=TEXT, weights=WEIGHTS)
def test_the_same_value_is_always_in_the_same_part(value: str, weights: list[int]) -> None:
    ratios = ratios_of(weights)
    assert part_of(value, ratios) == part_of(value, list(ratios)) < len(ratios)


@pytest.mark.parametrize("ratios", [THREE, (0.5, 0.5), (0.99, 0.01), (0.1,) * 10])
def test_the_shares_of_many_values_are_the_ratios(ratios: tuple[float, ...]) -> None:
    parts = [part_of(each, ratios) for each in VALUES]
    for part, ratio in enumerate(ratios):
        deviation = sqrt(len(VALUES) * ratio * (1 - ratio))
        assert abs(parts.count(part) - len(VALUES) * ratio) < 4 * deviation


def test_another_salt_gives_an_independent_split() -> None:
    both = sum(part_of(each, (0.5, 0.5), "a") == part_of(each, (0.5, 0.5), "b") for each in VALUES)
    assert abs(both - 10_000) < 4 * sqrt(5000)


def test_a_larger_first_part_of_two_takes_values_and_gives_none() -> None:
    before = [part_of(each, (0.6, 0.4)) for each in VALUES]
    after = [part_of(each, (0.7, 0.3)) for each in VALUES]
    moved = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert set(moved) == {(1, 0)}
    assert abs(len(moved) - 2000) < 4 * sqrt(20_000 * 0.1 * 0.9)


@given(value=TEXT, first=st.integers(1, 998), more=st.integers(1, 998))
def test_no_value_leaves_a_first_part_that_grows(value: str, first: int, more: int) -> None:
    larger = min(first + more, 999)
    before = part_of(value, (first / 1000, 1 - first / 1000))
    after = part_of(value, (larger / 1000, 1 - larger / 1000))
    assert after <= before


def test_cuts_that_differ_by_the_rounding_of_a_sum_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0.7 + 0.2 != 0.75 + 0.15
    monkeypatch.setattr(splitting, "_point", lambda *_: 0.7 + 0.2)
    assert part_of("", THREE) == part_of("", (0.75, 0.15, 0.1))


def test_a_first_part_that_grows_at_the_cost_of_the_second_leaves_the_third_alone() -> None:
    before = [part_of(each, THREE) for each in VALUES]
    after = [part_of(each, (0.75, 0.15, 0.1)) for each in VALUES]
    assert {p for p in zip(before, after, strict=True) if p[0] != p[1]} == {(1, 0)}


def test_a_first_part_that_grows_at_the_cost_of_the_last_moves_values_to_neighbours_only() -> None:
    before = [part_of(each, (0.3, 0.3, 0.4)) for each in VALUES]
    after = [part_of(each, (0.4, 0.3, 0.3)) for each in VALUES]
    assert {p for p in zip(before, after, strict=True) if p[0] != p[1]} == {(1, 0), (2, 1)}


@given(value=TEXT, first=st.integers(1, 998), second=st.integers(1, 998))
def test_cutting_the_last_part_in_two_changes_no_other(value: str, first: int, second: int) -> None:
    second = min(second, 999 - first)
    whole = part_of(value, (first / 1000, 1 - first / 1000))
    cut = part_of(value, (first / 1000, second / 1000, 1 - (first + second) / 1000))
    assert min(cut, 1) == whole


@pytest.mark.parametrize("text", ["0.7,0.2,0.1", " 0.5 , 0.5", ",".join(["0.1"] * 10), "1e-3,.999"])
def test_ratios_whose_sum_is_1_are_taken(text: str) -> None:
    assert sum(parse_ratios(text)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("70,20,10", "sum is 100, not 1"),
        ("0.7,0.2", "sum is 0.9, not 1"),
        ("0.5,0.500000002", "not 1"),
        ("1", "2 to 10 of them, not 1"),
        (",".join(["0.0909090909"] * 11), "2 to 10 of them, not 11"),
        ("1,0", "0 is not a number above 0"),
        ("1.5,-0.5", "-0.5 is not a number above 0"),
        ("nan,1", "nan is not a number above 0"),
        ("inf,1", "inf is not a number above 0"),
        ("0.5;0.5", "parted by commas"),
        ("", "parted by commas"),
    ],
)
def test_other_ratios_are_refused_with_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        parse_ratios(text)


def test_ratios_that_are_none_give_no_part() -> None:
    with pytest.raises(SettingsInvalid, match=r"sum is 0\.8, not 1"):
        part_of("a", (0.5, 0.3))


def test_parts_are_called_as_is_usual() -> None:
    assert usual_names(2) == ("train", "test")
    assert usual_names(3) == ("train", "val", "test")
    assert usual_names(4) == ("part1", "part2", "part3", "part4")


def test_names_are_taken_in_the_order_of_the_ratios() -> None:
    assert parse_names("big, small", 2) == ("big", "small")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,c", "3 names for 2 ratios"),
        ("a,", "'' cannot be part"),
        ("a,../b", "cannot be part"),
        ("a,b\0", "cannot be part"),
        ("a,A", "a name of its own"),
    ],
)
def test_names_that_no_two_files_can_have_are_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        parse_names(text, 2)
