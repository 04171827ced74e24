"""What members of the group roles may do, and what PostgreSQL refuses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import psycopg2
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine, sqlstate, transaction
from clip_scoring.database.roles import grant_roles
from clip_scoring.errors import NotPermitted, SchemaMismatch, SettingsInvalid
from stack.postgres import PostgresServer
from tests.support.world import World

GROUPS = ("clip_owner", "clip_worker", "clip_reader")
TABLES = ("record", "fingerprint", "run", "shard", "score", "rejection", "object", "schema_version")
PASSWORD = "only for this test"
_numbers = count(1)

DDL = (
    "CREATE TABLE clip.mine (x int)",
    "CREATE TABLE public.mine (x int)",
    "CREATE SCHEMA mine",
    "DROP TABLE clip.rejection",
    "DROP SCHEMA clip CASCADE",
    "ALTER TABLE clip.score ADD COLUMN mine int",
    "ALTER TABLE clip.score DISABLE TRIGGER ALL",
    "CREATE INDEX ON clip.score (similarity)",
    "CREATE OR REPLACE VIEW clip.similarity AS SELECT 1",
    "CREATE ROLE mine",
    "GRANT clip_owner TO CURRENT_USER",
    "SET ROLE clip_owner",
    *(f"TRUNCATE clip.{table} CASCADE" for table in TABLES),
)
CHANGES = {
    "record": "UPDATE clip.record SET caption = 'x'",
    "fingerprint": "UPDATE clip.fingerprint SET parts = '{}'",
    "run": "UPDATE clip.run SET planned = 1",
    "shard": "UPDATE clip.shard SET epoch = 1",
    "score": "UPDATE clip.score SET similarity = 1",
    "rejection": "UPDATE clip.rejection SET attempts = 1",
    "object": "UPDATE clip.object SET retired_at = now()",
    "schema_version": "UPDATE clip.schema_version SET version_num = '9999'",
}
ADDITIONS = {
    "record": "INSERT INTO clip.record (caption) VALUES ('x')",
    "run": "INSERT INTO clip.run (run_key) VALUES ('x')",  # some of its columns are generated
    "schema_version": "INSERT INTO clip.schema_version VALUES ('9999')",
    **{
        table: f"INSERT INTO clip.{table} OVERRIDING SYSTEM VALUE SELECT * FROM clip.{table}"
        for table in ("fingerprint", "shard", "score", "rejection", "object")
    },
}
WORKER_DENIED = (
    *DDL,
    *(f"DELETE FROM clip.{table}" for table in TABLES if table not in {"score", "rejection"}),
    *(CHANGES[table] for table in ("record", "fingerprint", "schema_version")),
    *(ADDITIONS[table] for table in ("record", "schema_version")),
)
READER_DENIED = (
    *DDL,
    *(f"DELETE FROM clip.{table}" for table in TABLES),
    *CHANGES.values(),
    *ADDITIONS.values(),
    "SELECT FROM clip.shard FOR UPDATE",
)


@pytest.fixture
def login(server: PostgresServer, engine: Engine) -> Iterator[Callable[..., Engine]]:
    """Makes a login of its own, member of the given group, into the test's database."""
    made: list[str] = []

    def make(group: str = "", options: str = "") -> Engine:
        name = f"login_{next(_numbers)}"
        administer(server, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {options}")
        made.append(name)
        if group:
            administer(server, f"GRANT {group} TO {name}")
        return connect_engine(
            engine.url.set(username=name, password=PASSWORD).render_as_string(hide_password=False)
        )

    yield make
    database = str(engine.url.database)
    for name in made:
        administer(server, f"REASSIGN OWNED BY {name} TO CURRENT_USER", database=database)
        administer(server, f"DROP OWNED BY {name}", database=database)
        administer(server, f"ALTER DATABASE {database} OWNER TO CURRENT_USER")
        administer(server, f"DROP ROLE {name}")


def administer(server: PostgresServer, statement: str, database: str = "postgres") -> None:
    connection = psycopg2.connect(server.url(database))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def refusal(engine: Engine, statement: str) -> str | None:
    """The SQLSTATE with which the server refuses the statement."""
    with pytest.raises(NotPermitted) as refused, transaction(engine) as connection:
        connection.execute(text(statement))
    assert isinstance(refused.value.__cause__, DBAPIError)
    return sqlstate(refused.value.__cause__)


@pytest.fixture
def granted(engine: Engine) -> None:
    grant_roles(engine)


@pytest.mark.usefixtures("granted")
def test_a_worker_is_refused_everything_but_its_work(login: Callable[..., Engine]) -> None:
    worker = login("clip_worker")
    assert {each: refusal(worker, each) for each in WORKER_DENIED} == dict.fromkeys(
        WORKER_DENIED, "42501"
    )


@pytest.mark.usefixtures("granted")
def test_a_reader_is_refused_everything_but_reading(login: Callable[..., Engine]) -> None:
    reader = login("clip_reader")
    assert {each: refusal(reader, each) for each in READER_DENIED} == dict.fromkeys(
        READER_DENIED, "42501"
    )


@pytest.mark.usefixtures("granted")
def test_a_login_that_is_member_of_nothing_reads_nothing(login: Callable[..., Engine]) -> None:
    stranger = login()
    for table in (*TABLES, "similarity"):
        assert refusal(stranger, f"SELECT FROM clip.{table}") == "42501"


def add_good_and_bad(world: World) -> None:
    world.add_many(25)
    world.add({26: ("http_404_410", "c"), 27: ("timeout", "c"), 28: ("image", "")})


@pytest.mark.usefixtures("granted")
def test_a_whole_run_works_as_a_worker(world: World, login: Callable[..., Engine]) -> None:
    add_good_and_bad(world)
    worker = World(login("clip_worker"))
    schema.require_current(worker.engine)
    summary = worker.run("a")
    assert (summary.scored, summary.rejected, summary.failures) == (25, 3, ())
    world.sql("UPDATE clip.record SET image_uri = 'image', caption = 'c' WHERE key > 25")
    world.sql("UPDATE clip.record SET image_uri = 'image_undecodable' WHERE key = 1")
    assert worker.run("b").failures == ()
    assert world.sql("SELECT record_key FROM clip.rejection") == [("1",)]
    world.check_invariants()


@pytest.mark.usefixtures("granted")
def test_a_worker_takes_over_from_the_dead_and_shares_a_run(
    world: World, login: Callable[..., Engine]
) -> None:
    world.add_many(40)
    worker = World(login("clip_worker"))
    worker.plan("dead")
    worker.sql("UPDATE clip.shard SET lease_until = now() - interval '1 second'")
    shared = worker.runs.get(worker.request("dead").run_key)
    worker.runs.dismiss(shared, worker.runs.workers(shared))
    assert worker.plan("next").planned == 40
    assert worker.sql("SELECT state FROM clip.run ORDER BY id") == [("abandoned",), ("running",)]


@pytest.mark.usefixtures("granted")
def test_a_reader_reads_every_table_and_the_view(
    world: World, login: Callable[..., Engine]
) -> None:
    add_good_and_bad(world)
    world.run("a")
    reader = World(login("clip_reader"))
    schema.require_current(reader.engine)
    assert reader.sql("SELECT count(*), count(clip_score) FROM clip.similarity") == [(28, 25)]
    for table in TABLES:
        reader.sql(f"SELECT * FROM clip.{table}")


@pytest.mark.usefixtures("granted")
def test_a_member_of_the_owner_migrates_and_grants_again(login: Callable[..., Engine]) -> None:
    owner, worker = login("clip_owner"), login("clip_worker")
    downgrade(owner, "0001")
    with pytest.raises(SchemaMismatch):
        grant_roles(owner)
    schema.upgrade(owner)
    schema.require_current(owner)
    assert refusal(worker, "SELECT FROM clip.object") == "42501"
    grant_roles(owner)
    World(worker).sql("SELECT FROM clip.object")
    assert owners(owner) == {"clip_owner"}


def downgrade(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(schema.__file__).with_name("migrations")).replace("%", "%%")
    )
    with transaction(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def owners(engine: Engine) -> set[object]:
    """Who owns schema clip and the tables, views and indexes in it."""
    found = World(engine).sql(
        "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'clip'::regnamespace "
        "UNION SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'clip'"
    )
    return {name for (name,) in found}


def test_the_owner_of_a_database_who_may_create_roles_grants_them_without_a_superuser(
    server: PostgresServer, engine: Engine, login: Callable[..., Engine]
) -> None:
    # Roles that somebody else created are not this login's to hand out, so they go first.
    drop_groups(server)
    creator = login(options="CREATEROLE")
    name, database = str(creator.url.username), str(engine.url.database)
    administer(server, f"ALTER DATABASE {database} OWNER TO {name}")
    World(engine).sql("DROP SCHEMA clip CASCADE")
    schema.upgrade(creator)
    for _ in range(2):
        grant_roles(creator)
    assert owners(engine) == {"clip_owner"}
    schema.upgrade(creator)
    worker, owner = login("clip_worker"), login("clip_owner")
    World(creator).add_many(5)
    assert World(worker).run("a").scored == 5
    schema.upgrade(owner)
    grant_roles(owner)
    assert refusal(worker, "TRUNCATE clip.score") == "42501"


def drop_groups(server: PostgresServer) -> None:
    """Remove the group roles from the cluster; what they own goes to the superuser."""
    for group in GROUPS:
        connection = psycopg2.connect(server.url())
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(datname, 'postgres') FROM pg_roles AS role "
                "LEFT JOIN pg_shdepend "
                "ON refclassid = 'pg_authid'::regclass AND refobjid = role.oid "
                "LEFT JOIN pg_database AS base ON base.oid = dbid "
                "WHERE rolname = %s GROUP BY 1",
                [group],
            )
            databases = [name for (name,) in cursor]
        connection.close()
        for database in databases:
            administer(server, f"REASSIGN OWNED BY {group} TO CURRENT_USER", database=database)
            administer(server, f"DROP OWNED BY {group}", database=database)
        administer(server, f"DROP ROLE IF EXISTS {group}")


def test_granting_in_two_databases_at_once_from_nothing_and_twice_in_each(
    server: PostgresServer, engine: Engine, empty_database: str
) -> None:
    other = connect_engine(empty_database)
    schema.upgrade(other)
    for _ in range(3):
        drop_groups(server)
        with ThreadPoolExecutor(4) as all_at_once:
            list(all_at_once.map(grant_roles, [engine, other, engine, other]))
        assert owners(engine) == owners(other) == {"clip_owner"}


@pytest.mark.usefixtures("granted")
def test_granting_again_takes_away_what_somebody_granted_besides(
    world: World, login: Callable[..., Engine]
) -> None:
    world.sql("GRANT ALL ON clip.record, clip.schema_version TO clip_worker, clip_reader, PUBLIC")
    world.sql("GRANT ALL ON SCHEMA clip TO clip_worker, PUBLIC")
    grant_roles(world.engine)
    worker, reader = login("clip_worker"), login("clip_reader")
    assert refusal(worker, CHANGES["record"]) == refusal(reader, CHANGES["record"]) == "42501"
    assert refusal(worker, "CREATE TABLE clip.mine (x int)") == "42501"


@pytest.mark.usefixtures("granted")
def test_granting_again_waits_for_no_worker(world: World) -> None:
    with transaction(world.engine) as busy:
        busy.execute(text("LOCK TABLE clip.score, clip.shard IN ROW EXCLUSIVE MODE"))
        grant_roles(world.engine)


@pytest.mark.usefixtures("granted")
@pytest.mark.parametrize("group", ["clip_worker", "clip_reader", ""])
def test_others_who_grant_are_refused_in_one_line(login: Callable[..., Engine], group: str) -> None:
    nobody = login(group)
    with pytest.raises(
        SettingsInvalid,
        match=rf"login {nobody.url.username}: permission denied .* To grant roles, use",
    ):
        grant_roles(nobody)
