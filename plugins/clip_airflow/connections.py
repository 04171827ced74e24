"""Airflow connections to the library's settings."""

from __future__ import annotations

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from clip_scoring.errors import SettingsInvalid
from clip_scoring.settings.environment import S3Access, Settings
from clip_scoring.settings.registrations import CONNECTION

READER = "clip_scoring_reader"
"""A login that is a member of clip_reader and of nothing else: the pages read with its rights."""


def worker_settings() -> Settings:
    """Settings of this worker, with the database of connection `clip_scoring_db`."""
    return _settings(BaseHook.get_connection(CONNECTION).get_uri())


def reader_settings() -> Settings:
    """Settings of the pages, with the rights of connection `clip_scoring_reader`.

    Raises SettingsInvalid that says what to set up where there is no such connection.
    """
    try:
        url = BaseHook.get_connection(READER).get_uri()
    except AirflowNotFoundException as missing:
        raise SettingsInvalid(
            f"add connection {READER}: a login of the database that is a member of clip_reader"
        ) from missing
    return _settings(url)


def _settings(database_url: str) -> Settings:
    return Settings.from_environment(database_url=database_url, s3_access=_s3_access)


def _s3_access(connection: str) -> S3Access:
    """An AWS connection; `endpoint_url` and `region_name` stand in its extra field."""
    stored = BaseHook.get_connection(connection)
    extra = stored.extra_dejson
    return S3Access(
        endpoint_url=extra.get("endpoint_url"),
        region=extra.get("region_name"),
        access_key=stored.login or None,
        secret_key=stored.password or None,
    )
