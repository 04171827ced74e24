"""A real PostgreSQL for every test that asks, with a fresh database each."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine

from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine
from clip_scoring.settings.environment import S3Access
from stack.postgres import PostgresServer
from tests.support import groups
from tests.support.databases import TEMPLATE, Databases
from tests.support.world import World

if TYPE_CHECKING:
    from tests.support.night import Night

_AIRFLOW_HOME = tempfile.mkdtemp(prefix="clip-airflow-")
atexit.register(shutil.rmtree, _AIRFLOW_HOME, ignore_errors=True)
_REPOSITORY = Path(__file__).parents[1]
for _name in [each for each in os.environ if each.startswith(("AIRFLOW_", "CLIP_SCORING_"))]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=_AIRFLOW_HOME,
    AIRFLOW__CORE__DAGS_FOLDER=str(_REPOSITORY / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(_REPOSITORY / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_AIRFLOW_HOME}/airflow.db",
    HF_HUB_OFFLINE="1",
)
# How long an example takes on a busy machine says nothing about the product.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
_numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--quick`: what `make quick` runs."""
    parser.addoption("--quick", action="store_true", help="only tests without any server")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> groups.GroupScheduling:
    """What is started once runs on one worker; see `tests/support/groups.py`."""
    return groups.GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With workers, the groups that need longest start first."""
    if wrong := groups.outside_their_group(items):
        raise pytest.UsageError(f"to be named in groups.ON_AIRFLOW: {', '.join(wrong)}")
    if hasattr(config, "workerinput"):
        groups.longest_first(items)
    if config.getoption("quick"):
        kept, left = groups.split_quick(items)
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """Commands that run in this process set levels for one of their own; the next test has none."""
    yield
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("clip_scoring") and isinstance(logger, logging.Logger):
            logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the session, with a template database that has the schema."""
    with PostgresServer.temporary() as running:
        running.create_database(TEMPLATE)
        engine = connect_engine(running.url(TEMPLATE))
        schema.upgrade(engine)
        engine.dispose()
        yield running


@pytest.fixture(scope="session")
def s3_access() -> Iterator[S3Access]:
    """Access to an S3 server that lives as long as the session."""
    from tests.support.s3 import access_to, s3_server  # seconds to import

    with s3_server() as (host, port):
        yield access_to(f"http://{host}:{port}")


@pytest.fixture(scope="session")
def s3_client(s3_access: S3Access) -> Iterator[Any]:
    """A client of that server."""
    from clip_scoring.sources.s3 import connect_s3

    client = connect_s3(s3_access)
    yield client
    client.close()


@pytest.fixture(scope="session")
def one_night() -> Iterator[Night]:
    """PostgreSQL, API server, scheduler and DAG processor, started once for all modules."""
    from tests.support.night import running_night

    with running_night() as night:
        yield night


@pytest.fixture(scope="module")
def night(one_night: Night) -> Iterator[Night]:
    """The running stack with the sample records, none of them scored."""
    one_night.clear()
    yield one_night
    one_night.clear()


@pytest.fixture
def empty_database(server: PostgresServer) -> str:
    """The URL of a database without schema clip."""
    name = f"empty_{next(_numbers)}"
    server.create_database(name)
    return server.url(name)


@pytest.fixture(scope="session")
def databases(server: PostgresServer) -> Databases:
    """Copies of the template database."""
    return Databases(server)


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """The URL of a database with schema clip and no rows."""
    with databases.one() as url:
        yield url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """Connected once: a new connection costs as much as most transactions of a test."""
    engine = connect_engine(database, kept=8)
    yield engine
    engine.dispose()


@pytest.fixture
def world(engine: Engine) -> World:
    """Records, planning and scoring with fake images and similarities over a real database."""
    return World(engine)


@pytest.fixture
def sources_file(tmp_path: Path) -> Callable[[Path], Path]:
    """Writes a registration of source `records` whose images lie below the given folder."""

    def write(root: Path) -> Path:
        path = tmp_path / "sources.yaml"
        path.write_text(f"sources:\n  records:\n    kind: postgres\n    image_roots: ['{root}']\n")
        return path

    return write
