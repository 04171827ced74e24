"""score_shard on a real PostgreSQL: fencing, resuming, counting."""

from collections.abc import Sequence
from threading import Event

import psycopg2
import pytest

from clip_scoring.database.sink import PostgresSink
from clip_scoring.errors import DatabaseUnreachable, Interrupted, ShardLost
from clip_scoring.models.fake import FakeScorer
from clip_scoring.ports import LoadedImages
from clip_scoring.quality import Gates
from clip_scoring.records import Reason, Record, Rejection, Score
from clip_scoring.runs import Rescore
from tests.support.world import NOTHING, SyntheticLoader, World

SCORES = "SELECT record_key, encode(float4send(similarity), 'hex') FROM clip.score ORDER BY 1"


class StopsAfter:
    """Asks to stop after so many batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


class CountingScorer(FakeScorer):
    """Notes the batches that reach the device."""

    def __init__(self) -> None:
        self.batches: list[list[str | None]] = []

    def score(self, images, captions):  # type: ignore[no-untyped-def]
        self.batches.append(list(captions))
        return super().score(images, captions)


def test_a_run_scores_each_record_once_and_closes_green(world: World) -> None:
    world.add_many(45)
    world.add({46: ("http_404_410", "c"), 47: ("image", ""), 48: ("image", "  ")})
    summary = world.run("a")
    assert (summary.planned, summary.scored, summary.rejected, summary.pending) == (48, 45, 3, 0)
    assert summary.failures == ()
    assert world.sql(
        "SELECT state, planned, arrived, vanished, scored, rejected FROM clip.run"
    ) == [("succeeded", 48, 0, 0, 45, 3)]
    assert world.sql("SELECT record_key, reason FROM clip.rejection ORDER BY 1") == [
        ("46", "http_404_410"), ("47", "caption_empty"), ("48", "caption_empty")
    ]  # fmt: skip
    world.check_invariants()


def test_running_a_finished_run_again_writes_nothing(world: World) -> None:
    world.add_many(45)
    world.run("a")
    rows = "SELECT xmin, record_key FROM clip.score ORDER BY 2"
    before = world.sql(rows)
    world.run("a")
    assert world.sql(rows) == before
    world.check_invariants()


@pytest.mark.parametrize("batches", [0, 1, 2, 3])
def test_a_stopped_shard_resumes_with_the_same_batches_and_bytes(
    world: World, batches: int
) -> None:
    world.add_many(18)
    world.add({19: ("timeout", "c"), 20: ("http_404_410", "c")})
    world.add_many(15, first=21)
    world.watch_offsets()
    unbroken = CountingScorer()
    world.score(world.plan("whole", shard_size=40).shards[0].shard_id, scorer=unbroken)
    expected = world.sql(SCORES)

    again = CountingScorer()
    world.judge("whole")
    shard_id = world.plan("second", shard_size=40, rescore=Rescore.ALL).shards[0].shard_id
    with pytest.raises(Interrupted):
        world.score(shard_id, scorer=again, stopping=StopsAfter(batches))
    world.score(shard_id, scorer=again)
    assert again.batches == unbroken.batches
    assert world.sql(SCORES) == expected
    assert world.judge("second").failures == ()
    world.check_invariants()


def test_a_late_writer_changes_nothing(world: World) -> None:
    world.add_many(20)
    world.watch_offsets()
    shard_id = world.plan("a").shards[0].shard_id
    late_sink, sink = PostgresSink(world.engine), PostgresSink(world.engine)
    _, late = late_sink.claim(shard_id, device="none")
    _, current = sink.claim(shard_id, device="none")
    batch = [(Record(key, "i", "c"), Score(0.5, False)) for key in range(1, 11)]
    with pytest.raises(ShardLost, match="epoch 1 is not the current claim"):
        late_sink.commit(late, 11, batch, NOTHING)
    assert world.sql("SELECT count(*) FROM clip.score") == [(0,)]
    sink.commit(current, 11, batch, NOTHING)
    with pytest.raises(ShardLost):
        sink.commit(current, 11, batch, NOTHING)
    assert world.sql('SELECT scored, "offset", epoch FROM clip.shard') == [(10, 11, 2)]
    world.check_invariants()


def test_a_zombie_loses_the_race_at_its_next_commit(world: World) -> None:
    world.add_many(40)
    world.watch_offsets()
    shard_id = world.plan("a", shard_size=40).shards[0].shard_id
    twin_is_done = Event()

    class OvertakenLoader(SyntheticLoader):
        """While the zombie loads its second batch, a twin finishes the shard."""

        calls = 0

        def load(self, records: Sequence[Record]) -> LoadedImages:
            self.calls += 1
            if self.calls == 2:
                world.score(shard_id)
                twin_is_done.set()
            return super().load(records)

    with pytest.raises(ShardLost):
        world.score(shard_id, loader=OvertakenLoader())
    assert twin_is_done.wait(60), "the zombie does not wait for what is still being loaded"
    summary = world.judge("a")
    assert (summary.scored, summary.failures) == (40, ())
    world.check_invariants()


def test_a_commit_with_a_failing_row_moves_neither_rows_nor_offset(world: World) -> None:
    world.add_many(20)
    sink = PostgresSink(world.engine)
    _, claim = sink.claim(world.plan("a").shards[0].shard_id, device="none")
    batch = [(Record(1, "i", "c"), Score(0.5, False)), (Record(2, "i", "c"), Score(7.0, False))]
    with pytest.raises(Exception, match="score_similarity_check"):
        sink.commit(claim, 11, batch, NOTHING)
    assert world.sql('SELECT scored, "offset" FROM clip.shard') == [(0, 1)]
    assert world.sql("SELECT count(*) FROM clip.score") == [(0,)]


def test_not_a_number_never_enters_the_table(world: World) -> None:
    world.add_many(1)
    sink = PostgresSink(world.engine)
    _, claim = sink.claim(world.plan("a").shards[0].shard_id, device="none")
    with pytest.raises(Exception, match="score_similarity_check"):
        sink.commit(claim, 2, [(Record(1, "i", "c"), Score(float("nan"), False))], NOTHING)


@pytest.mark.parametrize("applied", [True, False])
def test_a_lost_reply_to_commit_is_resolved_by_reading(
    world: World, monkeypatch: pytest.MonkeyPatch, applied: bool
) -> None:
    world.add_many(20)
    sink = PostgresSink(world.engine)
    _, claim = sink.claim(world.plan("a").shards[0].shard_id, device="none")
    batch = [(Record(key, "i", "c"), Score(0.5, False)) for key in range(1, 11)]
    dialect_commit = world.engine.dialect.do_commit

    def lose_reply(connection: psycopg2.extensions.connection) -> None:
        monkeypatch.setattr(world.engine.dialect, "do_commit", dialect_commit)
        if applied:
            dialect_commit(connection)
        raise psycopg2.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(world.engine.dialect, "do_commit", lose_reply)
    if applied:
        assert sink.commit(claim, 11, batch, NOTHING).checkpoint.offset == 11
    else:
        with pytest.raises(DatabaseUnreachable):
            sink.commit(claim, 11, batch, NOTHING)
    assert world.sql("SELECT scored FROM clip.shard") == [(10 if applied else 0,)]
    world.check_invariants()


def test_late_arrivals_and_deletions_are_reported_and_do_not_fail_the_run(world: World) -> None:
    world.add_many(40)
    plan = world.plan("a", shard_size=40)
    world.sql("DELETE FROM clip.record WHERE key IN (5, 6, 7)")
    world.score(plan.shards[0].shard_id)
    summary = world.judge("a")
    assert (summary.vanished, summary.arrived, summary.failures) == (3, 0, ())


def test_a_record_that_was_skipped_fails_the_run_by_name(world: World) -> None:
    world.add_many(40)
    plan = world.plan("a", shard_size=40)
    world.score(plan.shards[0].shard_id)
    world.sql("DELETE FROM clip.score WHERE record_key = '7'")
    summary = world.judge("a")
    assert summary.failures == (
        "shard 0: 1 without an outcome", "shard 0: counters 40+0, rows 39+0",
    )  # fmt: skip
    assert world.sql("SELECT state FROM clip.run") == [("failed",)]


def test_an_unfinished_shard_fails_the_run_and_a_retry_mends_it(world: World) -> None:
    world.add_many(40)
    first, second = world.plan("a").shards
    world.score(first.shard_id)
    assert world.judge("a").failures == ("shard 1: not finished, 20 pending",)
    world.score(second.shard_id)
    assert world.judge("a").failures == ()
    assert world.sql("SELECT state FROM clip.run") == [("succeeded",)]


def test_a_rejection_rate_above_the_gate_fails_the_run(world: World) -> None:
    world.add({1: ("http_404_410", "c"), 2: ("image", "c")})
    world.score(world.plan("a").shards[0].shard_id)
    assert world.judge("a", gates=Gates(0.5)).failures == ()
    failed = world.judge("a", gates=Gates(0.49))
    assert failed.failures == ("rejection rate 0.5000 above the limit 0.49",)


def test_a_record_has_one_outcome_when_a_change_turns_a_score_into_a_rejection_and_back(
    world: World,
) -> None:
    world.add({1: ("image", "c")})
    world.run("a")
    world.sql("UPDATE clip.record SET caption = ''")
    assert world.run("b").rejected == 1
    assert world.sql("SELECT rejection_reason FROM clip.similarity") == [("caption_empty",)]
    world.sql("UPDATE clip.record SET caption = 'fine again'")
    assert world.run("c").scored == 1
    assert world.sql("SELECT rejection_reason FROM clip.similarity") == [(None,)]


def test_the_wait_before_a_retry_doubles_with_each_attempt(world: World) -> None:
    world.add({1: ("timeout", "c")})
    waits = []
    for attempt in range(3):
        world.run(str(attempt))
        waits += world.sql(
            "SELECT attempts, round(extract(epoch FROM next_attempt_at - rejected_at)) "
            "FROM clip.rejection"
        )
        world.sql("UPDATE clip.rejection SET next_attempt_at = now() - interval '1 second'")
    assert waits == [(1, 3600), (2, 7200), (3, 14400)]


def test_a_claim_fails_while_another_live_run_works_on_the_range(world: World) -> None:
    world.add_many(20)
    old = world.plan("old").shards[0].shard_id
    world.sql("UPDATE clip.shard SET lease_until = now() - interval '1 second'")
    world.plan("new")
    with pytest.raises(ShardLost, match="its records are reserved by run new"):
        world.score(old)
    # Planning voided the claims on the old run; the claim that failed took no epoch.
    assert world.sql("SELECT epoch FROM clip.shard ORDER BY id") == [(1,), (0,)]
    assert world.sql("SELECT state FROM clip.run ORDER BY id") == [("abandoned",), ("running",)]


def test_a_batch_of_rejections_alone_needs_no_device(world: World) -> None:
    world.add({key: ("http_404_410", "c") for key in range(1, 11)})
    scorer = CountingScorer()
    world.score(world.plan("a").shards[0].shard_id, scorer=scorer)
    assert scorer.batches == []


def test_rejections_keep_no_nul_in_their_detail(world: World) -> None:
    world.add_many(1)
    sink = PostgresSink(world.engine)
    _, claim = sink.claim(world.plan("a").shards[0].shard_id, device="none")
    sink.commit(claim, 2, [(Record(1, "i", "c"), Rejection(Reason.URI_INVALID, "a\x00b"))], NOTHING)
    assert world.sql("SELECT detail FROM clip.rejection") == [("a␀b",)]


def test_a_run_whose_rows_a_later_run_replaced_is_not_called_short(world: World) -> None:
    world.add_many(40)
    first, second = world.plan("a").shards
    world.score(first.shard_id)
    world.sql("UPDATE clip.record SET caption = 'changed' WHERE key = 3")
    world.run("b")
    world.score(second.shard_id)
    summary = world.judge("a")
    assert (summary.scored, summary.vanished, summary.failures) == (39, 1, ())


def test_two_runs_that_score_everything_again_are_both_green(world: World) -> None:
    world.add_many(20)
    (first,) = world.plan("a", rescore=Rescore.ALL).shards
    world.score(first.shard_id)
    assert world.run("b", rescore=Rescore.ALL).failures == ()
    assert world.judge("a").failures == ()
