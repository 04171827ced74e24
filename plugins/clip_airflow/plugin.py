"""The Airflow plugin: our pages in its UI and the links that lead there."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/clip"
"""Where the API server mounts the pages."""


class LazyPages:
    """An ASGI app that is built at its first request: every component of Airflow loads plugins."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        if self._app is None:
            from clip_airflow.web.app import create_app  # noqa: PLC0415

            self._app = create_app()
        await self._app(scope, receive, send)


class ClipScoringPlugin(AirflowPlugin):
    """Pages about runs, and tabs that show them beside the DAG run and the task."""

    name = "clip_scoring"
    fastapi_apps = [{"name": "clip_scoring", "app": LazyPages(), "url_prefix": PREFIX}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "CLIP runs",
            "href": f"{PREFIX}/runs",
            "destination": "nav",
            "category": "browse",
            "url_route": "clip-runs",
        },
        {
            "name": "CLIP run",
            "href": PREFIX + "/runs/by-key?run_key={DAG_ID}/{RUN_ID}",
            "destination": "dag_run",
            "url_route": "clip-run",
        },
        {
            "name": "CLIP shard",
            "href": PREFIX + "/runs/by-key?run_key={DAG_ID}/{RUN_ID}&shard={MAP_INDEX}",
            "destination": "task_instance",
            "url_route": "clip-shard",
        },
    ]
