"""Planning on a real PostgreSQL: which records become which shards, and who may have them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import event

from clip_scoring.database.connection import transaction
from clip_scoring.errors import SettingsInvalid
from clip_scoring.planning import preview
from clip_scoring.runs import Rescore, WindowKind
from clip_scoring.settings.registrations import TablePlace
from clip_scoring.shards import KeyRange
from clip_scoring.sources.table import PostgresSource
from tests.support.world import DAY, MIDDAY, World


def test_shards_tile_the_pending_keys_on_the_batch_grid(world: World) -> None:
    world.add_many(45)
    plan = world.plan("a", shard_size=15)
    assert [shard.planned for shard in plan.shards] == [20, 20, 5]
    assert world.sql('SELECT start_key, stop_key, "offset" FROM clip.shard ORDER BY number') == [
        (1, 21, 1), (21, 41, 21), (41, 46, 41)
    ]  # fmt: skip


def test_planning_again_under_the_same_key_gives_the_same_shards(world: World) -> None:
    world.add_many(30)
    first = world.plan("a")
    world.add_many(30, first=31)
    assert world.plan("a") == first
    assert world.sql("SELECT count(*) FROM clip.shard") == [(2,)]


def test_a_day_window_takes_its_day_and_an_open_window_everything_before_its_end(
    world: World,
) -> None:
    for offset in (-1, 0, 1):
        world.add_many(10, first=100 + 10 * offset, created_at=MIDDAY + timedelta(days=offset))
    assert world.plan("day", window=WindowKind.DAY).planned == 10
    world.sql("UPDATE clip.run SET state = 'failed'")
    assert world.plan("up to").planned == 20


def test_the_first_instant_belongs_to_a_day_and_the_last_to_the_next(world: World) -> None:
    world.add({1: ("i", "c")}, created_at=datetime(2026, 1, 1, tzinfo=UTC))
    world.add({2: ("i", "c")}, created_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert world.plan("a", window=WindowKind.DAY).planned == 1


def test_what_a_live_run_holds_is_left_out_and_counted(world: World) -> None:
    world.add_many(40)
    world.plan("a", limit=20)
    second = world.plan("b")
    assert (second.planned, second.reserved) == (20, 20)
    starts = "SELECT start_key FROM clip.shard WHERE run_id = :r"
    assert world.sql(starts, r=second.run_id) == [(21,)]


def test_shards_never_span_a_range_that_somebody_holds(world: World) -> None:
    world.add_many(10, first=11)
    world.plan("middle")
    world.add_many(10, first=1)
    world.add_many(10, first=21)
    plan = world.plan("around")
    assert [(shard.planned, shard.number, shard.keys) for shard in plan.shards] == [
        (10, 0, KeyRange(1, 11)), (10, 1, KeyRange(21, 31))
    ]  # fmt: skip


def test_a_run_whose_leases_ran_out_holds_nothing(world: World) -> None:
    world.add_many(20)
    world.plan("dead")
    world.sql("UPDATE clip.shard SET lease_until = now() - interval '1 second'")
    assert world.plan("next").planned == 20


def test_two_plannings_at_once_share_no_record(world: World) -> None:
    world.add_many(200)
    with ThreadPoolExecutor(2) as both:
        plans = list(both.map(world.plan, ["a", "b"]))
    assert sorted((plan.planned, plan.reserved) for plan in plans) == [(0, 200), (200, 0)]


def test_a_record_is_pending_again_when_its_caption_or_image_changed(world: World) -> None:
    world.add_many(30)
    world.run("a")
    world.sql("UPDATE clip.record SET caption = 'new' WHERE key = 3")
    world.sql("UPDATE clip.record SET image_uri = 'new' WHERE key = 5")
    assert world.plan("b").planned == 2


def test_a_retryable_rejection_is_pending_when_its_time_has_come_a_permanent_one_never(
    world: World,
) -> None:
    world.add({1: ("timeout", "c"), 2: ("http_404_410", "c")})
    world.run("a")
    assert world.plan("b").planned == 0
    world.sql("UPDATE clip.rejection SET next_attempt_at = now() - interval '1 second' "
              "WHERE next_attempt_at IS NOT NULL")  # fmt: skip
    assert world.plan("c").planned == 1


def test_rescore_rejected_and_all_take_what_they_name(world: World) -> None:
    world.add({1: ("timeout", "c"), 2: ("http_404_410", "c"), 3: ("image", "c")})
    world.run("a")
    assert world.plan("b", rescore=Rescore.REJECTED).planned == 2
    world.sql("UPDATE clip.run SET state = 'failed'")
    assert world.plan("c", rescore=Rescore.ALL).planned == 3


def test_a_preview_counts_and_writes_nothing(world: World) -> None:
    world.add_many(30)
    request = world.request("a", limit=25)
    assert preview(request, source=world.source, runs=world.runs).planned == 25
    assert world.sql("SELECT count(*) FROM clip.run") == [(0,)]


def test_the_shard_size_grows_so_that_there_are_at_most_1000_shards(world: World) -> None:
    world.add_many(3001)
    plan = world.plan("a", batch_size=1, shard_size=1)
    assert len(plan.shards) <= 1000
    assert sum(shard.planned for shard in plan.shards) == 3001


@pytest.mark.parametrize(("kind", "keys"), [
    ("text", ["B", "a", "ä", "Z-9", "a\u0001"]),
    ("uuid", [f"{n:08x}-0000-4000-8000-{n:012x}" for n in (7, 1, 255, 16, 9)]),
])  # fmt: skip
def test_a_users_own_table_with_text_or_uuid_keys_is_scored_in_key_order(
    world: World, kind: str, keys: list[str]
) -> None:
    world.sql('CREATE SCHEMA "My Shop"')
    world.sql(
        f'CREATE TABLE "My Shop".pictures (sku {kind} PRIMARY KEY, photo text, "Alt Text" text, '
        "added timestamptz)"
    )
    for key in keys:
        world.sql('INSERT INTO "My Shop".pictures VALUES (:k, :p, :c, :t)',
                  k=key, p="image", c=f"caption {key}", t=MIDDAY)  # fmt: skip
    world.place = TablePlace("My Shop.pictures", "sku", "photo", "Alt Text", "added")
    summary = world.run("a", batch_size=2, shard_size=2)
    assert (summary.scored, summary.pending, summary.failures) == (5, 0, ())
    assert world.sql("SELECT record_key FROM clip.score ORDER BY 1") == [
        (key,) for key in sorted(keys)
    ]


def test_unknown_tables_and_columns_are_refused_by_name(world: World) -> None:
    with pytest.raises(SettingsInvalid, match=r"no table or view clip\.nothing"):
        PostgresSource(world.engine, "x", TablePlace("clip.nothing"))
    with pytest.raises(SettingsInvalid, match=r"has no column 'nope', only key, image_uri"):
        PostgresSource(world.engine, "x", TablePlace(caption="nope"))


def test_a_date_without_records_plans_an_empty_run(world: World) -> None:
    summary = world.run("a", day=date(2020, 1, 1))
    assert (summary.planned, summary.failures) == (0, ())
    assert world.sql("SELECT state FROM clip.run") == [("succeeded",)]


def test_a_batch_is_read_by_key_and_each_outcome_looked_up_whatever_the_statistics_say(
    world: World,
) -> None:
    world.add_many(5000)
    plan = world.plan("a", shard_size=5000)
    world.sql(
        "INSERT INTO clip.score SELECT 'records', key::text, 1, 0.5, false, gen_random_uuid(), "
        ":run, :shard FROM clip.record",
        run=plan.run_id, shard=plan.shards[0].shard_id,
    )  # fmt: skip
    sent: list[tuple[str, dict[str, object]]] = []
    event.listen(
        world.engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, values, _x, _many: sent.append((statement, values)),
    )
    batch = world.runs.get("a").selection(KeyRange(1, 5001))
    assert len(world.source.read_pending(batch, 10)) == 10
    (setting, _), (statement, values) = sent[-2:]
    with transaction(world.engine) as connection:
        connection.exec_driver_sql(setting)
        lines = connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars().all()
    explained = "\n".join(lines)
    assert "Join" not in explained, explained
    assert "Index Scan using record_pkey" in explained, explained
    lookup = explained.partition("score_pkey")[2]
    assert "(record_key = (record.key)::text)" in lookup.partition("rejection")[0], explained


def test_two_days_hold_nothing_from_each_other_however_their_keys_lie(world: World) -> None:
    for key in range(1, 41):
        world.add({key: ("image", "c")}, created_at=MIDDAY + timedelta(days=key % 2))
    first = world.plan("first", window=WindowKind.DAY)
    second = world.plan("second", window=WindowKind.DAY, day=DAY + timedelta(days=1))
    assert (first.planned, first.reserved, second.planned, second.reserved) == (20, 0, 20, 0)
    for shard in (*first.shards, *second.shards):
        world.score(shard.shard_id)
    assert world.judge("first").failures == world.judge("second").failures == ()
    assert world.sql("SELECT run_id, count(*) FROM clip.score GROUP BY 1 ORDER BY 1") == [
        (1, 20), (2, 20)
    ]  # fmt: skip
    world.check_invariants()


def test_records_that_several_runs_hold_count_once(world: World) -> None:
    for key in range(1, 41):
        world.add({key: ("image", "c")}, created_at=MIDDAY + timedelta(days=key % 2))
    world.plan("first", window=WindowKind.DAY)
    world.plan("second", window=WindowKind.DAY, day=DAY + timedelta(days=1))
    night = world.plan("night", day=DAY + timedelta(days=1))
    assert (night.planned, night.reserved) == (0, 40)
    assert world.plan("night", day=DAY + timedelta(days=1)).reserved == 40
