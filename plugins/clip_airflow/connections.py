"""Airflow connections to the library's settings."""

from __future__ import annotations

from airflow.sdk import BaseHook

from clip_scoring.settings import CONNECTION, Settings


def worker_settings() -> Settings:
    """Settings of this worker, with the database of connection `clip_scoring_db`."""
    return Settings.from_environment(database_url=BaseHook.get_connection(CONNECTION).get_uri())
