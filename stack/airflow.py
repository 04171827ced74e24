"""Airflow's environment and its components: the API server, the scheduler, the DAG processor."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stack.home import write_private
from stack.layout import REPOSITORY, State
from stack.postgres import HOST, Login
from stack.processes import Command

ADMIN = "admin"
METADATA = "airflow"
OURS = "clip"
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server", "--workers", "1"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}
FOREIGN = ("AIRFLOW", "CLIP_SCORING_", "PYTHON", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
GRACE_S = 8.0


@dataclass(frozen=True)
class Site:
    """One Airflow: whose state, which database server, which port, with or without a schedule."""

    state: State
    login: Login
    port: int
    scheduled: bool
    repository: Path = REPOSITORY
    reader: Login | None = None
    """With which the pages read, once there is one."""

    @property
    def url(self) -> str:
        """The address of the web page and of the API."""
        return f"http://{HOST}:{self.port}"

    @property
    def database_url(self) -> str:
        """The address of our own database, for libpq."""
        return self.login.url(OURS)

    def moved(self, port: int) -> Site:
        """The same Airflow on another port."""
        return replace(self, port=port)

    def environment(self) -> dict[str, str]:
        """Everything a process of this stack needs; nothing of another Airflow comes through."""
        inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith(FOREIGN)}
        return {
            **inherited,
            **self._product(),
            **{f"AIRFLOW__{name}": value for name, value in self._airflow().items()},
            **{f"AIRFLOW__{name}": value for name, value in self._secrets().items()},
        }

    def _product(self) -> dict[str, str]:
        """What the library and its binding read."""
        return {
            "AIRFLOW_HOME": str(self.state.airflow),
            **self._connections(),
            "CLIP_SCORING_DATABASE_URL": self.database_url,
            "CLIP_SCORING_SOURCES": str(self.state.sources),
            "PYTHONPATH": str(self.repository),
            "PYTHONUNBUFFERED": "1",
            "NO_PROXY": "*",
            "HF_HUB_OFFLINE": "1",
        }

    def _connections(self) -> dict[str, str]:
        """Airflow connections to our database, each with its own login."""
        logins = {"CLIP_SCORING_DB": self.login, "CLIP_SCORING_READER": self.reader}
        return {
            f"AIRFLOW_CONN_{name}": json.dumps(connection(login))
            for name, login in logins.items()
            if login is not None
        }

    def _airflow(self) -> dict[str, str]:
        """Airflow's settings: small, local, quick to see a change, silent towards the network."""
        return {
            "CORE__DAGS_FOLDER": str(self.repository / "dags"),
            "CORE__PLUGINS_FOLDER": str(self.repository / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": "4",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.state.airflow / "passwords.json"),
            "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
            "API__HOST": HOST,
            "API__PORT": str(self.port),
            "API__BASE_URL": self.url,
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "LOGGING__BASE_LOG_FOLDER": str(self.state.logs / "tasks"),
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "90",
            "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",  # a killed stack leaves some behind
            "SCHEDULER__USE_JOB_SCHEDULE": str(self.scheduled),
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }

    def _secrets(self) -> dict[str, str]:
        """What nobody else may read."""
        keys = self.state.keys()
        return {
            "DATABASE__SQL_ALCHEMY_CONN": self.login.url(METADATA, "psycopg2"),
            "API_AUTH__JWT_SECRET": keys.jwt,
            "CORE__FERNET_KEY": keys.fernet,
            "API__SECRET_KEY": keys.session,
        }

    def command(self, name: str, *arguments: str, log: str = "") -> Command:
        """`python -m ARGUMENTS` in this environment, with its own log."""
        return Command(
            name=name,
            argv=(sys.executable, "-m", *arguments),
            log=self.state.logs / f"{log or name}.log",
            folder=self.repository,
            env=self.environment(),
            grace_s=GRACE_S,
        )

    def component(self, name: str) -> Command:
        """One of COMPONENTS."""
        return self.command(name, "airflow", *COMPONENTS[name])


def connection(login: Login) -> dict[str, str | int]:
    """An Airflow connection to our database."""
    return {
        "conn_type": "postgres",
        "host": HOST,
        "port": login.port,
        "login": login.user,
        "password": login.password,
        "schema": OURS,
    }


def write_login(state: State) -> None:
    """Fix the administrator's password before Airflow makes one up and logs it."""
    state.airflow.mkdir(parents=True, exist_ok=True)
    admins = {ADMIN: state.keys().admin_password}
    write_private(state.airflow / "passwords.json", json.dumps(admins))
