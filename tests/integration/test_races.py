"""Races for the same records: who wins, who waits, who is told that it lost, and no deadlock."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from time import monotonic

import psycopg2
import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from clip_scoring.database import connection as limits
from clip_scoring.database import sink as postgres_sink
from clip_scoring.database.connection import connect_engine, query, sqlstate, transaction
from clip_scoring.database.sink import PostgresSink
from clip_scoring.errors import DatabaseBusy, DatabaseUnreachable, ShardLost
from clip_scoring.planning import plan_run
from clip_scoring.records import Outcome, Reason, Record, Rejection, Score
from clip_scoring.runs import Plan, RunSummary, Selection, Trigger, WindowKind
from clip_scoring.scoring import Worker, score_shard
from clip_scoring.shards import Claim, PlannedRange
from clip_scoring.sources.table import PostgresSource
from tests.faults.histories import history
from tests.support.world import MIDDAY, NOTHING, World

PATIENCE_S = 60
LOCK_WAITS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def outcome(key: int) -> tuple[Record, Outcome]:
    """Every fifth record is rejected."""
    rejected = Rejection(Reason.HTTP_404_410)
    return Record(key, "i", "c"), rejected if key % 5 == 0 else Score(0.5, False)


BATCH = [outcome(key) for key in range(1, 11)]


def until(happened: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_S
    while not happened():
        assert monotonic() < deadline


def until_somebody_waits_for_a_lock(world: World) -> None:
    until(lambda: world.sql(LOCK_WAITS) != [(0,)])


def claimed(world: World, run_key: str = "a") -> tuple[PostgresSink, Claim]:
    """A worker with the first shard of a new run over records 1 to 40."""
    sink = PostgresSink(world.engine)
    plan = world.plan(run_key, shard_size=40)
    return sink, sink.claim(plan.shards[0].shard_id, device="none")[1]


def on_first(engine: Engine, words: str, act: Callable[[], None]) -> None:
    """Do something right before the first statement that contains the words is sent."""
    waiting = [act]

    def look(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        if words in statement and waiting:
            waiting.pop()()

    event.listen(engine, "before_cursor_execute", look)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def full(world: World) -> World:
    """40 records, half of them of the day before, with every change written down."""
    world.add_many(20, created_at=MIDDAY - timedelta(days=1))
    world.add_many(20, first=21)
    world.sql(history.HISTORY)
    return world


@pytest.mark.parametrize("race", range(10))
def test_a_nightly_run_and_a_backfill_at_once_score_every_record_exactly_once(
    full: World, database: str, threads: ThreadPoolExecutor, race: int
) -> None:
    ready, planned = Barrier(2), Barrier(2)

    def contend(trigger: Trigger, window: WindowKind) -> tuple[Plan, RunSummary]:
        mine = World(connect_engine(database))
        source, sink = mine.source, PostgresSink(mine.engine)
        request = mine.request(trigger, window=window, batch_size=3, shard_size=6)
        ready.wait(PATIENCE_S)
        plan = plan_run(replace(request, trigger=trigger), source=source, runs=mine.runs)
        if race % 2:
            planned.wait(PATIENCE_S)
        for shard in plan.shards:
            run, claim = sink.claim(shard.shard_id, device="none")
            worker = Worker(source, mine.loader, mine.scorer, sink)
            score_shard(run, claim, worker=worker)
        return plan, mine.judge(trigger)

    nightly = threads.submit(contend, Trigger.SCHEDULED, WindowKind.UP_TO_DAY)
    backfill = threads.submit(contend, Trigger.BACKFILL, WindowKind.DAY)
    (by_night, night), (by_day, day) = nightly.result(), backfill.result()
    assert by_night.planned + by_day.planned == 40
    if race % 2:
        assert (by_night.planned + by_night.reserved, by_day.planned + by_day.reserved) == (40, 20)
    assert (night.failures, day.failures, night.scored + day.scored) == ((), (), 40)
    assert full.sql("SELECT count(*), count(DISTINCT record_key) FROM writing") == [(40, 40)]
    assert full.sql("SELECT DISTINCT state FROM clip.run") == [("succeeded",)]
    assert full.sql(history.VIOLATIONS) == []


def test_planners_with_the_same_run_key_at_once_plan_one_run_with_the_same_shards(
    full: World, database: str, threads: ThreadPoolExecutor
) -> None:
    ready = Barrier(4)

    def plan(_: int) -> Plan:
        mine = World(connect_engine(database))
        request, source = mine.request("same"), mine.source
        ready.wait(PATIENCE_S)
        return plan_run(request, source=source, runs=mine.runs)

    first, *others = threads.map(plan, range(4))
    assert [(other.run_id, other.shards) for other in others] == [(first.run_id, first.shards)] * 3
    assert full.sql("SELECT count(*), sum(planned) FROM clip.shard") == [(2, 40)]
    assert full.sql("SELECT count(*) FROM clip.run") == [(1,)]


def test_records_between_those_of_a_backfill_are_held_and_left_to_the_next_run(
    full: World,
) -> None:
    full.sql(
        "UPDATE clip.record SET created_at = :t + key % 2 * interval '1 day'",
        t=MIDDAY - timedelta(days=1),
    )
    backfill = full.plan("backfill", window=WindowKind.DAY, shard_size=10)
    nightly = full.plan("nightly")
    assert (backfill.planned, nightly.planned, nightly.reserved) == (20, 1, 39)
    for shard in (*backfill.shards, *nightly.shards):
        full.score(shard.shard_id)
    assert full.judge("backfill").failures == full.judge("nightly").failures == ()
    assert full.run("next night").scored == 19
    assert full.sql("SELECT count(*), count(DISTINCT record_key) FROM writing") == [(40, 40)]


# Deadlocks: writers of the same keys, which planning never lets happen, made by hand.


def deadlocks(world: World) -> int:
    """As the server counts them, once every other session has ended and reported."""
    others = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    until(lambda: world.sql(others) == [(0,)])
    counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    return int(str(world.sql(counted)[0][0]))


def set_deadlock_timeout(world: World, limit: str) -> None:
    (name,) = world.sql("SELECT current_database()")[0]
    world.sql(f"ALTER DATABASE {name} SET deadlock_timeout = '{limit}'")


def claims_on_the_same_keys(world: World, database: str) -> list[tuple[PostgresSink, Claim]]:
    """Four claims on the same records, each for a run of its own."""
    found = []
    for run_key in "abcd":
        found.append(claimed(World(connect_engine(database)), run_key))
        world.sql("UPDATE clip.run SET state = 'failed'")
    return found


def test_four_writers_of_the_same_keys_in_any_order_never_deadlock(
    full: World, database: str, threads: ThreadPoolExecutor
) -> None:
    rounds, together = 12, Barrier(4)

    def write(sink: PostgresSink, claim: Claim) -> None:
        rng = random.Random(claim.run_id)
        for offset in range(2, 2 + rounds):
            rows = [outcome(key) for key in rng.sample(range(1, 201), 150)]
            together.wait(PATIENCE_S)
            claim = sink.commit(claim, offset, rows, NOTHING)

    claims = claims_on_the_same_keys(full, database)
    for written in [threads.submit(write, *each) for each in claims]:
        written.result()
    assert full.sql("SELECT sum(scored + rejected) FROM clip.shard") == [(4 * rounds * 150,)]
    backoffs = "SELECT sum((measures #> '{counts,backoffs}')::int) FROM clip.shard"
    assert full.sql(backoffs) == [(0,)]
    assert deadlocks(full) == 0


def test_beside_it_two_naive_writers_without_the_order_do_deadlock(
    full: World, database: str, threads: ThreadPoolExecutor
) -> None:
    set_deadlock_timeout(full, "50ms")
    claims = claims_on_the_same_keys(full, database)
    unordered = text(str(query("put_scores")).replace('ORDER BY record_key COLLATE "C"\n', ""))
    assert "ORDER BY" not in str(unordered)
    half_way = Barrier(2)

    def put(connection: Connection, claim: Claim, keys: Sequence[int]) -> None:
        values = {"source": "records", "fingerprint_id": 1, "run_id": claim.run_id}
        columns = {
            "keys": [str(key) for key in keys],
            "similarities": [0.5] * len(keys),
            "truncated": [False] * len(keys),
            "input_md5s": ["0" * 32] * len(keys),
        }
        connection.execute(unordered, {**values, "shard_id": claim.shard_id, **columns})

    def write(claim: Claim, *halves: Sequence[int]) -> str | None:
        try:
            with connect_engine(database).begin() as connection:
                put(connection, claim, halves[0])
                half_way.wait(PATIENCE_S)
                put(connection, claim, halves[1])
        except DBAPIError as failed:
            return sqlstate(failed)
        return None

    low, high = range(1, 101), range(101, 201)
    up = threads.submit(write, claims[0][1], low, high)
    down = threads.submit(write, claims[1][1], high, low)
    assert {up.result(), down.result()} == {None, "40P01"}
    assert deadlocks(full) == 1


def test_outcomes_are_locked_in_the_order_of_their_keys_however_a_batch_is_ordered(
    full: World,
) -> None:
    full.sql("CREATE TABLE locked (n serial, into_table text, record_key text)")
    full.sql(
        "CREATE FUNCTION note_lock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO locked (into_table, record_key) VALUES (TG_TABLE_NAME, NEW.record_key); "
        "RETURN NEW; END $$"
    )
    for table in ("score", "rejection"):
        full.sql(
            f"CREATE TRIGGER note_lock BEFORE INSERT ON clip.{table} FOR EACH ROW "
            "EXECUTE FUNCTION note_lock()"
        )
    sink, claim = claimed(full)
    rows = [outcome(key) for key in range(1, 41)]
    random.Random(1).shuffle(rows)
    sink.commit(claim, 41, rows, NOTHING)
    for table, keys in (
        ("score", [key for key in range(1, 41) if key % 5]),
        ("rejection", range(5, 41, 5)),
    ):
        order = full.sql("SELECT record_key FROM locked WHERE into_table = :t ORDER BY n", t=table)
        assert [key for (key,) in order] == sorted(map(str, keys))


# What the server rolls back for another's sake is done again, whole.


@pytest.fixture
def rival(database: str) -> Iterator[psycopg2.extensions.connection]:
    """Another session, which never gives in when it meets a deadlock."""
    connection = psycopg2.connect(database)
    with connection.cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '10min'")
    connection.commit()
    yield connection
    connection.close()


def hold_outcome(rival: psycopg2.extensions.connection, claim: Claim, key: int) -> None:
    with rival.cursor() as cursor:
        cursor.execute(
            "INSERT INTO clip.score VALUES ('records', %s, 1, 0, false, gen_random_uuid(), %s, %s)",
            (str(key), claim.run_id, claim.shard_id),
        )


def assert_written_once(world: World, *, backoffs: int) -> None:
    counted = "SELECT scored, rejected, measures #>> '{counts,backoffs}' FROM clip.shard"
    assert world.sql(counted) == [(8, 2, str(backoffs))]
    assert world.sql("SELECT count(*), count(DISTINCT record_key) FROM writing") == [(10, 10)]
    assert world.sql(history.VIOLATIONS) == []


def test_a_commit_that_loses_a_deadlock_is_repeated_and_writes_once(
    full: World,
    rival: psycopg2.extensions.connection,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_deadlock_timeout(full, "50ms")
    sink, claim = claimed(full)
    hold_outcome(rival, claim, 3)
    crossing: list[Future[None]] = []

    def want_the_shard() -> None:
        with rival.cursor() as cursor:
            cursor.execute("UPDATE clip.shard SET worker = worker")

    def cross() -> None:
        crossing.append(threads.submit(want_the_shard))
        until_somebody_waits_for_a_lock(World(connect_engine(rival_url)))

    def give_way(_seconds: float) -> None:
        crossing[0].result(PATIENCE_S)
        rival.rollback()

    rival_url = full.engine.url.render_as_string(hide_password=False)
    on_first(full.engine, "INSERT INTO clip.score", cross)
    monkeypatch.setattr(postgres_sink, "sleep", give_way)
    assert sink.commit(claim, 11, BATCH, NOTHING).checkpoint.offset == 11
    assert_written_once(full, backoffs=1)


def test_a_commit_that_waited_too_long_for_a_lock_is_repeated_and_writes_once(
    full: World, rival: psycopg2.extensions.connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, claim = claimed(full)
    hold_outcome(rival, claim, 3)
    monkeypatch.setattr(limits, "_LIMITS", shortened("20s", "100ms"))
    monkeypatch.setattr(postgres_sink, "sleep", lambda _seconds: rival.rollback())
    sink.commit(claim, 11, BATCH, NOTHING)
    assert_written_once(full, backoffs=1)


def fail_inserts(world: World, code: str, times: int) -> None:
    """The first `times` upserts of scores fail with this SQLSTATE; a sequence never rolls back."""
    world.sql("CREATE SEQUENCE attempt")
    world.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('attempt') <= {times} THEN RAISE 'as asked' USING ERRCODE = '{code}'; END IF; "
        "RETURN NULL; END $$"
    )
    world.sql(
        "CREATE TRIGGER fail BEFORE INSERT ON clip.score FOR EACH STATEMENT EXECUTE FUNCTION fail()"
    )


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
def test_a_transaction_that_fails_four_times_for_anothers_sake_completes_at_the_fifth(
    full: World, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(postgres_sink, "sleep", lambda _seconds: None)
    sink, claim = claimed(full)
    fail_inserts(full, code, times=4)
    sink.commit(claim, 11, BATCH, NOTHING)
    assert_written_once(full, backoffs=4)


def test_a_transaction_that_fails_five_times_raises_and_has_written_nothing(
    full: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_sink, "sleep", lambda _seconds: None)
    sink, claim = claimed(full)
    fail_inserts(full, "40001", times=5)
    with pytest.raises(DatabaseBusy, match="as asked"):
        sink.commit(claim, 11, BATCH, NOTHING)
    assert full.sql("SELECT count(*) FROM writing") == [(0,)]
    assert full.sql('SELECT "offset", scored FROM clip.shard') == [(1, 0)]


def test_a_worker_that_dies_right_after_its_commit_has_counted_what_it_wrote(
    full: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, claim = claimed(full)
    dialect_commit = full.engine.dialect.do_commit

    def die_after(connection: psycopg2.extensions.connection) -> None:
        monkeypatch.undo()
        dialect_commit(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(full.engine.dialect, "do_commit", die_after)
    with pytest.raises(KeyboardInterrupt):
        sink.commit(claim, 11, BATCH, NOTHING)
    assert_written_once(full, backoffs=0)


# Runs whose leases ran out.


class StallingSource(PostgresSource):
    """Lets something happen in the middle of planning."""

    meanwhile: Callable[[], None]

    def ranges(self, selection: Selection, size: int, limit: int | None) -> Iterator[PlannedRange]:
        self.meanwhile()
        return super().ranges(selection, size, limit)


def let_leases_run_out(world: World) -> None:
    world.sql("UPDATE clip.shard SET lease_until = now() - interval '1 second'")


def test_a_worker_that_wakes_up_when_another_run_has_planned_its_records_writes_nothing(
    full: World,
) -> None:
    sink, claim = claimed(full)
    let_leases_run_out(full)
    full.plan("b")
    with pytest.raises(ShardLost, match="not the current claim"):
        sink.commit(claim, 11, BATCH, NOTHING)
    assert full.sql("SELECT count(*) FROM writing") == [(0,)]
    assert full.sql(history.VIOLATIONS) == []


def plan_while(world: World, meanwhile: Callable[[], None]) -> None:
    source = StallingSource(world.engine, "records", world.place)
    source.meanwhile = meanwhile
    plan_run(world.request("b"), source=source, runs=world.runs)


def test_a_claim_on_an_abandoned_run_waits_for_the_planning_that_takes_its_records_and_loses(
    full: World, threads: ThreadPoolExecutor
) -> None:
    sink, claim = claimed(full)
    let_leases_run_out(full)
    claiming: list[Future[object]] = []

    def claim_again() -> None:
        claiming.append(threads.submit(sink.claim, claim.shard_id, device="none"))
        until_somebody_waits_for_a_lock(full)

    plan_while(full, claim_again)
    with pytest.raises(ShardLost, match="its records are reserved by run b"):
        claiming[0].result(PATIENCE_S)


def test_a_commit_of_an_abandoned_run_waits_for_the_planning_that_takes_its_records_and_loses(
    full: World, threads: ThreadPoolExecutor
) -> None:
    sink, claim = claimed(full)
    let_leases_run_out(full)
    committing: list[Future[Claim]] = []

    def commit_late() -> None:
        committing.append(threads.submit(sink.commit, claim, 11, BATCH, NOTHING))
        until_somebody_waits_for_a_lock(full)

    plan_while(full, commit_late)
    with pytest.raises(ShardLost):
        committing[0].result(PATIENCE_S)
    assert full.sql("SELECT count(*) FROM writing") == [(0,)]


# Runs that are taken up again after they were closed.


def closed(world: World, run_key: str) -> int:
    """The only shard of a run that was judged before anybody worked on it."""
    (shard,) = world.plan(run_key, shard_size=40).shards
    world.judge(run_key)
    return shard.shard_id


def test_a_claim_on_a_closed_run_voids_those_of_a_run_whose_leases_ran_out(full: World) -> None:
    old = closed(full, "old")
    sink, late = claimed(full, "new")
    let_leases_run_out(full)
    _, current = sink.claim(old, device="none")
    with pytest.raises(ShardLost, match="not the current claim"):
        sink.commit(late, 11, BATCH, NOTHING)
    sink.commit(current, 11, BATCH, NOTHING)
    assert full.sql(history.VIOLATIONS) == []


@pytest.mark.parametrize("other", ["planned", "closed"])
def test_a_closed_run_and_another_that_start_at_the_same_moment_do_not_share_records(
    full: World, database: str, threads: ThreadPoolExecutor, other: str
) -> None:
    old = closed(full, "old")
    before = [closed(full, "other")] if other == "closed" else []
    sink, rival = PostgresSink(full.engine), World(connect_engine(database))
    starting: list[Future[list[Claim]]] = []

    def start() -> list[Claim]:
        shards = before or [each.shard_id for each in rival.plan("other").shards]
        with suppress(ShardLost):
            return [PostgresSink(rival.engine).claim(each, device="none")[1] for each in shards]
        return []

    def start_meanwhile() -> None:
        starting.append(threads.submit(start))
        until(lambda: starting[0].done() or full.sql(LOCK_WAITS) != [(0,)])

    on_first(full.engine, "SET state = 'running', finished_at = NULL", start_meanwhile)
    claims = [sink.claim(old, device="none")[1], *starting[0].result(PATIENCE_S)]
    epochs = dict(full.sql("SELECT id, epoch FROM clip.shard"))  # type: ignore[arg-type]
    assert sum(epochs[claim.shard_id] == claim.checkpoint.epoch for claim in claims) == 1


def test_what_is_left_of_a_closed_run_does_not_keep_a_live_run_from_its_shards(
    full: World,
) -> None:
    old, _ = full.plan("old").shards
    full.judge("old")
    first, second = full.plan("new").shards
    full.score(first.shard_id)
    full.score(old.shard_id)
    full.score(second.shard_id)
    assert full.judge("new").failures == ()


# Sessions that stop inside a transaction.


def shortened(limit: str, by: str) -> object:
    """The limits of every transaction, one of them shorter."""
    statement = str(limits._LIMITS)
    assert f"'{limit}'" in statement
    return text(statement.replace(f"'{limit}'", f"'{by}'"))


def test_a_worker_that_stops_inside_its_transaction_is_ended_and_its_shard_can_be_claimed(
    full: World, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, claim = claimed(full)
    monkeypatch.setattr(limits, "_LIMITS", shortened("15s", "300ms"))
    twin = PostgresSink(connect_engine(database))
    taken: list[Claim] = []
    on_first(
        full.engine,
        "INSERT INTO clip.score",
        lambda: taken.append(twin.claim(claim.shard_id, device="none")[1]),
    )
    with pytest.raises(DatabaseUnreachable):
        sink.commit(claim, 11, BATCH, NOTHING)
    assert full.sql("SELECT count(*) FROM writing") == [(0,)]
    twin.commit(taken[0], 11, BATCH, NOTHING)
    assert_written_once(full, backoffs=0)


def test_whoever_claims_waits_longer_than_the_server_lets_a_session_idle(world: World) -> None:
    limit = "(SELECT setting::int FROM pg_settings WHERE name = '{}')"
    lock, idle = map(limit.format, ("lock_timeout", "idle_in_transaction_session_timeout"))
    assert world.sql(f"SELECT {lock} > {idle}, {idle} > 0") == [(True, True)]


def test_a_statement_that_takes_too_long_is_ended(engine: Engine) -> None:
    with (
        pytest.raises(DatabaseBusy, match="statement timeout"),
        transaction(engine, statement_timeout="50ms") as connection,
    ):
        connection.exec_driver_sql("SELECT pg_sleep(60)")
