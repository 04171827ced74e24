"""Every command of docs/score.md and every line of docs/library.md, and what the pages show."""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from pyarrow import parquet

from clip_scoring.cli import parser
from clip_scoring.cli.config import read_config
from clip_scoring.cli.exit_code import ExitCode
from clip_scoring.files.writer import COLUMNS

DOCS = Path(__file__).parents[2] / "docs"
SCORE, RULES, LIBRARY = (DOCS / f"{name}.md" for name in ("score", "score-reference", "library"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[[^]]+\]\(([^)#]*)(#[\w-]+)?\)")
INTERRUPTED = "^C"
BEGUN = "device "
"""What a command says when the first batch is about to be scored."""
SHELL = """\
python() { "$TEST_PYTHON" "$@"; }
clip-scoring() { "$TEST_PYTHON" -m clip_scoring "$@"; }
%s
"""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The page's fenced blocks: language and text."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def block(page: Path, language: str) -> str:
    """The one block in this language."""
    (found,) = (body for each, body in blocks(page) if each == language)
    return found


def commands(body: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block, with the lines that the page shows below it."""
    for each in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, *shown = each.splitlines()
        yield command, shown


def matches(shown: str, said: str) -> bool:
    """Whether a line was said; `...` in what is shown is anything."""
    return bool(re.fullmatch(".*".join(map(re.escape, shown.split("..."))), said))


def check_shown(shown: list[str], said: str) -> None:
    """The lines that are shown were said, and no other; a line of dots is any number of lines."""
    left = said.splitlines()
    any_number = False
    for each in shown:
        if each == "...":
            any_number = True
            continue
        while any_number and left and not matches(each, left[0]):
            del left[0]
        assert left and matches(each, left[0]), f"not said: {each}\n{said[-3000:]}"
        del left[0]
        any_number = False
    assert any_number or not left, f"not shown: {left}"


def start(command: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ("bash", "-c", SHELL % command),
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
        env={**os.environ, "TEST_PYTHON": sys.executable, "PYTHONPATH": str(DOCS.parent)},
    )  # fmt: skip


def interrupt(command: str, folder: Path) -> str:
    """What it said in the end when Ctrl-C was pressed while it worked; it exits with 3."""
    running = start(command, folder)
    assert running.stderr is not None
    for line in running.stderr:
        if BEGUN in line:
            break
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == ExitCode.TRY_AGAIN, said
    return said


def run(command: str, folder: Path) -> str:
    """What it printed, then what it said where that is no progress; it exits with 0."""
    running = start(command, folder)
    out, err = running.communicate(timeout=120)
    assert running.returncode == ExitCode.DONE, f"$ {command}\n{out}{err}"
    lines = out.splitlines()
    failures = [each for each in err.splitlines() if each.startswith("clip-scoring: ")]
    at = next((n for n, each in enumerate(lines) if each.startswith("exit code")), len(lines))
    return "\n".join([*lines[:at], *failures, *lines[at:]])


# Above 60 s: each command of the page starts from nothing.
@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of docs/score.md have been run, each with what the page shows."""
    made = tmp_path_factory.mktemp("score")
    (made / "make_pairs.py").write_text(block(SCORE, "python"))
    (made / "config.yaml").write_text(block(SCORE, "yaml"))
    for language, body in blocks(SCORE):
        for command, shown in commands(body) if language == "console" else ():
            if INTERRUPTED in shown:
                check_shown(shown[shown.index(INTERRUPTED) + 1 :], interrupt(command, made))
            else:
                check_shown(shown, run(command, made))
    return made


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_command_of_the_page_shows_what_the_page_shows(folder: Path) -> None:
    found = rows_of(folder / "pairs_scored.csv")
    assert [each["url"] for each in found] == [
        each["url"] for each in rows_of(folder / "pairs.csv")
    ]
    assert [each for each in found[0] if each in COLUMNS] == [*COLUMNS]
    for each in found:
        if not each["rejection"]:
            similarity = float(each["similarity"])
            assert float(each["clip_score"]) == pytest.approx(2.5 * max(similarity, 0))
            assert float(each["similarity_01"]) == pytest.approx((similarity + 1) / 2)


def test_the_journal_stays_where_something_was_rejected_and_nowhere_else(folder: Path) -> None:
    left = {each.name for each in folder.glob("*.journal")}
    assert left == {"pairs_scored.csv.journal", "pairs.parquet.journal"}


def test_the_options_in_a_file_are_known_and_did_what_they_say(folder: Path) -> None:
    options = read_config(folder / "config.yaml")
    templated = parquet.read_table(folder / options["output"]).to_pylist()[0]
    assert (folder / options["metrics"]).is_file()
    report = (folder / options["report"] / "index.html").read_text()
    assert "<script" not in report
    plain = rows_of(folder / "pairs_scored.csv")[0]
    assert plain["caption"] == templated["caption"]
    assert float(plain["similarity"]) != pytest.approx(templated["similarity"], abs=1e-4)


def test_commands_that_are_not_run_are_understood() -> None:
    for command in block(SCORE, "sh").splitlines():
        parser().parse_args(shlex.split(command)[1:])


def test_each_option_that_the_page_names_exists() -> None:
    known = (DOCS / "cli.md").read_text().partition("## clip-scoring classify")[0]
    for option in set(
        re.findall(r"(?<![\w-])--[a-z][a-z-]+", SCORE.read_text() + RULES.read_text())
    ):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", known), option


def test_each_line_of_the_library_page_does_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = blocks(LIBRARY)
    for at, (language, body) in enumerate(shown):
        if language != "python":
            continue
        said = io.StringIO()
        with redirect_stdout(said):
            exec(compile(body, f"{LIBRARY.name}, block {at}", "exec"), names)
        after, output = shown[at + 1]
        check_shown([] if after else output.splitlines(), said.getvalue())


def anchors(page: Path) -> set[str]:
    """What links may lead to within a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings}


@pytest.mark.parametrize(
    "page",
    [SCORE, RULES, LIBRARY, *(DOCS.parent / f"{name}.md" for name in ("README", "CONTRIBUTING"))],
    ids=lambda each: each.name,
)
def test_each_link_leads_to_a_file_and_each_picture_is_one(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert links
    for picture, path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), path + anchor
        if picture:
            assert target.stat().st_size < 500_000
            if target.suffix == ".svg":
                assert ElementTree.parse(target).getroot().tag == "{http://www.w3.org/2000/svg}svg"
            else:
                Image.open(target).verify()
