"""What the weekly maintenance lets go of, what it leaves alone, and under which rights."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from clip_scoring.database.connection import connect_engine, transaction
from clip_scoring.database.maintenance import PostgresMaintenance
from clip_scoring.database.roles import grant_roles
from clip_scoring.database.sink import PostgresSink
from clip_scoring.errors import SettingsInvalid, ShardLost
from clip_scoring.models.fake import FAKE_FINGERPRINT
from clip_scoring.nightly.maintenance import maintain
from clip_scoring.runs import WindowKind
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.registrations import Registrations, SourceRegistration
from tests.support.world import DAY, World

MONTH = timedelta(days=30)
RETRIES = "SELECT record_key, next_attempt_at IS NOT NULL FROM clip.rejection ORDER BY 1"


@pytest.fixture
def worker(engine: Engine) -> Engine:
    """The test's database under the rights of clip_worker."""
    grant_roles(engine)
    url = engine.url.update_query_dict({"options": "-c role=clip_worker"})
    return connect_engine(url.render_as_string(hide_password=False))


@pytest.fixture
def maintenance(worker: Engine) -> PostgresMaintenance:
    """In batches of three rows."""
    return PostgresMaintenance(worker, at_once=3)


def age(world: World, days: float) -> None:
    """Everything that happened so far happened so many days earlier."""
    back = {"by": timedelta(days=days)}
    world.sql(
        "UPDATE clip.run SET started_at = started_at - :by, finished_at = finished_at - :by", **back
    )
    world.sql("UPDATE clip.shard SET lease_until = lease_until - :by", **back)
    world.sql(
        "UPDATE clip.rejection SET rejected_at = rejected_at - :by, "
        "next_attempt_at = next_attempt_at - :by",
        **back,
    )


@pytest.fixture
def rejected(world: World) -> World:
    """Ten rejections that fell due 40 days ago."""
    world.add({key: ("timeout", f"caption {key}") for key in range(1, 11)})
    world.run("first", day=DAY, window=WindowKind.UP_TO_DAY)
    age(world, 40.1)
    return world


def waiting(world: World) -> int:
    [(count,)] = world.sql("SELECT count(next_attempt_at) FROM clip.rejection")
    return int(str(count))


def test_a_pause_of_the_schedule_gives_up_nothing(
    rejected: World, maintenance: PostgresMaintenance
) -> None:
    assert maintenance.give_up_retries(MONTH, ["records"]) == 0
    assert waiting(rejected) == 10
    assert rejected.plan("after the pause").planned == 10


def test_retries_that_a_later_run_left_out_are_given_up_and_stay_rejections(
    rejected: World, maintenance: PostgresMaintenance
) -> None:
    rejected.sql("DELETE FROM clip.record WHERE key <= 7")
    rejected.run("later")
    age(rejected, 0.01)
    assert maintenance.give_up_retries(MONTH, ["records"]) == 7
    assert rejected.sql(RETRIES) == [
        ("1", False), ("10", True), *((str(key), False) for key in range(2, 8)),
        ("8", True), ("9", True),
    ]  # fmt: skip
    assert maintenance.give_up_retries(MONTH, ["records"]) == 0
    rejected.check_invariants()


def test_a_later_run_counts_only_if_it_took_everything_long_after_they_were_due(
    rejected: World, maintenance: PostgresMaintenance
) -> None:
    rejected.sql("DELETE FROM clip.record")
    rejected.run("of one day", window=WindowKind.DAY)
    assert maintenance.give_up_retries(MONTH, ["records"]) == 0
    rejected.run("of an earlier time", day=DAY - timedelta(days=1))
    assert maintenance.give_up_retries(MONTH, ["records"]) == 0
    rejected.run("soon after")
    rejected.sql("UPDATE clip.run SET started_at = now() - interval '35 days'")
    assert maintenance.give_up_retries(MONTH, ["records"]) == 0
    rejected.run("long after")
    rejected.sql("UPDATE clip.run SET state = 'failed' WHERE run_key = 'long after'")
    assert maintenance.give_up_retries(MONTH, ["records"]) == 0
    rejected.run("long after, and green")
    assert maintenance.give_up_retries(timedelta(days=41), ["records"]) == 0
    assert maintenance.give_up_retries(MONTH, ["records"]) == 10


def test_retries_of_a_source_that_is_not_registered_any_more_are_given_up(
    rejected: World, maintenance: PostgresMaintenance
) -> None:
    assert maintenance.give_up_retries(timedelta(days=41), ["others"]) == 0
    assert maintenance.give_up_retries(MONTH, ["others"]) == 10
    assert rejected.sql("SELECT count(*) FROM clip.rejection") == [(10,)]


def test_nothing_is_taken_out_of_the_hands_of_a_run(
    rejected: World, maintenance: PostgresMaintenance
) -> None:
    plan = rejected.plan("under way")
    assert maintenance.give_up_retries(MONTH, []) == 0
    for shard in plan.shards:
        rejected.score(shard.shard_id)
    summary = rejected.judge("under way")
    assert (summary.rejected, summary.vanished, summary.failures) == (10, 0, ())


def test_rows_that_somebody_holds_are_left_to_the_next_time(
    rejected: World, maintenance: PostgresMaintenance
) -> None:
    with transaction(rejected.engine) as connection:
        connection.exec_driver_sql("SELECT FROM clip.rejection WHERE record_key = '4' FOR UPDATE")
        assert maintenance.give_up_retries(MONTH, []) == 9
    assert maintenance.give_up_retries(MONTH, []) == 1


def test_measures_of_old_runs_are_emptied_and_their_metrics_stay(
    world: World, maintenance: PostgresMaintenance
) -> None:
    small = {"batch_size": 5, "shard_size": 5}
    world.add_many(20)
    world.run("old", **small)
    metrics = world.sql("SELECT metrics FROM clip.run")
    age(world, 91)
    world.add_many(20, first=101)
    world.run("young", **small)
    full = (
        "SELECT run_key, count(*) FROM clip.shard JOIN clip.run ON run.id = run_id "
        "WHERE measures <> '{}' GROUP BY 1"
    )
    assert dict(world.sql(full)) == {"old": 4, "young": 4}
    assert maintenance.empty_measures(timedelta(days=92)) == 0
    assert maintenance.empty_measures(timedelta(days=90)) == 4
    assert dict(world.sql(full)) == {"young": 4}
    assert maintenance.empty_measures(timedelta(days=90)) == 0
    assert world.sql("SELECT metrics FROM clip.run WHERE run_key = 'old'") == metrics


def test_measures_that_nobody_summed_up_stay(
    world: World, maintenance: PostgresMaintenance
) -> None:
    world.add_many(20)
    world.score(world.plan("never finished").shards[0].shard_id)
    age(world, 100)
    assert maintenance.empty_measures(timedelta(days=90)) == 0
    assert maintenance.abandon_silent_runs() == 1
    age(world, 100)
    assert maintenance.empty_measures(timedelta(days=90)) == 0


STATES = "SELECT run_key, state, finished_at IS NOT NULL FROM clip.run ORDER BY id"


def test_a_run_that_nobody_works_on_is_abandoned_and_its_claims_are_void(
    world: World, maintenance: PostgresMaintenance
) -> None:
    world.add_many(60)
    plan = world.plan("silent")
    world.score(plan.shards[0].shard_id)
    sink = PostgresSink(world.engine)
    _, late = sink.claim(plan.shards[1].shard_id, device="none")
    age(world, 0.9)
    assert maintenance.abandon_silent_runs() == 0
    age(world, 0.2)
    assert maintenance.abandon_silent_runs() == 1
    assert world.sql(STATES) == [("silent", "abandoned", True)]
    assert world.sql("SELECT number, epoch, worker FROM clip.shard ORDER BY 1") == [
        (0, 1, "unnamed"), (1, 2, None), (2, 1, None),
    ]  # fmt: skip
    with pytest.raises(ShardLost):
        sink.commit(late, 31, [], world.loader.load([]).measures)

    for shard in plan.shards[1:]:
        world.score(shard.shard_id)
    assert world.sql(STATES) == [("silent", "running", False)]
    summary = world.judge("silent")
    assert (summary.scored, summary.failures) == (60, ())
    world.check_invariants()


def test_a_run_of_which_one_shard_is_alive_or_that_is_young_is_left_alone(
    world: World, maintenance: PostgresMaintenance
) -> None:
    world.add_many(60)
    plan = world.plan("alive")
    world.run("nothing left to plan")
    world.sql("UPDATE clip.run SET state = 'running' WHERE run_key <> 'alive'")
    assert maintenance.abandon_silent_runs() == 0
    age(world, 2)
    world.score(plan.shards[2].shard_id)
    assert maintenance.abandon_silent_runs() == 1
    assert world.sql(STATES) == [
        ("alive", "running", False), ("nothing left to plan", "abandoned", True),
    ]  # fmt: skip
    assert world.sql("SELECT max(epoch) FROM clip.shard") == [(1,)]


def test_a_claim_that_is_not_committed_yet_keeps_its_run_alive(
    world: World, maintenance: PostgresMaintenance
) -> None:
    world.add_many(60)
    plan = world.plan("taken up")
    age(world, 2)
    with transaction(world.engine) as connection:
        connection.exec_driver_sql(
            "UPDATE clip.shard SET epoch = epoch + 1, lease_until = now() + interval '1 h' "
            f"WHERE id = {plan.shards[1].shard_id}"
        )
        assert maintenance.abandon_silent_runs() == 0
    assert world.sql("SELECT sum(epoch) FROM clip.shard") == [(1,)]
    assert world.sql(STATES) == [("taken up", "running", False)]


def test_a_planning_under_way_is_left_to_abandon_its_own(
    world: World, maintenance: PostgresMaintenance
) -> None:
    world.add_many(60)
    world.plan("silent")
    age(world, 2)
    with world.runs.planning("records", FAKE_FINGERPRINT):
        assert maintenance.abandon_silent_runs() == 0
    with world.runs.planning("other source", FAKE_FINGERPRINT):
        assert maintenance.abandon_silent_runs() == 1


def test_maintenance_beside_a_run_at_work_changes_nothing_of_it(
    world: World, maintenance: PostgresMaintenance
) -> None:
    world.add_many(60)
    world.watch_offsets()
    plan = world.plan("at work", batch_size=4)
    over = threading.Event()

    def tidy() -> None:
        while not over.is_set():
            maintenance.give_up_retries(timedelta(0), ["records"])
            maintenance.empty_measures(timedelta(0))
            maintenance.abandon_silent_runs(timedelta(hours=1))

    beside = threading.Thread(target=tidy)
    beside.start()
    try:
        for shard in plan.shards:
            world.score(shard.shard_id)
    finally:
        over.set()
        beside.join()
    assert world.judge("at work").failures == ()
    assert world.sql("SELECT sum(scored + rejected), max(epoch) FROM clip.shard") == [(60, 1)]
    world.check_invariants()


def test_maintenance_says_what_it_did_and_refuses_ages_out_of_range(
    rejected: World, worker: Engine
) -> None:
    url = worker.url.render_as_string(hide_password=False)
    settings = Settings(Registrations({"others": SourceRegistration("others")}), database_url=url)
    for wrong in (0, 3651, True, "30", 1.5):
        with pytest.raises(SettingsInvalid, match="retry_days"):
            maintain(settings, retry_days=wrong, measure_days=90)  # type: ignore[arg-type]
    with pytest.raises(SettingsInvalid, match="measure_days: 0 must be a whole number from 1"):
        maintain(settings, retry_days=30, measure_days=0)
    rejected.plan("silent")
    age(rejected, 60)
    silent = {"runs_abandoned": 1, "retries_given_up": 10, "shards_emptied": 1}
    assert maintain(settings, retry_days=30, measure_days=90) == silent
    nothing = dict.fromkeys(silent, 0)
    assert maintain(settings, retry_days=30, measure_days=90) == nothing
    assert rejected.sql("SELECT count(*) FROM clip.rejection") == [(10,)]
