"""The DAG under a real scheduler, executor and API server, its task process killed three times."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from clip_scoring.stores.database import connect_engine
from stack.airflow import Site
from stack.crew import DAG, Crew, bring_up
from stack.layout import State
from stack.processes import poll
from stack.rest import Api, unpause
from tests.world import World

SCORES = (
    "SELECT record_key, encode(float4send(similarity), 'hex'), caption_truncated "
    "FROM clip.score ORDER BY 1"
)
BATCH_SIZE = 4
Found = TypeVar("Found")


@dataclass
class Night:
    """A running Airflow over the sample records."""

    site: Site
    api: Api
    world: World

    def trigger(self, **conf: object) -> str:
        body = {"logical_date": None, "partition_key": "2026-01-03", "conf": conf}
        return str(self.api.post(f"/api/v2/dags/{DAG}/dagRuns", body)["dag_run_id"])

    def state(self, run: str) -> str:
        return str(self.api.get(f"/api/v2/dags/{DAG}/dagRuns/{run}")["state"])

    def task_pid(self, run: str, tries: int) -> int | None:
        """The process of the scoring task's current try, once it runs."""
        path = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances?task_id=score"
        for task in self.api.get(path)["task_instances"]:
            if (task["task_id"], task["state"]) == ("score", "running") and (
                task["try_number"] == tries
            ):
                return task["pid"]
        return None

    def committed(self) -> int:
        found = self.world.sql("SELECT coalesce(sum(scored + rejected), 0) FROM clip.shard")
        return int(str(found[0][0]))


def wait_for(condition: Callable[[], Found | None], what: str, limit_s: float = 180.0) -> Found:
    """The first true answer; fails by name when there is none in time."""
    found: list[Found] = []

    def reached() -> bool:
        if answer := condition():
            found.append(answer)
        return bool(found)

    assert poll(reached, limit_s=limit_s), f"no {what} within {limit_s} s"
    return found[0]


@pytest.fixture(scope="module")
def night() -> Iterator[Night]:
    with tempfile.TemporaryDirectory(prefix="clip night ") as folder:
        state = State(Path(folder))
        crew = Crew(state)
        try:
            site, api = bring_up(crew, scheduled=False, say=print)
            unpause(api, DAG)
            yield Night(site, api, World(connect_engine(site.database_url)))
        finally:
            crew.stop()
            state.remove()


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
    state = wait_for(
        lambda: (found := night.state(run)) in {"success", "failed"} and found, "end of the run"
    )

    assert state == "success"
    assert world.sql(
        'SELECT "trigger", state, planned, scored, rejected, arrived, vanished FROM clip.run'
    ) == [("manual", "succeeded", 240, 220, 20, 0, 0)]
    assert world.sql("SELECT epoch, scored, rejected FROM clip.shard") == [(4, 220, 20)]
    assert world.sql("SELECT sum(scored), sum(rejected) FROM offset_history") == [(220, 20)]
    world.check_invariants()

    path = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances"
    shown = [each["rendered_map_index"] for each in night.api.get(path)["task_instances"]]
    assert sorted(filter(None, shown)) == ["0: [1, 241)"]

    killed = world.sql(SCORES)
    score_all_again_unbroken(night.site)
    assert world.sql(SCORES) == killed
    assert world.sql("SELECT count(DISTINCT run_id), max(run_id) FROM clip.score") == [(1, 2)]


def score_all_again_unbroken(site: Site) -> None:
    """The same records in one process, on the same batch grid, without Airflow."""
    subprocess.run(
        (
            sys.executable, "-m", "clip_scoring", "run", "--day", "2026-01-03",
            "--rescore", "all", "--batch-size", str(BATCH_SIZE),
        ),
        check=True,
        env=site.environment(),
        cwd=site.repository,
    )  # fmt: skip


def test_the_next_run_finds_nothing_to_do_and_is_green(night: Night) -> None:
    started = time.monotonic()
    run = night.trigger()
    state = wait_for(
        lambda: (found := night.state(run)) in {"success", "failed"} and found, "end of the run"
    )
    assert state == "success", f"after {time.monotonic() - started:.0f} s"
    assert night.world.sql(
        "SELECT planned, scored, rejected FROM clip.run ORDER BY id DESC LIMIT 1"
    ) == [(0, 0, 0)]
