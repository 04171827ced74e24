"""Every command's help ends with two examples, and each of them works as it stands there."""

from __future__ import annotations

import csv
import shlex
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from clip_scoring.cli import main, parser
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.cli.reference import leaves
from clip_scoring.database.connection import connect_engine
from clip_scoring.database.records_table import NewRecord, load_records
from clip_scoring.sample.records import SampleRecord, write_sample

COMMANDS = {command.prog.removeprefix("clip-scoring "): command for command in leaves(parser())}
PLANNED = "clip-scoring plan --day 2026-01-03 --run-key night"
FINISHED = "clip-scoring run --day 2026-01-03 --run-key night --processes 1"
BEFORE = {"work": PLANNED, "status": FINISHED, "export": FINISHED}
"""What has to have happened before the examples of a command make sense."""
WITHOUT_DATABASE = {"score", "classify", "split"}
REGISTRATIONS = """\
sources:
  records:
    kind: postgres
    image_roots: [sample]
exports:
  place: exports
"""


def examples(command: ArgumentParser) -> list[str]:
    """The last lines of the help, from the line `examples:` on."""
    _, _, lines = command.format_help().rpartition("\nexamples:\n")
    return [line.removeprefix("  ") for line in lines.splitlines()]


def run(example: str) -> None:
    """One command, or several with `&&` between them; each exits with 0."""
    for command in example.split(" && "):
        program, *arguments = shlex.split(command)
        assert program == "clip-scoring"
        assert main(arguments) is ExitCode.DONE, command


@dataclass(frozen=True)
class Sample:
    """A directory with the files that examples name, and all records of the sample."""

    folder: Path
    records: Sequence[SampleRecord]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("examples")
    (folder / "sample").mkdir()
    records = write_sample(folder / "sample")
    for name in ("pairs.csv", "images.csv"):
        with (folder / name).open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["url", "caption"])
            rows.writerows([f"sample/{r.image_uri}", r.caption] for r in records[:12])
    (folder / "labels.txt").write_text("a red circle\na blue square\na green star\n")
    (folder / "sources.yaml").write_text(REGISTRATIONS)
    for name in ("parts", "exports"):
        (folder / name).mkdir()
    return Sample(folder, records)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_command_work_as_they_stand_in_its_help(
    name: str,
    sample: Sample,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = examples(COMMANDS[name])
    assert len(given) == 2 and all(f"clip-scoring {name}" in example for example in given), given
    monkeypatch.chdir(sample.folder)
    monkeypatch.setenv("CLIP_SCORING_SOURCES", str(sample.folder / "sources.yaml"))
    monkeypatch.setenv("CLIP_SCORING_THREADS", "1")
    if name not in WITHOUT_DATABASE:
        database = request.getfixturevalue("database")
        monkeypatch.setenv("CLIP_SCORING_DATABASE_URL", database)
        records = [NewRecord(r.key, r.image_uri, r.caption, r.created_at) for r in sample.records]
        engine = connect_engine(database)
        load_records(engine, records)
        engine.dispose()
    if name in BEFORE:
        run(BEFORE[name])
    for example in given:
        run(example)
