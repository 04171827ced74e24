"""Airflow in this process; the whole stack is a fixture of all tests."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Migrate the metadata database of this session's AIRFLOW_HOME."""
    subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True
    )
