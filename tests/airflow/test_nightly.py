"""The nightly run, started by nobody but the schedule."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from stack.crew import DAG
from tests.support.night import Night, wait_for


def scheduled(night: Night) -> dict[str, Any] | None:
    """The DAG run that the schedule started, if it has."""
    path = f"/api/v2/dags/{DAG}/dagRuns?run_type=scheduled&order_by=-id&limit=1"
    return next(iter(night.api.get(path)["dag_runs"]), None)


def test_once_its_time_has_come_the_run_of_the_last_day_takes_all_that_is_pending(
    night: Night,
) -> None:
    assert scheduled(night) is None
    with night.schedules():
        run = wait_for(lambda: scheduled(night), "a scheduled run")
        assert night.ended(run["dag_run_id"]) == "success"
    due = datetime.fromisoformat(run["run_after"])
    day = date.fromisoformat(run["partition_key"])
    assert (due.hour, due.minute, due.date()) == (0, 0, day + timedelta(days=1))
    assert run["logical_date"] is None
    assert night.world.sql(
        "SELECT \"trigger\", state, planned, scored, rejected, date(window_stop - interval '1 s') "
        "FROM clip.run"
    ) == [("scheduled", "succeeded", 240, 220, 20, day)]
