"""A PostgreSQL of the benchmark's own, and worlds to measure in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text

from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine, transaction
from stack.postgres import PostgresServer, remove_server
from tests.support.world import World

REPOSITORY = Path(__file__).parents[1]
URL = "CLIP_SCORING_DATABASE_URL"


@contextmanager
def fresh_world(*, durable: bool) -> Iterator[World]:
    """A world in a server that was made for it; `durable` waits for the disk as in production."""
    folder = Path(tempfile.mkdtemp(prefix="clip-benchmark-"))
    try:
        with PostgresServer.start(folder, tied_to_owner=True, durable=durable) as server:
            server.create_database("clip")
            engine = connect_engine(server.url("clip"), kept=2)  # as a worker has it
            schema.upgrade(engine)
            yield World(engine)
    finally:
        remove_server(folder)


def version_of(world: World) -> str:
    """The server's version and whether its commits wait for the disk."""
    version, fsync = world.sql(
        "SELECT current_setting('server_version'), current_setting('fsync')"
    )[0]
    return f"{version}, fsync {fsync}"


def slow_sql(world: World, *statements: str, **values: object) -> None:
    """Run statements that may take minutes, in one transaction."""
    with transaction(world.engine, statement_timeout="0") as connection:
        for each in statements:
            connection.execute(text(each), values)


def vacuum(world: World) -> None:
    """Bring statistics and visibility up to date, so that no autovacuum falls into a figure."""
    with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")


def in_process(
    module: str, world: World, *arguments: str, environment: Mapping[str, str] = os.environ
) -> Any:
    """What `python -m module` prints as JSON, in a process of its own over the same database."""
    url = world.engine.url.render_as_string(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        env={**environment, URL: url},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def world_of_process() -> World:
    """The world that `in_process` names."""
    return World(connect_engine(os.environ[URL], kept=2))
