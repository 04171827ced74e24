"""Pages of the documentation as a reader follows them: what they show is what comes out."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
SHELL = """\
set -o pipefail
airflow() { "$TEST_PYTHON" -m airflow "$@"; }
clip-scoring() { "$TEST_PYTHON" -m clip_scoring "$@"; }
%s
status=$?
env -0 > "$TEST_ENVIRONMENT"
exit $status
"""


class Shell:
    """Runs commands one by one; what one exports the next ones see."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._kept = folder / "environment"
        self._environment = {
            **environment,
            "TEST_PYTHON": sys.executable,
            "TEST_ENVIRONMENT": str(self._kept),
        }

    def run(self, command: str, folder: Path = REPOSITORY) -> str:
        """What it printed; fails unless it exits with 0."""
        done = subprocess.run(
            ("bash", "-c", SHELL % command),
            env=self._environment, cwd=folder, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"$ {command}\n{done.stdout[-2000:]}"
        kept = self._kept.read_text().split("\0")
        self._environment = dict(each.split("=", 1) for each in kept if each)
        return done.stdout


def blocks(page: Path) -> list[tuple[str, str]]:
    """The page's fenced blocks: language and text."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, textwrap.dedent(body)) for _, language, body in found]


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block, with the lines that the page shows below it."""
    for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = each.splitlines()
        yield command, shown


def check_shown(shown: list[str], said: str) -> None:
    """Each line that is shown was said, in this order, up to gaps and `...`."""
    lines = iter([re.sub(r"[ \t]+", " ", line).strip() for line in said.splitlines()])
    for line in shown:
        if re.fullmatch(r"[\s.]*", line):
            continue
        pattern = re.compile(_pattern(line))
        assert any(pattern.fullmatch(each) for each in lines), f"not said: {line}\n{said[-3000:]}"


def _pattern(line: str) -> str:
    """Of what the page shows of a line: `...` is anything, rules and gaps any width."""
    parts = re.sub(r"[ \t]+", " ", line).strip().split("...")
    return ".*".join(map(re.escape, parts))
