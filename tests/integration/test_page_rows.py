"""What pages and `status` ask the database, read into their values from a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clip_scoring.database.pages import PostgresPages, RunFilter
from clip_scoring.database.status import PostgresStatus
from clip_scoring.records import Reason
from clip_scoring.run_metrics import RunMetrics
from tests.support.world import World

ALL = RunFilter()


@pytest.fixture
def pages(world: World) -> PostgresPages:
    """Of a run with 4 scores and a rejection that has a next try, and of one under way."""
    world.add_many(4)
    world.add({5: (str(Reason.TIMEOUT), "late")})
    world.run("done", batch_size=5, shard_size=5)
    world.add_many(3, first=11)
    world.plan("under way", batch_size=5, shard_size=5)
    return PostgresPages(world.engine)


def id_of(pages: PostgresPages, run_key: str) -> int:
    run_id = pages.run_id(run_key)
    assert run_id is not None
    return run_id


def test_runs_are_listed_newest_first_and_in_pages(pages: PostgresPages) -> None:
    both = pages.runs(ALL, below=None, most=2)
    assert [(run.run_key, run.scored, run.rejected, run.state) for run in both.runs] == [
        ("under way", 0, 0, "running"), ("done", 4, 1, "succeeded"),
    ]  # fmt: skip
    newest = pages.runs(ALL, below=None, most=1)
    assert newest.older == id_of(pages, "under way")
    oldest = pages.runs(ALL, below=newest.older, most=1)
    assert ([run.run_key for run in oldest.runs], oldest.older) == (["done"], None)
    assert oldest.newer == id_of(pages, "under way") + 1
    failed = pages.runs(RunFilter(state="failed"), below=None, most=2)
    assert (failed.runs, failed.older, failed.newer) == ([], None, None)


def test_a_finished_run_has_its_metrics_and_one_under_way_has_none(pages: PostgresPages) -> None:
    done = pages.run(id_of(pages, "done"))
    assert done is not None
    assert (done.scored, done.metrics.pending, done.metrics.rejections) == (4, 0, {"timeout": 1})
    assert sum(done.metrics.histogram.values()) == len(done.metrics.lowest) == 4
    assert done.wall_seconds == done.metrics.stage_seconds["wall"]
    assert done.bottleneck == done.metrics.bottleneck
    under_way = pages.run(id_of(pages, "under way"))
    assert under_way is not None
    assert (under_way.metrics, under_way.live_scored) == (RunMetrics(), 0)
    assert pages.histograms_before(under_way, 7) == [done.metrics.histogram]
    assert pages.run(10**9) is None
    assert pages.run_id("nobody's") is None


def test_days_shards_rejections_scores_and_outcomes_are_read_by_name(pages: PostgresPages) -> None:
    now = datetime.now(UTC)
    (day,) = pages.days(since=now - timedelta(days=2), source=None)
    assert (day.runs, day.failed, day.scored, day.rejected) == (1, 0, 4, 1)
    done = pages.run(id_of(pages, "done"))
    assert done is not None
    (shard,) = pages.shards(done.id)
    assert (shard.state, shard.scored, shard.wall_seconds is None) == ("done", 4, False)
    (idle,) = pages.shards(id_of(pages, "under way"))
    assert (idle.start_key, idle.offset, idle.seconds, idle.wall_seconds) == (11, 11, {}, None)
    (late,) = pages.rejections(done.id, most=10)
    assert (late.reason, late.records, late.next_due is None) == ("timeout", 1, False)
    assert pages.scores(done, ["1", "5"]).keys() == {"1"}
    (outcome,) = pages.outcomes("records", "5")
    assert (outcome.reason, outcome.similarity, outcome.run_id) == ("timeout", None, done.id)
    (score,) = pages.outcomes("records", "1")
    assert (score.reason, score.similarity) == (None, dict(done.metrics.lowest)["1"])


def test_status_has_the_same_runs_shards_and_rejections(pages: PostgresPages, world: World) -> None:
    status = PostgresStatus(world.engine)
    runs = status.runs(source=None, most=5)
    assert [(run.run_key, run.scored, f"{run.done}/{run.shards}") for run in runs] == [
        ("under way", 0, "0/1"), ("done", 4, "1/1"),
    ]  # fmt: skip
    (shard,) = status.shards("done")
    assert (shard.number, shard.planned, shard.scored, shard.rejected) == (0, 5, 4, 1)
    (backlog,) = status.rejections(source="records", run_key=None)
    assert (backlog.reason, backlog.records, backlog.due, backlog.waiting) == ("timeout", 1, 0, 1)
