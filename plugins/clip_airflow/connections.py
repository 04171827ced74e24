"""Airflow connections to the library's settings."""

from __future__ import annotations

from airflow.sdk import BaseHook

from clip_scoring.registrations import CONNECTION
from clip_scoring.settings import S3Access, Settings


def worker_settings() -> Settings:
    """Settings of this worker, with the database of connection `clip_scoring_db`."""
    return Settings.from_environment(
        database_url=BaseHook.get_connection(CONNECTION).get_uri(), s3_access=_s3_access
    )


def _s3_access(connection: str) -> S3Access:
    """An AWS connection; `endpoint_url` and `region_name` stand in its extra field."""
    found = BaseHook.get_connection(connection)
    extra = found.extra_dejson
    return S3Access(
        endpoint_url=extra.get("endpoint_url"),
        region=extra.get("region_name"),
        access_key=found.login or None,
        secret_key=found.password or None,
    )
