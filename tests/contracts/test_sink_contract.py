"""What every Sink promises, and the book of runs beside it, on each adapter."""

from __future__ import annotations

import pytest

from clip_scoring.errors import ShardLost
from clip_scoring.metrics import StageMetrics
from clip_scoring.planning import finish_run, plan_run
from clip_scoring.records import Outcome, Reason, Record, Rejection, Score
from clip_scoring.run_metrics import RunMetrics
from clip_scoring.runs import Rescore
from clip_scoring.shards import Claim, KeyRange, successor
from tests.contracts.adapters import SINKS, Adapter

pytestmark = pytest.mark.parametrize("adapter", SINKS, indirect=True)
GOOD = Score(0.25, caption_truncated=False)
TOOK = StageMetrics({"score": 1.0}, {"bytes": 10}, {"memory_bytes": 5})


def planned(adapter: Adapter, **options: object) -> list[int]:
    plan = plan_run(adapter.request("a", **options), source=adapter.source, runs=adapter.runs)
    return [shard.shard_id for shard in plan.shards]


def batch(adapter: Adapter, claim: Claim, size: int = 5) -> list[Record]:
    run = adapter.runs.get("a")
    return adapter.source.read_pending(
        run.selection(KeyRange(claim.checkpoint.offset, claim.stop)), size
    )


def commit(adapter: Adapter, claim: Claim, outcome: Outcome = GOOD) -> Claim:
    """The next five records of the claim."""
    records = batch(adapter, claim)
    stop = successor(records[-1].key) if len(batch(adapter, claim, 6)) > 5 else claim.stop
    return adapter.sink.commit(claim, stop, [(each, outcome) for each in records], TOOK)


def test_a_claim_takes_a_new_epoch_and_begins_at_the_offset(adapter: Adapter) -> None:
    shard_id, *_ = planned(adapter)
    run, first = adapter.sink.claim(shard_id, device="none")
    assert (run.run_key, first.checkpoint.epoch, first.checkpoint.offset) == ("a", 1, first.start)
    commit(adapter, first)
    _, second = adapter.sink.claim(shard_id, device="none")
    assert second.checkpoint.epoch == 2
    assert second.checkpoint.offset != second.start


def test_a_late_writer_changes_nothing(adapter: Adapter) -> None:
    shard_id, *_ = planned(adapter)
    _, late = adapter.sink.claim(shard_id, device="none")
    _, current = adapter.sink.claim(shard_id, device="none")
    rows = [(each, GOOD) for each in batch(adapter, late)]
    with pytest.raises(ShardLost):
        adapter.sink.commit(late, successor(rows[-1][0].key), rows, TOOK)
    assert len(batch(adapter, current)) == 5
    (_, counts), *_ = adapter.runs.recount(adapter.runs.get("a"))
    assert (counts.counted_scored, counts.scored) == (0, 0)


def test_a_commit_that_is_repeated_changes_nothing(adapter: Adapter) -> None:
    shard_id, *_ = planned(adapter)
    _, claim = adapter.sink.claim(shard_id, device="none")
    rows = [(each, GOOD) for each in batch(adapter, claim)]
    stop = successor(rows[-1][0].key)
    adapter.sink.commit(claim, stop, rows, TOOK)
    with pytest.raises(ShardLost):
        adapter.sink.commit(claim, stop, rows, TOOK)
    (_, counts), *_ = adapter.runs.recount(adapter.runs.get("a"))
    assert (counts.counted_scored, counts.scored) == (5, 5)


@pytest.mark.parametrize("similarity", [float("nan"), 7.0, -1.1])
def test_a_row_that_cannot_be_stored_takes_the_whole_commit_with_it(
    adapter: Adapter, similarity: float
) -> None:
    shard_id, *_ = planned(adapter)
    _, claim = adapter.sink.claim(shard_id, device="none")
    first, *rest = batch(adapter, claim)
    rows: list[tuple[Record, Outcome]] = [(each, GOOD) for each in rest]
    rows.append((first, Score(similarity, caption_truncated=False)))
    with pytest.raises(Exception, match="similarity"):
        adapter.sink.commit(claim, successor(rest[-1].key), rows, TOOK)
    (_, counts), *_ = adapter.runs.recount(adapter.runs.get("a"))
    assert (counts.counted_scored, counts.scored) == (0, 0)
    assert len(batch(adapter, claim)) == 5


def test_a_finished_run_counts_every_record_once(adapter: Adapter) -> None:
    gone = Rejection(Reason.HTTP_404_410)
    for number, shard_id in enumerate(planned(adapter)):
        _, claim = adapter.sink.claim(shard_id, device="none")
        while not claim.done:
            claim = commit(adapter, claim, gone if number == 1 else GOOD)
    run = adapter.runs.get("a")
    summary = finish_run(run, source=adapter.source, runs=adapter.runs)
    assert str(summary) == "planned 25  scored 15  rejected 10  pending 0"
    assert summary.failures == ()
    assert (summary.measures.seconds, summary.measures.peaks) == (
        {"score": 5.0}, {"memory_bytes": 5}
    )  # fmt: skip
    assert summary.measures.counts["bytes"] == 50
    assert dict(adapter.runs.histogram(run)) == {250: 15}
    assert dict(adapter.runs.rejections(run)) == {"http_404_410": 10}


def test_the_metrics_of_a_closed_run_are_kept_as_they_were_made(adapter: Adapter) -> None:
    for shard_id in planned(adapter):
        _, claim = adapter.sink.claim(shard_id, device="none")
        while not claim.done:
            claim = commit(adapter, claim)
    run = adapter.runs.get("a")
    summary = finish_run(run, source=adapter.source, runs=adapter.runs)
    assert adapter.metrics(run) == RunMetrics.of_summary(
        summary,
        rejections={},
        histogram={250: 25},
        drift=None,
        extremes=adapter.runs.extremes(run, 100),
    )


def test_the_lowest_and_the_highest_pairs_of_a_run_are_known(adapter: Adapter) -> None:
    similarities = [n / 32 for n in range(-10, 15)]
    scored: list[tuple[str, float]] = []
    for shard_id in planned(adapter):
        _, claim = adapter.sink.claim(shard_id, device="none")
        while not claim.done:
            at = len(scored)
            scored += [
                (each.record_key, similarity)
                for each, similarity in zip(batch(adapter, claim), similarities[at:], strict=False)
            ]
            rows = batch(adapter, claim)
            stop = successor(rows[-1].key) if len(batch(adapter, claim, 6)) > 5 else claim.stop
            outcomes = [
                (each, Score(value, caption_truncated=False))
                for each, (_, value) in zip(rows, scored[at:], strict=True)
            ]
            claim = adapter.sink.commit(claim, stop, outcomes, TOOK)
    lowest, highest = adapter.runs.extremes(adapter.runs.get("a"), 3)
    assert list(lowest) == scored[:3]
    assert list(highest) == scored[:-4:-1]


def test_a_shard_that_is_not_finished_is_named_and_its_claim_is_void(adapter: Adapter) -> None:
    shard_id, *_ = planned(adapter)
    _, claim = adapter.sink.claim(shard_id, device="none")
    summary = finish_run(adapter.runs.get("a"), source=adapter.source, runs=adapter.runs)
    assert summary.failures[0] == "shard 0: not finished, 10 pending"
    with pytest.raises(ShardLost):
        commit(adapter, claim)
    _, again = adapter.sink.claim(shard_id, device="none")
    commit(adapter, again)


def test_free_shards_are_handed_out_one_by_one(adapter: Adapter) -> None:
    planned(adapter)
    run = adapter.runs.get("a")
    claims = [adapter.sink.claim_free(run, device="none") for _ in range(4)]
    assert [claim and claim.number for claim in claims] == [0, 1, 2, None]


def test_a_shard_that_was_released_is_free_again(adapter: Adapter) -> None:
    planned(adapter)
    run = adapter.runs.get("a")
    first = adapter.sink.claim_free(run, device="none")
    assert first is not None
    adapter.sink.release(first)
    again = adapter.sink.claim_free(run, device="none")
    assert again is not None
    assert (again.number, again.checkpoint.epoch) == (0, 2)
    adapter.sink.release(first)
    following = adapter.sink.claim_free(run, device="none")
    assert following is not None
    assert following.number == 1, "a void claim released its shard"


def test_tries_at_one_offset_are_counted_and_a_commit_starts_anew(adapter: Adapter) -> None:
    shard_id, *_ = planned(adapter)
    tries = [adapter.sink.claim(shard_id, device="none")[1].tries for _ in range(3)]
    assert tries == [1, 2, 3]
    _, claim = adapter.sink.claim(shard_id, device="none")
    commit(adapter, claim)
    assert adapter.sink.claim(shard_id, device="none")[1].tries == 2


def test_planning_again_under_the_same_key_gives_the_same_shards(adapter: Adapter) -> None:
    assert planned(adapter) == planned(adapter)


def test_what_a_live_run_holds_is_left_out_and_counted(adapter: Adapter) -> None:
    planned(adapter, limit=10)
    other = plan_run(adapter.request("b"), source=adapter.source, runs=adapter.runs)
    assert (other.planned, other.reserved) == (15, 10)


def test_only_succeeded_runs_are_what_drift_is_measured_against(adapter: Adapter) -> None:
    for key, unfinished in (("good", 0), ("bad", 1)):
        request = adapter.request(key, rescore=Rescore.ALL)
        shards = plan_run(request, source=adapter.source, runs=adapter.runs).shards
        for shard in shards[unfinished:]:
            run, claim = adapter.sink.claim(shard.shard_id, device="none")
            part = run.selection(KeyRange(claim.start, claim.stop))
            rows = [(each, GOOD) for each in adapter.source.read_pending(part, 100)]
            adapter.sink.commit(claim, claim.stop, rows, TOOK)
        finish_run(adapter.runs.get(key), source=adapter.source, runs=adapter.runs)
    plan_run(adapter.request("now"), source=adapter.source, runs=adapter.runs)
    past = adapter.runs.past_histograms(adapter.runs.get("now"), 7)
    assert [dict(each) for each in past] == [{250: 25}]
