"""What a form sends becomes options, or one line that says what is wrong with it."""

from __future__ import annotations

from datetime import date

import pytest

from clip_scoring.errors import SettingsInvalid
from clip_scoring.fingerprint import Dtype, Tier
from clip_scoring.runs import Rescore, WindowKind
from clip_scoring.settings.run_options import RunOptions

DAY = date(2026, 1, 31)
HOSTILE = [
    "1; DROP TABLE clip.score",
    "{{ var.value.secret }}",
    "１２",
    "1\n2",
    "$(id)",
    "\x00",
    " ",
]


def refusal(**params: object) -> str:
    with pytest.raises(SettingsInvalid) as raised:
        RunOptions.of_params({"day": "2026-01-31", **params})
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    return text


def test_a_day_alone_takes_the_defaults() -> None:
    assert RunOptions.of_params({"day": "2026-01-31"}) == RunOptions(
        day=DAY,
        window=WindowKind.UP_TO_DAY,
        source="records",
        weights=None,
        tier=Tier.EXACT,
        dtype=None,
        rescore=Rescore.MISSING,
        limit=None,
        batch_size=64,
        shard_size=10_000,
        max_rejection_rate=None,
        dry_run=False,
    )


def test_a_form_may_send_everything_as_text() -> None:
    params = {
        "day": "2026-01-31",
        "window": "day",
        "source": "archive",
        "weights": "large",
        "tier": "exact",
        "dtype": "float16",
        "rescore": "all",
        "limit": "500",
        "batch_size": "32",
        "shard_size": "1000",
        "max_rejection_rate": "0.25",
        "dry_run": "true",
    }
    assert RunOptions.of_params(params) == RunOptions(
        day=DAY,
        window=WindowKind.DAY,
        source="archive",
        weights="large",
        tier=Tier.EXACT,
        dtype=Dtype.FLOAT16,
        rescore=Rescore.ALL,
        limit=500,
        batch_size=32,
        shard_size=1000,
        max_rejection_rate=0.25,
        dry_run=True,
    )


def test_a_form_may_send_values_of_their_own_types() -> None:
    params = {
        "day": DAY,
        "window": WindowKind.DAY,
        "limit": 500,
        "max_rejection_rate": 1,
        "dry_run": True,
        "dtype": Dtype.BFLOAT16,
    }
    assert RunOptions.of_params(params) == RunOptions(
        day=DAY,
        window=WindowKind.DAY,
        limit=500,
        max_rejection_rate=1.0,
        dry_run=True,
        dtype=Dtype.BFLOAT16,
    )


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize(
    "name",
    ["window", "source", "weights", "tier", "dtype", "rescore", "limit", "batch_size",
     "shard_size", "max_rejection_rate", "dry_run"],
)  # fmt: skip
def test_an_empty_field_takes_the_default(name: str, empty: str | None) -> None:
    assert RunOptions.of_params({"day": "2026-01-31", name: empty}) == RunOptions(day=DAY)


@pytest.mark.parametrize("params", [{}, {"day": None}, {"day": ""}, {"limit": "5"}])
def test_the_day_must_be_given(params: dict[str, object]) -> None:
    with pytest.raises(SettingsInvalid, match=r"^parameter day is missing$"):
        RunOptions.of_params(params)


@pytest.mark.parametrize(
    "value",
    ["31.01.2026", "2026-02-30", "yesterday", "2026-01-31T00:00:00", "２０２６-01-31",
     "20260131", "9999-12-31", "2026-W05-6", "20260131.5", *HOSTILE],
)  # fmt: skip
def test_a_day_that_is_no_date_is_refused(value: object) -> None:
    assert refusal(day=value) == f"parameter day: {value!r} must be a date YYYY-MM-DD"


WHOLE = {
    "limit": "must be a whole number from 1 to 1000000000000",
    "batch_size": "must be a whole number from 1 to 4096",
    "shard_size": "must be a whole number from 1 to 10000000",
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", ["1.5", "-1", "+1", "1e3", "0x10", "1_000", True, 2.0, *HOSTILE])
def test_a_number_that_is_not_whole_is_refused(name: str, value: object) -> None:
    shown = "true" if value is True else repr(value)
    assert refusal(**{name: value}) == f"parameter {name}: {shown} {WHOLE[name]}"


@pytest.mark.parametrize("digits", [19, 5000])
def test_a_number_that_no_database_could_hold_is_refused(digits: int) -> None:
    said = refusal(limit="9" * digits)
    assert said.startswith("parameter limit: '999")
    assert said.endswith(WHOLE["limit"])
    assert len(said) < 200


@pytest.mark.parametrize("value", ["-0.1", "1.01", "nan", "inf", "-inf", "half", True, *HOSTILE])
def test_a_rate_outside_zero_to_one_is_refused(value: object) -> None:
    shown = "true" if value is True else repr(value)
    assert refusal(max_rejection_rate=value) == (
        f"parameter max_rejection_rate: {shown} must be a number from 0 to 1"
    )


@pytest.mark.parametrize("value", ["０.５", "１"])
def test_a_rate_in_full_width_digits_is_refused(value: str) -> None:
    shown = "true" if value is True else repr(value)
    assert refusal(max_rejection_rate=value) == (
        f"parameter max_rejection_rate: {shown} must be a number from 0 to 1"
    )


@pytest.mark.parametrize(
    ("value", "expected"), [("0", 0.0), ("1", 1.0), (0.5, 0.5), ("1e-3", 1e-3)]
)
def test_a_rate_from_zero_to_one_is_taken(value: object, expected: float) -> None:
    options = RunOptions.of_params({"day": DAY, "max_rejection_rate": value})
    assert options.max_rejection_rate == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("True", True), ("FALSE", False), (True, True), (False, False)],
)
def test_a_flag_is_true_or_false_in_any_case(value: object, expected: bool) -> None:
    assert RunOptions.of_params({"day": DAY, "dry_run": value}).dry_run is expected


@pytest.mark.parametrize("value", ["yes", "1", 0, "on", "truе", *HOSTILE])
def test_a_flag_that_is_neither_is_refused(value: object) -> None:
    assert refusal(dry_run=value) == f"parameter dry_run: {value!r} must be true or false"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("window", "up_to_day, day"),
        ("tier", "exact, fast, nvjpeg"),
        ("dtype", "float32, float16, bfloat16, int8"),
        ("rescore", "missing, rejected, all"),
    ],
)
@pytest.mark.parametrize("value", ["ALL", "float64", 1, *HOSTILE])
def test_a_choice_that_does_not_exist_is_refused_with_those_that_do(
    name: str, known: str, value: object
) -> None:
    assert refusal(**{name: value}) == f"parameter {name}: {value!r} must be one of {known}"


@pytest.mark.parametrize("name", ["connection", "__class__", "a\nb", "xyz"])
def test_a_parameter_that_does_not_exist_is_refused_with_those_that_do(name: str) -> None:
    known = ", ".join(RunOptions.__dataclass_fields__)
    assert refusal(**{name: "x"}) == f"unknown parameter {name!r}, known: {known}"


@pytest.mark.parametrize(
    ("name", "near"),
    [("Day", "day"), ("dry-run", "dry_run"), ("batchsize", "batch_size"), ("limits", "limit"),
     ("max_rejection", "max_rejection_rate")],
)  # fmt: skip
def test_a_parameter_that_is_almost_right_is_refused_with_the_nearest_name(
    name: str, near: str
) -> None:
    assert refusal(**{name: "x"}) == f"unknown parameter {name!r}, did you mean {near}?"


def test_every_wrong_parameter_has_a_line_of_its_own() -> None:
    with pytest.raises(SettingsInvalid) as raised:
        RunOptions.of_params({"limt": 1, "batch_size": 0, "tier": "x", "dry_run": "no"})
    assert str(raised.value).splitlines() == [
        "unknown parameter 'limt', did you mean limit?",
        "parameter day is missing",
        "parameter tier: 'x' must be one of exact, fast, nvjpeg",
        f"parameter batch_size: 0 {WHOLE['batch_size']}",
        "parameter dry_run: 'no' must be true or false",
    ]


@pytest.mark.parametrize("name", ["source", "weights"])
@pytest.mark.parametrize("value", [5, True, ["records"], {"a": 1}])
def test_a_name_that_is_no_text_is_refused(name: str, value: object) -> None:
    assert refusal(**{name: value}).startswith(f"parameter {name}: ")


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_source_name_stays_the_text_it_is(value: str) -> None:
    assert RunOptions.of_params({"day": DAY, "source": value}).source == value
