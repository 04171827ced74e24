"""The page on the command line is what the commands say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clip_scoring.cli import parser
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.cli.reference import page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_the_commands_say() -> None:
    assert (DOCS / "cli.md").read_text() == page(), "run `make docs`"


def test_the_exit_codes_of_a_scored_file_are_those_of_every_command() -> None:
    section = (DOCS / "score-reference.md").read_text().partition("## Exit codes\n")[2]
    assert [int(code) for code in re.findall(r"^\| (\d)", section, re.MULTILINE)] == [*ExitCode]


def test_every_command_and_every_option_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for section in page().split("\n## ")[1:]:
        options = re.findall(r"^  (-[^\n]*)\n?(?:\s{10,}(\S[^\n]*))?", section, re.MULTILINE)
        for option, below in options:
            assert below or re.search(r"\S  +\S", option), f"{section.splitlines()[0]}: {option}"
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    said = capsys.readouterr().out
    for command in re.findall(r"^## clip-scoring (\w+)", page(), re.MULTILINE):
        assert re.search(rf"^    {command}\b", said, re.MULTILINE), command
