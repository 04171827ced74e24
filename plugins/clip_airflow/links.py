"""The way from a task, or from a message, to our pages in the Airflow UI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


def run_page(run_key: str) -> str:
    """The page of a run, absolute where `[api] base_url` is set."""
    return _page({"run_key": run_key})


def shard_page(run_key: str, number: int) -> str:
    """The page of one shard of a run."""
    return _page({"run_key": run_key, "shard": str(number)})


def _page(query: Mapping[str, str]) -> str:
    base = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return f"{base}/clip/runs/by-key?{urlencode(query)}"


class RunLink(BaseOperatorLink):
    """From a task to its run; Airflow shows it once the task has ended."""

    name = "Run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The run that this DAG run planned."""
        del operator
        return run_page(f"{ti_key.dag_id}/{ti_key.run_id}")


class ShardLink(BaseOperatorLink):
    """From a scoring task to its shard; Airflow shows it once the task has ended."""

    name = "Shard"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The shard of the same number as the mapped task."""
        del operator
        return shard_page(f"{ti_key.dag_id}/{ti_key.run_id}", ti_key.map_index)
