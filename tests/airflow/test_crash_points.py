"""The task process dies at each named point around claim, batch, commit and close, once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from stack.crew import DAG
from tests.support.night import HOOKS, SAMPLE_RECORDS, SCORES, Night, wait_for

DAY = "2026-02-01"
NOON = datetime(2026, 2, 1, 12, tzinfo=UTC)
BATCH, SHARD = 4, 16
BATCHES = SHARD // BATCH
RUN = "crash_points"


@dataclass(frozen=True)
class Death:
    """Where the first try of a shard ends, and what of it stands in the database."""

    point: str
    times: int = 2
    batches: tuple[int, ...] = (1,)
    epoch: int = 2
    """Of the shard when it is done; a claim that was never committed took none."""

    def __str__(self) -> str:
        return self.point if self.times == 2 else f"{self.point} ({self.times})"


DEATHS = (
    Death("before the claim", times=1, batches=(0,), epoch=1),
    Death("claim written", times=1, batches=(0,), epoch=1),
    Death("claim: COMMIT done", times=1, batches=(0,)),
    Death("claim returned", times=1, batches=(0,)),
    # The second batch is read and loaded while the first is scored and committed.
    Death("records read", batches=(0, 1)),
    Death("images loaded", batches=(0, 1)),
    Death("batch scored"),
    Death("commit called"),
    Death("transaction begun"),
    Death("before the checkpoint moves"),
    Death("checkpoint moved"),
    Death("scores put"),
    Death("old rejections dropped"),
    Death("rejections put"),
    Death("old scores dropped"),
    Death("batch: before COMMIT"),
    Death("batch: COMMIT done", batches=(2,)),
    Death("commit returned", batches=(2,)),
    Death("batch: before COMMIT", times=BATCHES, batches=(BATCHES - 1,)),
    Death("batch: COMMIT done", times=BATCHES, batches=(BATCHES,)),
    Death("shard done", times=1, batches=(BATCHES,)),
)
PLAN, FINISH = "plan: COMMIT done", "close: COMMIT done"
RECORDS = SHARD * len(DEATHS)
FIRST = SAMPLE_RECORDS + 1
SCORED_IN_A_SHARD = SHARD - BATCHES
UNBROKEN = (
    "clip_scoring", "run", "--day", DAY, "--window", "day", "--rescore", "all",
    "--batch-size", str(BATCH), "--shard-size", str(SHARD),
)  # fmt: skip


def add_records(night: Night) -> None:
    """As many as the shards need, over the images of the sample; the first of each batch is bad."""
    night.world.sql(
        "INSERT INTO clip.record (key, image_uri, caption, created_at) "
        "SELECT g, CASE WHEN (g - :first) % :batch = 0 THEN 'nowhere.png' ELSE good.image_uri END,"
        " good.caption || ' ' || g, :noon "
        "FROM generate_series(:first, :last) g JOIN ("
        "  SELECT row_number() OVER (ORDER BY key) - 1 AS n, count(*) OVER () AS most,"
        "         image_uri, caption"
        "  FROM clip.record WHERE key = ANY (:keys)) good ON good.n = g % good.most",
        first=FIRST, last=FIRST + RECORDS - 1, batch=BATCH, noon=NOON, keys=night.good_keys(),
    )  # fmt: skip


def swap_good_and_bad(night: Night) -> None:
    """The first record of each batch gets the image of the second, which loses it."""
    night.world.sql(
        "UPDATE clip.record SET updated_at = now(), image_uri = CASE"
        " WHEN (key - :first) % :batch = 1 THEN 'nowhere.png'"
        " ELSE (SELECT image_uri FROM clip.record AS next WHERE next.key = record.key + 1) END"
        " WHERE key >= :first AND (key - :first) % :batch < 2",
        first=FIRST, batch=BATCH,
    )  # fmt: skip


def orders() -> dict[str, dict[str, object]]:
    """What the parts of the run are told: one death each."""
    events = {
        f"shard {n}": {"point": death.point, "times": death.times, "signal": "SIGKILL"}
        for n, death in enumerate(DEATHS)
    }
    for part, point in (("plan", PLAN), ("finish", FINISH)):
        events[part] = {"point": point, "times": 1, "signal": "SIGKILL"}
    return events


# Above 60 s: 21 shards are tried twice, each try by a task of its own.
@pytest.fixture(scope="module")
def crashed(night: Night) -> Night:
    """A run over records that have outcomes of older inputs, in which every part died once."""
    add_records(night)
    night.command_line(*UNBROKEN)
    swap_good_and_bad(night)
    night.world.watch_offsets()
    night.order({RUN: orders()})
    night.trigger(RUN, day=DAY, window="day", rescore="all", batch_size=BATCH, shard_size=SHARD)

    def ended() -> str | None:
        night.world.check_invariants()
        return state if (state := night.state(RUN)) in {"success", "failed"} else None

    assert wait_for(ended, "end of the run", 900, every_s=0.5) == "success"
    return night


def test_without_the_variable_the_hooks_load_nothing() -> None:
    loaded = "import sys; print('crash_points' in sys.modules, 'sitecustomize' in sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", loaded),
        env={"PYTHONPATH": str(HOOKS)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "False True\n"


def test_a_run_whose_every_part_died_once_is_green_and_complete(crashed: Night) -> None:
    rejected = len(DEATHS) * BATCHES
    assert crashed.world.sql(
        "SELECT state, planned, scored, rejected, arrived, vanished, reserved, "
        "metrics ->> 'pending' "
        "FROM clip.run WHERE run_key = :key",
        key=f"{DAG}/{RUN}",
    ) == [("succeeded", RECORDS, RECORDS - rejected, rejected, 0, 0, 0, "0")]
    assert crashed.world.sql("SELECT sum(scored), sum(rejected) FROM offset_history") == [
        (RECORDS - rejected, rejected)
    ]
    crashed.world.check_invariants()


@pytest.mark.parametrize(("part", "point"), [("plan", PLAN), ("finish", FINISH)])
def test_a_plan_or_a_close_that_took_effect_unseen_is_found_by_the_next_try(
    crashed: Night, part: str, point: str
) -> None:
    assert (crashed.marker(RUN, part) or {}).get("point") == point
    assert crashed.world.sql(
        "SELECT count(*), count(DISTINCT shard.number) "
        "FROM clip.run JOIN clip.shard ON shard.run_id = run.id WHERE run_key = :key",
        key=f"{DAG}/{RUN}",
    ) == [(len(DEATHS), len(DEATHS))]


@pytest.mark.parametrize("number", range(len(DEATHS)), ids=map(str, DEATHS))
def test_a_shard_whose_task_died_there_goes_on_at_its_checkpoint(
    crashed: Night, number: int
) -> None:
    death, world = DEATHS[number], crashed.world
    assert (crashed.marker(RUN, f"shard {number}") or {}).get("point") == death.point
    [(shard, start, stop, *counted)] = world.sql(
        "SELECT shard.id, start_key, stop_key, epoch, shard.state, shard.scored, shard.rejected,"
        " (SELECT count(*) FROM clip.score WHERE shard_id = shard.id),"
        " (SELECT count(*) FROM clip.rejection WHERE shard_id = shard.id)"
        " FROM clip.shard JOIN clip.run ON run.id = shard.run_id"
        " WHERE run_key = :key AND number = :number",
        key=f"{DAG}/{RUN}",
        number=number,
    )
    expected = (SCORED_IN_A_SHARD, BATCHES)
    assert counted == [death.epoch, "done", *expected, *expected]
    steps = world.sql(
        "SELECT old_offset, new_offset, epoch FROM offset_history "
        "WHERE shard_id = :shard AND scored + rejected > 0 ORDER BY n",
        shard=shard,
    )
    grid = list(range(start, stop + 1, BATCH))
    assert [(old, new) for old, new, _ in steps] == list(pairwise(grid))
    committed = sum(epoch == 1 for *_, epoch in steps)
    assert committed in (death.batches if death.epoch == 2 else (BATCHES,))


def test_every_similarity_has_the_bytes_of_an_unbroken_run(crashed: Night) -> None:
    world = crashed.world
    killed = world.sql(SCORES)
    assert len(killed) == RECORDS - len(DEATHS) * BATCHES
    crashed.command_line(*UNBROKEN)
    assert world.sql(SCORES) == killed
    assert world.sql("SELECT DISTINCT run_id FROM clip.score") == [(3,)]
