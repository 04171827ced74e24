"""Airflow's own database for the tests that run DAGs in this process."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Migrate the metadata database of this session's AIRFLOW_HOME."""
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True
    )
