"""Windows, the conservation of records, the verdict on a run and on its bottleneck."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_scoring.errors import SettingsInvalid
from clip_scoring.metrics import StageMetrics
from clip_scoring.models.fake import FAKE_FINGERPRINT
from clip_scoring.runs import (
    RunRequest,
    RunSummary,
    ShardCounts,
    Trigger,
    Window,
    WindowKind,
    bottleneck,
)

DAY = date(2026, 2, 28)
WHOLE = ShardCounts(
    number=3,
    done=True,
    planned=10,
    counted_scored=8,
    counted_rejected=2,
    scored=8,
    rejected=2,
    pending=0,
    measures=StageMetrics({"read": 1.0, "score": 2.0}),
)
FIGURES = st.integers(0, 1000)


def request(**options: int | None) -> RunRequest:
    window = Window.of_day(DAY, WindowKind.DAY)
    return RunRequest("k", "records", FAKE_FINGERPRINT, window, Trigger.CLI, **options)  # type: ignore[arg-type]


def test_the_window_of_a_day_is_that_day_in_utc() -> None:
    assert Window.of_day(DAY, WindowKind.DAY) == Window(
        datetime(2026, 2, 28, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    )


def test_the_window_up_to_a_day_takes_everything_before_its_end() -> None:
    assert Window.of_day(DAY, WindowKind.UP_TO_DAY) == Window(
        None, datetime(2026, 3, 1, tzinfo=UTC)
    )


def test_a_leap_day_has_a_window() -> None:
    assert Window.of_day(date(2028, 2, 29), WindowKind.DAY).stop == datetime(2028, 3, 1, tzinfo=UTC)


def test_the_windows_of_consecutive_days_touch() -> None:
    first, second = (Window.of_day(date(2025, 12, 31), WindowKind.DAY),
                     Window.of_day(date(2026, 1, 1), WindowKind.DAY))  # fmt: skip
    assert first.stop == second.start


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("batch_size", 0, "batch_size 0 outside 1..4096"),
        ("batch_size", 4097, "batch_size 4097 outside 1..4096"),
        ("shard_size", 0, "shard_size 0 outside 1..10000000"),
        ("shard_size", 10_000_001, "shard_size 10000001 outside 1..10000000"),
        ("limit", 0, "limit 0 outside 1..1000000000000"),
        ("limit", -5, "limit -5 outside 1..1000000000000"),
    ],
)
def test_a_request_names_the_size_that_is_out_of_bounds(
    option: str, value: int, message: str
) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        request(**{option: value})
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("option", "value"),
    [("batch_size", 1), ("batch_size", 4096), ("shard_size", 1), ("shard_size", 10_000_000),
     ("limit", 1), ("limit", None)],
)  # fmt: skip
def test_a_request_takes_sizes_at_their_bounds(option: str, value: int | None) -> None:
    assert getattr(request(**{option: value}), option) == value


def test_a_whole_shard_violates_nothing() -> None:
    assert WHOLE.violations() == []


def test_records_beyond_the_planned_ones_have_arrived() -> None:
    more = replace(WHOLE, pending=3)
    assert (more.arrived, more.vanished) == (3, 0)


def test_planned_records_that_are_nowhere_have_vanished() -> None:
    fewer = replace(WHOLE, scored=5, rejected=1)
    assert (fewer.arrived, fewer.vanished) == (0, 4)


@given(FIGURES, FIGURES, FIGURES, FIGURES)
def test_planned_and_arrived_without_vanished_are_scored_rejected_and_pending(
    planned: int, scored: int, rejected: int, pending: int
) -> None:
    shard = replace(WHOLE, planned=planned, scored=scored, rejected=rejected, pending=pending)
    assert planned + shard.arrived - shard.vanished == scored + rejected + pending
    assert 0 in (shard.arrived, shard.vanished)


def test_a_late_arrival_that_is_still_pending_is_no_violation() -> None:
    assert replace(WHOLE, pending=2).violations() == []


def test_a_planned_record_without_outcome_in_a_finished_shard_is_a_violation() -> None:
    lost = replace(WHOLE, scored=6, counted_scored=6, pending=2)
    assert lost.violations() == ["shard 3: 2 without an outcome"]


def test_only_the_pending_records_beyond_the_arrived_are_without_an_outcome() -> None:
    assert replace(WHOLE, planned=12, pending=5).violations() == ["shard 3: 2 without an outcome"]


def test_an_unfinished_shard_is_a_violation_that_says_what_is_pending() -> None:
    assert replace(WHOLE, done=False, scored=3, counted_scored=3, pending=5).violations() == [
        "shard 3: not finished, 5 pending"
    ]


@pytest.mark.parametrize(
    ("counted", "text"),
    [({"counted_scored": 9}, "9+2"), ({"counted_rejected": 1}, "8+1"),
     ({"counted_scored": 2, "counted_rejected": 8}, "2+8")],
)  # fmt: skip
def test_counters_that_differ_from_the_rows_are_a_violation(
    counted: dict[str, int], text: str
) -> None:
    summary = RunSummary.of_shards([replace(WHOLE, **counted)])
    assert summary.failures == (f"shard 3: counters {text}, rows 8+2",)


def test_a_shard_names_all_that_is_wrong_with_it() -> None:
    assert len(replace(WHOLE, done=False, counted_scored=0, pending=1).violations()) == 2


def test_a_summary_adds_up_its_shards() -> None:
    other = replace(
        WHOLE, number=4, done=False, planned=20, counted_scored=4, scored=4, rejected=3,
        counted_rejected=3, pending=6, measures=StageMetrics({"score": 0.5, "commit": 0.25}),
    )  # fmt: skip
    third = replace(WHOLE, number=5, planned=9, measures=StageMetrics())
    assert RunSummary.of_shards([WHOLE, other, third]) == RunSummary(
        planned=39,
        arrived=1,
        vanished=7,
        scored=20,
        rejected=7,
        pending=6,
        failures=("shard 4: not finished, 6 pending",),
        measures=StageMetrics({"read": 1.0, "score": 2.5, "commit": 0.25}),
    )


def test_arrivals_in_one_shard_do_not_hide_what_vanished_from_another() -> None:
    summary = RunSummary.of_shards([replace(WHOLE, planned=7), replace(WHOLE, planned=13)])
    assert (summary.planned, summary.arrived, summary.vanished) == (20, 3, 3)


def test_a_run_without_shards_is_all_zero_and_has_no_failures() -> None:
    assert RunSummary.of_shards([]) == RunSummary(0, 0, 0, 0, 0, 0, (), StageMetrics())


def test_the_rejection_rate_is_the_rejected_share_of_all_outcomes() -> None:
    assert RunSummary.of_shards([WHOLE]).rejection_rate == 0.2


def test_the_rejection_rate_of_an_empty_run_is_zero() -> None:
    assert RunSummary.of_shards([]).rejection_rate == 0.0


@pytest.mark.parametrize(("superseded", "failures"), [(0, 1), (1, 1), (2, 0), (9, 0)])
def test_rows_that_other_runs_may_have_replaced_are_no_failure(
    superseded: int, failures: int
) -> None:
    short = replace(WHOLE, counted_scored=10)
    assert len(RunSummary.of_shards([short], superseded=superseded).failures) == failures


def test_rows_that_nobody_counted_are_a_failure_whatever_other_runs_wrote() -> None:
    more = replace(WHOLE, counted_scored=7)
    assert RunSummary.of_shards([more], superseded=100).failures == (
        "shard 3: counters 7+2, rows 8+2",
    )


def test_a_tripped_gate_joins_the_failures_that_were_there() -> None:
    summary = RunSummary.of_shards([replace(WHOLE, counted_scored=9)]).failed("too many rejected")
    assert summary.failures == ("shard 3: counters 9+2, rows 8+2", "too many rejected")


def test_a_summary_reads_as_one_line() -> None:
    assert str(RunSummary.of_shards([WHOLE])) == "planned 10  scored 8  rejected 2  pending 0"


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        ({"read": 5.0, "score": 1.0}, "read-bound: the source query is slow: check its index"),
        (
            {"fetch": 5.0, "decode": 2.0, "score": 6.0},
            "fetch-bound: images arrive slowly: more fetch workers, or bring the images nearer",
        ),
        ({"decode": 3.0, "score": 2.0}, "decode-bound: add CPU cores"),
        ({"decode": 3.0, "score": 4.0}, "score-bound: add a GPU, or a faster one"),
        (
            {"score": 1.0, "commit": 2.0, "decode": 1.5},
            "commit-bound: the database writes slowly: check its disk and its load",
        ),
        ({}, "nothing to do"),
        ({"read": 0.0, "score": 0.0}, "nothing to do"),
    ],
)
def test_the_longest_stage_of_the_longer_side_is_the_bottleneck(
    seconds: dict[str, float], verdict: str
) -> None:
    assert bottleneck(seconds) == verdict


def test_the_side_that_is_longer_in_total_decides_over_the_longest_single_stage() -> None:
    seconds = {"read": 2.0, "fetch": 2.5, "decode": 2.0, "score": 4.0}
    assert bottleneck(seconds).startswith("fetch-bound: ")
