"""A worker process killed by SIGKILL at any moment loses nothing and counts nothing twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from PIL import Image

from clip_scoring.database import connection as database
from clip_scoring.database import sink as postgres_sink
from clip_scoring.database.sink import PostgresSink
from clip_scoring.errors import ShardLost
from clip_scoring.records import Record, Score
from tests.support.warm import WarmCommand, await_event
from tests.support.world import NOTHING, World

SCORES = "SELECT record_key, encode(float4send(similarity), 'hex') FROM clip.score ORDER BY 1"
RECORDS = 120
Start = Callable[..., WarmCommand]


@pytest.fixture
def environment(world: World, database: str, tmp_path: Path, sources_file) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """120 records over real images, every tenth of them missing, and where to find them."""
    images = tmp_path / "images"
    images.mkdir()
    rng = random.Random(5)
    for key in range(1, RECORDS + 1):
        if key % 10:
            colour = tuple(rng.randrange(256) for _ in range(3))
            Image.new("RGB", (90, 70), colour).save(images / f"{key}.png")
    world.add({key: (f"{key}.png", f"a picture of number {key}") for key in range(1, RECORDS + 1)})
    return {
        **os.environ,
        "CLIP_SCORING_DATABASE_URL": database,
        "CLIP_SCORING_SOURCES": str(sources_file(images)),
    }


@pytest.fixture
def worker(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Starts `clip-scoring run` in small batches, in a process of its own."""
    with ExitStack() as ending:
        numbers = count()

        def start(run_key: str, *more: str) -> WarmCommand:
            folder = tmp_path / f"worker {next(numbers)}"
            folder.mkdir()
            started = WarmCommand(
                "run", "--day", "2026-01-01", "--run-key", run_key,
                "--batch-size", "4", "--shard-size", "60", *more,
                env=environment, folder=folder,
            )  # fmt: skip
            ending.callback(started.close)
            return started

        yield start


def committed(world: World) -> int:
    return int(str(world.sql("SELECT coalesce(sum(scored + rejected), 0) FROM clip.shard")[0][0]))


def kill_after(world: World, running: WarmCommand, outcomes: int) -> None:
    """SIGKILL as soon as so many outcomes are committed; the batch in flight is lost."""
    await_event(lambda: committed(world) >= outcomes, f"commit of {outcomes}", running)
    running.signal(signal.SIGKILL)
    assert running.ended().returncode == -signal.SIGKILL


def assert_complete(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "planned 120  scored 108  rejected 12  pending 0"


def test_three_kills_leave_the_bytes_and_counters_of_an_unbroken_run(
    world: World, worker: Start
) -> None:
    assert_complete(worker("unbroken").ended())
    expected = world.sql(SCORES)
    world.sql("TRUNCATE clip.score, clip.rejection, clip.shard, clip.run RESTART IDENTITY CASCADE")
    world.watch_offsets()

    for outcomes in (4, 40, 76):
        kill_after(world, worker("killed"), outcomes)
        world.check_invariants()
    assert_complete(worker("killed").ended())

    assert world.sql(SCORES) == expected
    assert world.sql("SELECT sum(scored), sum(rejected) FROM offset_history") == [(108, 12)]
    assert world.sql("SELECT max(epoch) > 1 FROM clip.shard") == [(True,)]
    world.check_invariants()


def test_a_stopped_twin_that_wakes_up_late_writes_nothing(world: World, worker: Start) -> None:
    world.watch_offsets()
    zombie = worker("twins")
    await_event(lambda: committed(world) >= 8, "commit of 8", zombie)
    zombie.signal(signal.SIGSTOP)
    world.sql("UPDATE clip.shard SET lease_until = now() - interval '1 second'")
    twin = worker("twins").ended()
    assert twin.returncode == 0, twin.stderr
    zombie.signal(signal.SIGCONT)
    zombie.ended()
    assert world.sql("SELECT sum(scored), sum(rejected) FROM offset_history") == [(108, 12)]
    world.check_invariants()


def test_two_workers_share_a_run_and_the_shards_of_one_that_dies(
    world: World, worker: Start
) -> None:
    world.watch_offsets()
    first, second = [worker("shared", "--shard-size", "12") for _ in range(2)]
    both_at_work = "SELECT count(DISTINCT worker) FROM clip.shard WHERE epoch > 0"
    await_event(lambda: world.sql(both_at_work) == [(2,)], "second worker", first, second)
    first.signal(signal.SIGKILL)
    first.ended()
    assert_complete(second.ended())
    assert world.sql("SELECT sum(scored), sum(rejected) FROM offset_history") == [(108, 12)]
    world.check_invariants()


BATCH = [(Record(key, "i", "c"), Score(0.5, False)) for key in range(1, 11)]


def weaken_fence(monkeypatch: pytest.MonkeyPatch, condition: str) -> None:
    """Leave one condition out of the statement that guards every commit."""
    guarded = str(database.query("move_checkpoint"))
    assert condition in guarded
    weakened = database.text(guarded.replace(condition, ""))
    monkeypatch.setattr(
        postgres_sink,
        "query",
        lambda name: weakened if name == "move_checkpoint" else database.query(name),
    )


def test_without_the_epoch_a_late_writer_gets_through_and_the_rightful_one_is_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken_fence(monkeypatch, " AND epoch = :epoch")
    world.add_many(40)
    shard_id = world.plan("a", shard_size=40).shards[0].shard_id
    late_sink, sink = PostgresSink(world.engine), PostgresSink(world.engine)
    _, late = late_sink.claim(shard_id, device="none")
    _, current = sink.claim(shard_id, device="none")
    late_sink.commit(late, 11, BATCH, NOTHING)
    assert world.sql("SELECT epoch, scored FROM clip.shard") == [(2, 10)]
    with pytest.raises(ShardLost):
        sink.commit(current, 11, BATCH, NOTHING)


def test_without_the_offset_a_repeated_commit_is_counted_twice_and_the_invariants_see_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken_fence(monkeypatch, ' AND "offset" = CAST(:old AS jsonb)')
    world.add_many(40)
    sink = PostgresSink(world.engine)
    _, claim = sink.claim(world.plan("a", shard_size=40).shards[0].shard_id, device="none")
    sink.commit(claim, 11, BATCH, NOTHING)
    world.check_invariants()
    sink.commit(claim, 11, BATCH, NOTHING)
    assert world.sql("SELECT scored FROM clip.shard") == [(20,)]
    with pytest.raises(AssertionError):
        world.check_invariants()
