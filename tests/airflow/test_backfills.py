"""Backfills beside a nightly run that is under way, after it, and again by name."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from stack.crew import DAG
from stack.rest import Refused
from tests.support.night import Night, wait_for

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
RECORDS_A_DAY = 80
NIGHTLY = "nightly"
BATCH, SHARD, LIMIT = 4, 40, 120
# Shards [1, 41) of the first day and [81, 121) of the second, stopped after so many commits.
STOPPED = {"shard 0": 2, "shard 2": 5}
HELD = {"shard 0": SHARD - 2 * BATCH, "shard 2": SHARD - 5 * BATCH}
CONF = {"batch_size": BATCH, "shard_size": SHARD}
RUNS = (
    'SELECT "trigger", state, planned, reserved, scored, rejected, date(window_start)::text '
    "FROM clip.run WHERE id > :after ORDER BY window_start"
)
ROWS = (
    "SELECT 'score', record_key, xmin::text FROM clip.score UNION ALL "
    "SELECT 'rejection', record_key, xmin::text FROM clip.rejection ORDER BY 1, 2"
)


@contextmanager
def paused(night: Night) -> Iterator[None]:
    """No run begins meanwhile; tasks that run go on."""
    path = f"/api/v2/dags/{DAG}"
    night.api.patch(path, {"is_paused": True})
    try:
        yield
    finally:
        night.api.patch(path, {"is_paused": False})


def backfill_body(**conf: object) -> dict[str, object]:
    """What REST is sent for the three days."""
    return {
        "dag_id": DAG,
        "from_date": f"{DAYS[0]}T00:00:00Z",
        "to_date": f"{DAYS[-1]}T00:00:00Z",
        "reprocess_behavior": "completed",
        "max_active_runs": 3,
        "dag_run_conf": {**CONF, **conf},
    }


def create_by_command(night: Night) -> None:
    """`airflow backfill create` over the three days."""
    night.command_line(
        "airflow", "backfill", "create", "--dag-id", DAG, "--from-date", DAYS[0],
        "--to-date", DAYS[-1], "--max-active-runs", "2", "--dag-run-conf", json.dumps(CONF),
    )  # fmt: skip


def all_over(night: Night) -> bool:
    """Whether every backfill is complete."""
    found = night.api.get(f"/api/v2/backfills?dag_id={DAG}")["backfills"]
    return all(each["completed_at"] for each in found)


def await_backfills(night: Night, count: int) -> Sequence[dict[str, object]]:
    """The backfill runs so far, once all are over."""
    wait_for(lambda: all_over(night), "end of the backfill", 600, every_s=0.5)
    path = f"/api/v2/dags/{DAG}/dagRuns?run_type=backfill&limit=100"
    runs: list[dict[str, object]] = night.api.get(path)["dag_runs"]
    assert [each["state"] for each in runs] == ["success"] * count
    assert sorted(str(each["partition_key"]) for each in runs) == sorted(DAYS * (count // 3))
    return runs


def last_run(night: Night) -> int:
    return int(str(night.world.sql("SELECT coalesce(max(id), 0) FROM clip.run")[0][0]))


# Above 60 s: a nightly run and a backfill of three days, nine tasks at least.
@pytest.fixture(scope="module")
def stopped(night: Night) -> Iterator[Night]:
    """A nightly run over the first half of the records, two of its task processes stopped."""
    night.world.watch_offsets()
    stops = {
        part: {"point": "commit returned", "times": times, "signal": "SIGSTOP"}
        for part, times in STOPPED.items()
    }
    night.order({NIGHTLY: stops})
    night.trigger(NIGHTLY, day="2026-01-04", limit=LIMIT, **CONF)
    for part in STOPPED:
        wait_for(lambda part=part: night.marker(NIGHTLY, part), f"stop of {part}", 400)
    middle = "SELECT state = 'done' FROM clip.shard WHERE number = 1"
    wait_for(lambda: night.world.sql(middle) == [(True,)], "end of shard 1", 400)
    yield night


def test_a_backfill_beside_a_nightly_run_takes_what_is_free_and_reports_what_is_held(
    stopped: Night,
) -> None:
    night = stopped
    with paused(night):
        create_by_command(night)
        with pytest.raises(Refused, match="409"):
            night.api.post("/api/v2/backfills", backfill_body())
    await_backfills(night, 3)
    assert night.state(NIGHTLY) == "running"
    figures = [(row[2], row[3], int(str(row[4])) + int(str(row[5]))) for row in runs(night, 1)]
    assert figures == [
        (0, HELD["shard 0"], 0),
        (SHARD, HELD["shard 2"], SHARD),
        (RECORDS_A_DAY, 0, RECORDS_A_DAY),
    ]

    for part in STOPPED:
        os.kill(int((night.marker(NIGHTLY, part) or {})["pid"]), signal.SIGCONT)
    assert night.ended(NIGHTLY, 400) == "success"
    assert night.world.sql("SELECT sum(scored), sum(rejected) FROM offset_history") == [(220, 20)]
    assert night.world.sql(
        "SELECT count(DISTINCT record_key), count(*) FROM (SELECT record_key FROM clip.score "
        "UNION ALL SELECT record_key FROM clip.rejection) AS outcome"
    ) == [(240, 240)]
    assert night.world.sql("SELECT max(epoch) FROM clip.shard") == [(1,)]
    night.world.check_invariants()


def runs(night: Night, after: int) -> list[tuple[object, ...]]:
    """The backfill runs behind this one, by day."""
    found = night.world.sql(RUNS, after=after)
    assert [row[0] for row in found] == ["backfill"] * len(DAYS)
    assert [row[1] for row in found] == ["succeeded"] * len(DAYS)
    assert [row[6] for row in found] == list(DAYS)
    return found


def test_a_second_backfill_of_the_same_days_finds_nothing_and_writes_nothing(
    stopped: Night,
) -> None:
    before, last = stopped.world.sql(ROWS), last_run(stopped)
    stopped.api.post("/api/v2/backfills", backfill_body())
    await_backfills(stopped, 6)
    assert [row[2:6] for row in runs(stopped, last)] == [(0, 0, 0, 0)] * len(DAYS)
    assert stopped.world.sql(ROWS) == before


def test_a_backfill_that_asks_for_everything_scores_each_day_again_once(stopped: Night) -> None:
    world, last = stopped.world, last_run(stopped)
    similarities = "SELECT record_key, encode(float4send(similarity), 'hex') FROM clip.score"
    before = dict(world.sql(similarities))
    world.sql("TRUNCATE offset_history")
    stopped.api.post("/api/v2/backfills", backfill_body(rescore="all"))
    await_backfills(stopped, 9)
    found = runs(stopped, last)
    assert [(row[2], row[3]) for row in found] == [(RECORDS_A_DAY, 0)] * len(DAYS)
    assert [int(str(row[4])) + int(str(row[5])) for row in found] == [RECORDS_A_DAY] * len(DAYS)
    assert world.sql("SELECT sum(scored), sum(rejected) FROM offset_history") == [(220, 20)]
    assert world.sql("SELECT count(*) FROM clip.score WHERE run_id <= :last", last=last) == [(0,)]
    assert dict(world.sql(similarities)) == before
