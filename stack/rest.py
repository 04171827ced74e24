"""Airflow's REST API, as far as the stack needs it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from stack.processes import StackError

TIMEOUT_S = 30.0
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Refused(StackError):
    """The API answered with an error; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(StackError):
    """Nobody answered."""


@dataclass(frozen=True)
class Api:
    """One Airflow's API, with the token of a login."""

    url: str
    token: str = ""

    def get(self, path: str) -> dict[str, Any]:
        """Read one resource."""
        return self.call("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create one resource."""
        return self.call("POST", path, body)

    def patch(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change one resource."""
        return self.call("PATCH", path, body)

    def delete(self, path: str) -> None:
        """Remove one resource."""
        self.call("DELETE", path)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request; Refused with what the API said, or Unreachable."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, method=method)  # noqa: S310
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with OPENER.open(request, timeout=TIMEOUT_S) as answer:
                return dict(json.loads(answer.read() or "null") or {})
        except urllib.error.HTTPError as error:
            words = error.read(2000).decode(errors="replace")
            raise Refused(error.code, f"{method} {path}: {error.code} {words}") from error
        except (OSError, ValueError) as error:
            raise Unreachable(f"{method} {path}: {error}") from error


def log_in(url: str, user: str, password: str) -> Api:
    """The API as this user."""
    answer = Api(url).post("/auth/token", {"username": user, "password": password})
    return Api(url, str(answer["access_token"]))


def healthy(api: Api) -> bool:
    """Whether database, scheduler and DAG processor all report health."""
    try:
        report = api.get("/api/v2/monitor/health")
    except (Refused, Unreachable):
        return False
    parts = ("metadatabase", "scheduler", "dag_processor")
    return all(report[part]["status"] == "healthy" for part in parts)


def ensure_pool(api: Api, name: str, slots: int) -> None:
    """Make sure that a pool of this name exists; one that exists is left as it is."""
    try:
        api.post("/api/v2/pools", {"name": name, "slots": slots, "include_deferred": False})
    except Refused as refusal:
        if refusal.status != 409:
            raise


def dag_known(api: Api, dag: str) -> bool:
    """Whether the DAG is there; StackError with the reason when a DAG file does not load."""
    try:
        api.get(f"/api/v2/dags/{dag}")
    except Refused as refusal:
        if refusal.status != 404:
            raise
        raise_import_errors(api)
        return False
    return True


def raise_import_errors(api: Api) -> None:
    """StackError with the last line of the first import error, if there is one."""
    for problem in api.get("/api/v2/importErrors")["import_errors"]:
        reason = problem["stack_trace"].strip().splitlines()[-1]
        raise StackError(f"{problem['filename']} does not load: {reason}")


def unpause(api: Api, dag: str) -> None:
    """Let the DAG's runs start."""
    api.patch(f"/api/v2/dags/{dag}", {"is_paused": False})


def trigger(api: Api, dag: str, partition: str) -> str:
    """The id of a new manual run for one partition."""
    body = {"logical_date": None, "partition_key": partition}
    return str(api.post(f"/api/v2/dags/{dag}/dagRuns", body)["dag_run_id"])


def unfinished(api: Api, dag: str) -> str | None:
    """The id of the oldest run that an interrupted stack left behind, if any."""
    path = f"/api/v2/dags/{dag}/dagRuns?state=queued&state=running&order_by=id&limit=1"
    runs = api.get(path)["dag_runs"]
    return str(runs[0]["dag_run_id"]) if runs else None
