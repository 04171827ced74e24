"""Whatever stands in a caption costs its own record at most, never its batch or its shard."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_scoring.database.sink import PostgresSink
from clip_scoring.metrics import StageMetrics
from clip_scoring.records import Key, Record, screen_caption
from clip_scoring.runs import Selection, Window
from clip_scoring.scoring import Worker, score_shard
from clip_scoring.shards import PlannedRange
from tests.support.world import NOTHING, World

FIXTURE = HealthCheck.function_scoped_fixture
BAD = {"NUL": "a\x00b", "lone surrogate": "a\ud800", "reversed byte order mark": "\ufffea"}


class Lines:
    """Records as a file may hold them, with text that no database column would take."""

    name = "records"

    def __init__(self, captions: Sequence[str]) -> None:
        self.records = [Record(key, "image", each) for key, each in enumerate(captions, start=1)]

    def refresh(self, window: Window) -> None:
        """Lines do not change."""

    def count_pending(self, selection: Selection) -> int:
        return len(self.records)

    def ranges(self, selection: Selection, size: int, limit: int | None) -> list[PlannedRange]:
        return [PlannedRange(1, len(self.records) + 1, len(self.records))]

    def drain_metrics(self) -> StageMetrics:
        return NOTHING

    def read_pending(self, selection: Selection, limit: int) -> list[Record]:
        start: Key = selection.keys.start or 0
        return [each for each in self.records if each.key >= start][:limit]  # type: ignore[operator]


def score(world: World, captions: Sequence[str]) -> None:
    """Score the captions as records 1, 2, … of one shard, three to a batch."""
    world.add_many(len(captions))
    sink = PostgresSink(world.engine)
    shard = world.plan("a", batch_size=3, shard_size=len(captions)).shards[0]
    run, claim = sink.claim(shard.shard_id, device="none")
    lines = Lines(captions)
    worker = Worker(lines, world.loader, world.scorer, sink)
    score_shard(run, claim, worker=worker)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_caption_that_no_database_takes_costs_its_own_record_only(world: World, bad: str) -> None:
    score(world, ["one", bad, "three", "four", bad])
    assert world.sql("SELECT record_key FROM clip.score ORDER BY 1") == [("1",), ("3",), ("4",)]
    assert world.sql("SELECT record_key, reason FROM clip.rejection ORDER BY 1") == [
        ("2", "caption_invalid"), ("5", "caption_invalid")
    ]  # fmt: skip
    world.check_invariants()


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[FIXTURE])
@given(captions=st.lists(st.text(st.characters(codec=None), max_size=8), min_size=1, max_size=7))
def test_any_captions_give_one_outcome_each(world: World, captions: list[str]) -> None:
    world.sql(
        "TRUNCATE clip.record, clip.run, clip.shard, clip.score, clip.rejection RESTART IDENTITY"
    )
    score(world, captions)
    assert world.sql("SELECT count(*), count(similarity) FROM clip.similarity") == [
        (len(captions), sum(screen_caption(each) is None for each in captions))
    ]
    assert world.judge("a").failures == ()
