"""No file is destroyed by writing another one, and no stream or setting ends it without a word."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from clip_scoring.cli.config import read_config
from clip_scoring.errors import SettingsInvalid
from clip_scoring.files import score as files
from clip_scoring.files.writer import _unique
from clip_scoring.ports import DecodedImage
from clip_scoring.records import Record, Rejection
from clip_scoring.settings.file_options import FileOptions
from tests.files import fake
from tests.files.kills import REPOSITORY, call, command, environment, pairs_file
from tests.files.test_csv_contents import score

ROWS = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return pairs_file(tmp_path, ROWS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.csv.part", ("-o", "x.csv")),
        ("x.csv.journal", ("-o", "x.csv")),
        ("x.csv", ("-o", "x.csv", "--force", "--limit", "3")),
        ("x.txt", ("--metrics", "x.json")),
        ("x.csv", ("--metrics", "x.csv")),
    ],
)
def test_nothing_is_written_over_the_input(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: Sequence[str]
) -> None:
    monkeypatch.chdir(path.parent)
    given = path.rename(path.with_name(name))
    before = given.read_bytes()
    absolute = [str(Path(each).absolute()) if each.startswith("x.") else each for each in options]
    refused = call(given, *absolute)
    assert (refused.code, "written over the input" in refused.stderr) == (2, True), refused
    assert given.read_bytes() == before
    assert list(path.parent.iterdir()) == [given]


def test_metrics_are_not_written_over_the_output_or_its_journal(path: Path) -> None:
    output = path.with_name("pairs_scored.csv")
    for each in (output, output.with_name("pairs_scored.csv.journal")):
        refused = call(path, "--metrics", str(each))
        assert (refused.code, "would be written over" in refused.stderr) == (2, True), refused
        assert not each.exists()


@pytest.mark.parametrize("option", ["--resume", "--no-resume"])
def test_a_file_that_is_no_journal_is_not_emptied_for_one(path: Path, option: str) -> None:
    other = path.with_name("pairs_scored.csv.journal")
    other.write_text("dear diary\n")
    refused = call(path, option)
    assert (refused.code, "is not a journal" in refused.stderr) == (2, True), refused
    assert other.read_text() == "dear diary\n"


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_scored(path: Path) -> None:
    report = path.with_name("report")
    report.touch()
    refused = call(path, "--report", str(report))
    assert (refused.code, "must be a directory" in refused.stderr) == (2, True), refused
    assert not path.with_name("pairs_scored.csv").exists()


def test_what_changes_the_output_alone_is_not_passed_over_in_silence(path: Path) -> None:
    output = path.with_name("pairs_scored.csv")
    assert call(path).code == 0
    for options in (("--column-prefix", "z_"), ("--excel-safe",)):
        refused = call(path, *options)
        assert (refused.code, "was not given, is" in refused.stderr) == (2, True), refused
    assert call(path, "--column-prefix", "z_", "--force").code == 0
    assert "z_similarity" in output.read_text().splitlines()[0]


@pytest.mark.parametrize("died", ["end_pass", "note_output", "replace"])
def test_a_retry_that_scored_and_was_killed_before_its_output_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died: str
) -> None:
    path = pairs_file(tmp_path, ROWS)
    real = fake._image

    def found(record: Record) -> DecodedImage | Rejection:
        return real(Record(record.key, f"{record.image_uri}.jpg", record.caption))

    output = score(path).output
    assert output.read_text().count(",timeout,as asked") == ROWS // 100

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(fake, "_image", found)
        killed.setattr(Path if died == "replace" else files.Journal, died, die)
        with pytest.raises(KeyboardInterrupt):
            score(path, retry_rejected=True)
    monkeypatch.setattr(fake, "_image", found)
    score(path)
    assert output.read_text().count(",timeout,as asked") == 0


def test_an_output_that_was_edited_is_kept_when_a_retry_was_interrupted(path: Path) -> None:
    output = path.with_name("pairs_scored.csv")
    assert call(path).code == 0
    assert call(path, "--retry-rejected", die_at="write 1").killed
    output.write_text("mine")
    refused = call(path, "--retry-rejected")
    assert (refused.code, output.read_text()) == (2, "mine")


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&- >&- 2>&-", "2>&- >&-"])
def test_closed_streams_do_not_stop_it(path: Path, closed: str) -> None:
    line = [each for each in command(path) if each != "--quiet"]
    shell = ["sh", "-c", f'"$@" {closed}', "sh", *line]
    assert subprocess.run(shell, env=environment(), cwd=REPOSITORY, check=False).returncode == 0
    journal = path.with_name("pairs_scored.csv.journal").read_text()
    assert all(line[8:10] == " {" for line in journal.splitlines())


def test_a_log_on_a_full_disk_ends_it_with_the_right_code(path: Path) -> None:
    line = [each for each in command(path) if each != "--quiet"]
    with Path("/dev/full").open("w") as full:
        found = [
            subprocess.run(each, env=environment(), cwd=REPOSITORY, stderr=full, check=False)
            for each in (line, [*line, "--limit", "nonsense"])
        ]
    assert [each.returncode for each in found] == [3, 2]


@pytest.mark.parametrize("coding", ["ascii", "utf-8:strict"])
def test_a_name_that_the_terminal_cannot_show_is_no_failure(tmp_path: Path, coding: str) -> None:
    path = pairs_file(tmp_path, ROWS).rename(tmp_path / os.fsdecode(b"caf\xe9.csv"))
    ended = subprocess.run(
        command(path)[:-1], env={**environment(), "PYTHONIOENCODING": coding}, cwd=REPOSITORY,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ended.returncode, f"{ROWS} rows" in ended.stdout) == (0, True), ended.stderr


@pytest.mark.parametrize(
    "text",
    [
        "metrics: 5", "metrics: ''", "report: [a]", "quiet: 'no'", "json_logs: 3",
        "no_header: 'false'", "seed: 2024-99-99", "seed: !!int x", "resume: !!bool x",
        "seed: !!timestamp x", f"seed: {'[' * 3000}",
    ],
)  # fmt: skip
def test_a_value_of_another_type_in_the_config_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    with pytest.raises(SettingsInvalid, match=r"config .*config\.yaml: "):
        read_config(config)


@pytest.mark.parametrize("given", [".", "/", ""])
def test_a_path_without_a_name_is_refused(given: str) -> None:
    with pytest.raises(SettingsInvalid, match="must be the path of a file"):
        FileOptions.of({"path": Path(given)})


def test_fifty_thousand_columns_of_one_name_get_names_at_once() -> None:
    # Trying each number for each of them would take minutes.
    names = _unique(["x"] * 50_000)
    assert (names[1], names[-1], len(set(names))) == ("x_2", "x_50000", 50_000)


def test_a_program_keeps_the_higher_limit_of_fields_that_it_set() -> None:
    text = (
        "import csv; csv.field_size_limit(2**30); import clip_scoring.sources.csv_records; "
        "assert csv.field_size_limit() == 2**30"
    )
    subprocess.run([sys.executable, "-c", text], env=environment(), check=True)
