"""A PostgreSQL that can be stopped the hard way and comes back on the same port."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psycopg2

from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine
from stack.postgres import PostgresServer, remove_server
from stack.processes import poll
from tests.support.ports import port_to_keep

STOP_LIMIT_S = 60.0
TEMPLATE = "template_faults"


class RestartableServer:
    """One server in a folder of its own, safe against everything but a power cut.

    What a process has written survives its death in the kernel's cache, so nothing needs fsync
    here. `synchronous_commit` has to be on, though: without it the server answers COMMIT before
    it has written its log, and an immediate stop loses what was acknowledged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = self._start(port_to_keep())

    @classmethod
    @contextmanager
    def temporary(cls) -> Iterator[Self]:
        """A server with a template database that has the schema; all of it gone at the end."""
        folder = Path(tempfile.mkdtemp(prefix="clip-faults-"))
        try:
            server = cls(folder)
            try:
                server._cheapen_logins()
                server._server.create_database(TEMPLATE)
                engine = connect_engine(server.url(TEMPLATE))
                schema.upgrade(engine)
                yield server
            finally:
                server._server.stop()
        finally:
            remove_server(folder)

    def url(self, database: str = "postgres") -> str:
        return self._server.url(database)

    def create_database(self, name: str, *, synchronous_commit: bool = True) -> str:
        """The URL of a new database with schema `clip` and no rows."""
        self._execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        self._execute(f"ALTER DATABASE {name} SET synchronous_commit = {synchronous_commit}")
        return self.url(name)

    def _cheapen_logins(self) -> None:
        """Workers connect twice per batch; hashing the password 4,096 times is most of that."""
        password = self._server.login.password
        self._execute("SET scram_iterations = 1", f"ALTER ROLE CURRENT_USER PASSWORD '{password}'")

    def _execute(self, *statements: str) -> None:
        connection = psycopg2.connect(self.url())
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()

    def version(self) -> str:
        connection = psycopg2.connect(self.url())
        try:
            return str(connection.info.parameter_status("server_version"))
        finally:
            connection.close()

    def restart(self, how: signal.Signals) -> None:
        """SIGINT ends sessions in good order; SIGQUIT is as good as a crash of the server."""
        postmaster = int(self._server.home.pid_file.read_text().split("\n", 1)[0])
        port = self._server.login.port
        os.kill(postmaster, how)
        if not poll(lambda: not self._server.running.alive(), limit_s=STOP_LIMIT_S, every_s=0.01):
            raise TimeoutError(f"PostgreSQL did not stop at {how.name}")
        self._server.stop()
        self._server = self._start(port)
        if self._server.login.port != port:
            raise RuntimeError(f"somebody took port {port} while PostgreSQL was away")

    def _start(self, port: int) -> PostgresServer:
        return PostgresServer.start(self._folder, tied_to_owner=True, durable=False, port=port)
