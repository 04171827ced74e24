"""Airflow for the tests of this folder: in this process, or as a whole stack that they share."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.dags.night import Night, running_night


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Migrate the metadata database of this session's AIRFLOW_HOME."""
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True
    )


@pytest.fixture(scope="session")
def one_night() -> Iterator[Night]:
    """PostgreSQL, API server, scheduler and DAG processor, started once for all modules."""
    with running_night() as night:
        yield night


@pytest.fixture(scope="module")
def night(one_night: Night) -> Iterator[Night]:
    """The running stack with the sample records, none of them scored."""
    one_night.clear()
    yield one_night
    one_night.clear()
