"""The commands of docker-compose.yaml run, are healthy, and take a run through both queues."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from stack.postgres import HOST, PostgresServer
from stack.processes import finish, poll, start
from stack.rest import dag_known, log_in, trigger, unpause
from tests.deployment.compose_file import IMAGES, make_secrets, variables_of
from tests.deployment.compose_machine import LIMIT_S, Machine, Started, machine, make_owner

STARTED = ("redis", "api-server", "scheduler", "dag-processor", "worker-cpu")


@pytest.fixture(scope="module")
def prepared() -> Iterator[Machine]:
    """PostgreSQL as its image leaves it, then the command of `prepare`, twice."""
    with (
        tempfile.TemporaryDirectory(prefix="clip-compose-") as name,
        # Its own: `prepare` makes roles, which all databases of a server share.
        PostgresServer.temporary() as server,
        socket.socket(type=socket.SOCK_DGRAM) as metrics,
    ):
        metrics.bind((HOST, 0))
        metrics.settimeout(1.0)
        folder = Path(name)
        for each in ("airflow", "pictures"):
            (folder / each).mkdir()
        make_secrets(folder / ".env")
        variables = {**variables_of(folder / ".env"), IMAGES: str(folder / "pictures")}
        variables |= {"CLIP_CPU_TASKS": "2", "CLIP_POOL_SLOTS": "3", "CLIP_STATSD_ON": "True"}
        make_owner(server, variables["CLIP_POSTGRES_PASSWORD"])
        here = machine(server, variables, folder, metrics)
        finish(start(here.command("prepare")), limit_s=LIMIT_S)
        yield here


def reasons_after_a_run(here: Machine) -> list[Any]:
    """What the pages are told after a run over one record, whose address no rule allows."""
    password = here.environment("prepare")["CLIP_ADMIN_PASSWORD"]
    api = log_in(f"http://{here.moved['api-server:8080']}", "admin", password)
    assert api.get("/api/v2/pools/gpu")["slots"] == 3
    assert poll(lambda: dag_known(api, "clip_scoring"), limit_s=LIMIT_S, every_s=1.0)
    ask(
        here.environment("prepare")["CLIP_SCORING_DATABASE_URL"],
        "INSERT INTO clip.record (key, image_uri, caption) VALUES (1, 'ftp://host/a', 'a ring') "
        "RETURNING key",
    )
    unpause(api, "clip_scoring")
    run = trigger(api, "clip_scoring", datetime.now(UTC).date().isoformat())
    path = f"/api/v2/dags/clip_scoring/dagRuns/{run}"
    ended = {"success", "failed"}
    assert poll(lambda: api.get(path)["state"] in ended, limit_s=LIMIT_S, every_s=1.0)
    assert api.get(path)["state"] == "success"
    pages = here.environment("api-server")["AIRFLOW_CONN_CLIP_SCORING_READER"]
    return ask(pages, "SELECT reason FROM clip.rejection")


def ask(address: str, question: str) -> list[Any]:
    with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        answer = cursor.fetchall()
        connection.commit()
        return answer


def test_a_health_check_fails_where_nothing_runs(prepared: Machine) -> None:
    checks = {
        name: prepared.check(name) for name in ("redis", "api-server", "scheduler", "dag-processor")
    }
    assert [name for name, check in checks.items() if check.wait() == 0] == []


# Above 60 s: every service of the Compose file starts as its image starts it.
def test_every_command_runs_until_it_is_healthy_and_a_run_passes_through_both_queues(
    prepared: Machine,
) -> None:
    with Started(prepared) as services:
        assert prepared.check("postgres").wait() == 0
        services.start(*STARTED)
        absent = prepared.check("worker-gpu")
        assert reasons_after_a_run(prepared) == [("uri_forbidden",)]
        assert absent.wait() != 0
        services.start("worker-gpu")
        assert all(part.alive() for part in services.parts)
        assert prepared.metrics.recv(65536).startswith(b"airflow.")


def test_preparing_again_changes_nothing(prepared: Machine) -> None:
    passwords = prepared.folder / "airflow" / "passwords.json"
    before = passwords.read_text()
    finish(start(prepared.command("prepare")), limit_s=LIMIT_S)
    assert passwords.read_text() == before
    assert passwords.stat().st_mode & 0o777 == 0o600
