"""What goes wrong before anything starts ends in one line and an exit code, with nothing done."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError

from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.database import schema
from clip_scoring.database.connection import connect_engine, transaction
from tests.support.warm import WarmCommand
from tests.support.world import World


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    with TemporaryDirectory() as folder:
        running = WarmCommand(*arguments, env={**os.environ, **environment}, folder=Path(folder))
        done = running.ended()
        running.close()
    return done


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The only line on stderr; a traceback or a second line is a defect."""
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr.strip()


def test_no_database_url() -> None:
    done = command("run")
    assert "set CLIP_SCORING_DATABASE_URL" in one_line(done)
    assert done.returncode == ExitCode.WRONG_USE


def test_an_unreachable_database_is_named_without_its_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    url = f"postgresql://me:secret@127.0.0.1:{port}/clip"
    done = command("run", CLIP_SCORING_DATABASE_URL=url)
    assert f"database clip at 127.0.0.1:{port}" in one_line(done)
    assert "secret" not in done.stderr
    assert done.returncode == ExitCode.TRY_AGAIN


def test_a_database_url_of_another_kind() -> None:
    assert "sqlite, not postgresql" in one_line(
        command("run", CLIP_SCORING_DATABASE_URL="sqlite:///x.db")
    )


def test_a_missing_and_an_old_schema_name_the_command_that_mends_them(
    empty_database: str, world: World, database: str
) -> None:
    missing = one_line(command("run", CLIP_SCORING_DATABASE_URL=empty_database))
    assert "schema clip is at version none" in missing
    assert "run `clip-scoring db upgrade`" in missing
    world.sql("UPDATE clip.schema_version SET version_num = '0000'")
    old = one_line(command("run", CLIP_SCORING_DATABASE_URL=database))
    assert f"at version 0000, this program needs {schema.SCHEMA_VERSION}" in old
    assert world.sql("SELECT count(*) FROM clip.run") == [(0,)]


def test_weights_without_safetensors(world: World, database: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    done = command("run", CLIP_SCORING_DATABASE_URL=database, CLIP_SCORING_WEIGHTS=str(tmp_path))
    assert f"weights {tmp_path}: no *.safetensors file" in one_line(done)
    assert world.sql("SELECT count(*) FROM clip.run") == [(0,)]


@pytest.mark.parametrize(("options", "message"), [
    (("--source", "nope"), "source 'nope' is not registered: records"),
    (("--day", "tomorrow"), "parameter day: 'tomorrow' must be a date"),
    (("--batch-size", "0"), "parameter batch_size: '0' must be a whole number from 1 to 4096"),
    (("--limit", "-3"), "parameter limit: '-3' must be a whole number from 1"),
    (("--weights", "nope"), "weights 'nope' are not registered: tiny"),
])  # fmt: skip
def test_a_wrong_option_is_named_with_its_value(
    database: str, options: tuple[str, str], message: str
) -> None:
    assert message in one_line(command("run", *options, CLIP_SCORING_DATABASE_URL=database))


def test_a_folder_that_cannot_be_written(database: str) -> None:
    done = command("sample", "--to", "/proc/nothing/here", CLIP_SCORING_DATABASE_URL=database)
    assert "/proc/nothing" in one_line(done)


def test_a_registration_file_that_is_missing(tmp_path: Path) -> None:
    done = command("run", CLIP_SCORING_SOURCES=str(tmp_path / "none.yaml"))
    assert "none.yaml: No such file" in one_line(done)


def test_an_error_of_the_database_quotes_no_value(database: str) -> None:
    asked = text("SELECT 1 / 0 WHERE :uri <> ''")
    with pytest.raises(DataError) as failed, transaction(connect_engine(database)) as connection:
        connection.execute(asked, {"uri": "s3://b/k?versionId=SECRET"})
    assert "SECRET" not in str(failed.value)


def test_upgrading_twice_changes_nothing(empty_database: str) -> None:
    for _ in range(2):
        done = command("db", "upgrade", CLIP_SCORING_DATABASE_URL=empty_database)
        assert (done.returncode, done.stdout) == (0, "schema clip is at version 0004\n")
    schema.require_current(connect_engine(empty_database))
