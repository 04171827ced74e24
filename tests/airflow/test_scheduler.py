"""The DAG under a real scheduler, executor and API server, its task process killed three times."""

from __future__ import annotations

import os
import signal
import time

from stack.crew import DAG
from stack.processes import poll
from tests.support.night import SCORES, Night, wait_for

BATCH_SIZE = 4


# Above 60 s: each of four tries opens the scorer, and three of them wait ten seconds.
def test_three_kills_of_the_task_end_complete_with_the_bytes_of_an_unbroken_run(
    night: Night,
) -> None:
    world = night.world
    world.watch_offsets()
    run = night.trigger(batch_size=BATCH_SIZE)
    for tries, outcomes in enumerate((BATCH_SIZE, 80, 160), start=1):
        pid = wait_for(lambda tries=tries: night.task_pid(run, tries), f"try {tries}")
        assert poll(lambda least=outcomes: night.committed() >= least, limit_s=60, every_s=0.002)
        os.kill(pid, signal.SIGKILL)
        assert night.committed() < 240, "the shard was over before the kill"
    assert night.ended(run) == "success"
    assert world.sql(
        'SELECT "trigger", state, planned, scored, rejected, arrived, vanished FROM clip.run'
    ) == [("manual", "succeeded", 240, 220, 20, 0, 0)]
    assert world.sql("SELECT epoch, scored, rejected FROM clip.shard") == [(4, 220, 20)]
    assert world.sql("SELECT sum(scored), sum(rejected) FROM offset_history") == [(220, 20)]
    world.check_invariants()

    path = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances"
    shown = [each["rendered_map_index"] for each in night.api.get(path)["task_instances"]]
    assert sorted(filter(None, shown)) == ["shard 0: 240 records"]

    killed = world.sql(SCORES)
    score_all_again_unbroken(night)
    assert world.sql(SCORES) == killed
    assert world.sql("SELECT count(DISTINCT run_id), max(run_id) FROM clip.score") == [(1, 2)]


def score_all_again_unbroken(night: Night) -> None:
    """The same records in one process, on the same batch grid, without Airflow."""
    night.command_line(
        "clip_scoring", "run", "--day", "2026-01-03",
        "--rescore", "all", "--batch-size", str(BATCH_SIZE),
    )  # fmt: skip


def test_the_next_run_finds_nothing_to_do_and_is_green(night: Night) -> None:
    started = time.monotonic()
    run = night.trigger()
    assert night.ended(run) == "success", f"after {time.monotonic() - started:.0f} s"
    assert night.world.sql(
        "SELECT planned, scored, rejected FROM clip.run ORDER BY id DESC LIMIT 1"
    ) == [(0, 0, 0)]
