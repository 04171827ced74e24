"""The PostgreSQL of the development stack: starts anywhere, and never outlives its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from stack.home import server_home
from stack.postgres import HOST, PostgresServer, free_port, remove_server
from stack.processes import StackError, identify, poll
from stack.report import printable

REPOSITORY = Path(__file__).parents[2]
LIMIT_S = 60.0
OWNER = """
import sys, time
from pathlib import Path
from stack.postgres import PostgresServer
server = PostgresServer.start(Path(sys.argv[1]), tied_to_owner=True, durable=False)
print(server.home.pid_file.read_text().split()[0], flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A server folder with a space in a path that is too long for a Unix socket."""
    path = tmp_path / "a folder with spaces" / ("long" * 40) / "postgres"
    path.mkdir(parents=True)
    yield path
    remove_server(path)


def start(folder: Path) -> PostgresServer:
    return PostgresServer.start(folder, tied_to_owner=True, durable=False)


def ask(url: str, question: str) -> Any:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        answer = cursor.fetchone() if cursor.description else None
        connection.commit()
        return answer


def postmaster(server: PostgresServer) -> int:
    return int(server.home.pid_file.read_text().split()[0])


def test_a_server_in_a_long_path_with_spaces_answers_on_tcp_only(folder: Path) -> None:
    with start(folder) as server:
        assert ask(server.url(), "SHOW unix_socket_directories") == ("",)
        assert ask(server.url(), "SHOW listen_addresses") == (HOST,)


def test_a_wrong_password_is_refused(folder: Path) -> None:
    with start(folder) as server, pytest.raises(psycopg2.OperationalError, match="password"):
        ask(server.url().replace(server.login.password, "wrong"), "SELECT 1")


def test_the_password_is_readable_by_its_owner_only(folder: Path) -> None:
    server_home(folder).password()
    assert (folder / "password").stat().st_mode & 0o077 == 0


def test_two_servers_run_side_by_side(server: PostgresServer, folder: Path) -> None:
    with start(folder) as other:
        assert other.login.port != server.login.port
        assert ask(other.url(), "SELECT 1") == ask(server.url(), "SELECT 1") == (1,)


def test_a_taken_port_is_replaced_by_a_free_one(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) != port


def test_stopping_twice_is_safe(folder: Path) -> None:
    server = start(folder)
    pid = postmaster(server)
    server.stop()
    server.stop()
    assert identify(pid) is None


def test_data_survive_a_restart(folder: Path) -> None:
    with start(folder) as server:
        server.create_database("kept")
        ask(server.url("kept"), "CREATE TABLE fact AS SELECT 42 AS answer")
    with start(folder) as server:
        server.create_database("kept")
        assert ask(server.url("kept"), "SELECT answer FROM fact") == (42,)


def test_a_killed_owner_leaves_no_server_behind(folder: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert identify(pid) is not None
        owner.kill()
    assert poll(lambda: identify(pid) is None, limit_s=LIMIT_S)


def test_a_killed_guard_takes_its_server_with_it(folder: Path) -> None:
    server = start(folder)
    pid = postmaster(server)
    os.kill(server.running.identity.pid, signal.SIGKILL)
    assert poll(lambda: identify(pid) is None, limit_s=LIMIT_S)
    server.stop()


def test_a_killed_server_recovers(folder: Path) -> None:
    server = start(folder)
    os.kill(postmaster(server), signal.SIGKILL)
    assert poll(lambda: not server.running.alive(), limit_s=LIMIT_S)
    server.stop()
    with start(folder) as again:
        assert ask(again.url(), "SELECT 1") == (1,)


def test_a_stale_pid_file_that_names_a_living_stranger_is_no_obstacle(folder: Path) -> None:
    start(folder).stop()
    home = server_home(folder)
    home.give(home.pid_file, f"{os.getpid()}\n{home.data}\n0\n5432\n\n{HOST}\n\nready\n")
    with start(folder) as server:
        assert ask(server.url(), "SELECT 1") == (1,)


def test_an_interrupted_initdb_is_done_again(folder: Path) -> None:
    half = server_home(folder).private / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with start(folder) as server:
        assert ask(server.url(), "SELECT 1") == (1,)


def test_a_server_that_cannot_start_says_so_on_one_line(folder: Path) -> None:
    start(folder).stop()
    home = server_home(folder)
    (home.data / "postgresql.auto.conf").write_text("shared_buffers = 'no size'\n")
    with pytest.raises(StackError, match=r"shared_buffers[^\n]*log: [^\n]*postgres\.log") as caught:
        start(folder)
    assert "\n" not in str(caught.value)


def test_captions_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\u202ed") == "a\\x1b[2Jb\\nc\\u202ed"
    assert len(printable("x" * 1000)) == 70
