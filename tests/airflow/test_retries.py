"""Each error that the library raises on purpose has a decided place in the retry policy."""

from __future__ import annotations

from datetime import timedelta

import pytest

from clip_scoring import errors

SOON, LATER = timedelta(seconds=10), timedelta(minutes=2)
DECIDED = {
    **dict.fromkeys(
        ("ShardLost", "Interrupted", "DeviceLost", "DecoderBroken", "JournalBusy"), SOON
    ),
    **dict.fromkeys(
        (
            "DatabaseUnreachable",
            "DatabaseBusy",
            "ObjectStoreUnavailable",
            "WeightsUnreachable",
            "WeightsChanged",
            "JournalBusy",
        ),
        LATER,
    ),
}
"""Seconds where a new process is enough, minutes where somebody else has to come back."""


def decision(error: BaseException) -> tuple[str, timedelta | None]:
    from clip_airflow.retries import RETRY_POLICY

    found = RETRY_POLICY.evaluate(error, try_number=1, max_tries=5)
    return found.action.value, found.retry_delay


def of(kind: type[errors.ClipScoringError]) -> list[type[errors.ClipScoringError]]:
    """The errors of one kind, without the kind itself."""
    return [each for one in kind.__subclasses__() for each in (one, *of(one))]


@pytest.mark.parametrize("error", of(errors.Fatal))
def test_an_error_that_no_try_mends_ends_the_task(error: type[errors.Fatal]) -> None:
    assert decision(error("x")) == ("fail", None)


@pytest.mark.parametrize("error", of(errors.Retryable))
def test_any_other_error_of_ours_is_tried_again_after_its_time(
    error: type[errors.Retryable],
) -> None:
    assert decision(error("x")) == ("retry", DECIDED[error.__name__])


def test_a_lack_of_memory_is_tried_again_soon_and_what_nobody_foresaw_as_the_task_says() -> None:
    assert decision(MemoryError()) == ("retry", SOON)
    assert decision(ValueError()) == ("default", None)


def test_the_delay_of_a_task_whose_process_was_killed_is_short() -> None:
    from clip_airflow.retries import SOON as DELAY

    assert DELAY == SOON
