"""The caps of the design on files, functions and arguments are kept, and an excess is found."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TREES = ("clip_scoring", "plugins", "dags", "stack", "benchmarks")
FILE_LINES, FUNCTION_LINES, ARGUMENTS = 400, 50, 6
LONG_FILES: set[str] = set()
"""Files above the cap that wait to be split; whoever splits one takes it off."""
READING_PATH = (
    "dags/score_pairs.py",
    "clip_scoring/ports.py",
    "clip_scoring/scoring.py",
    "clip_scoring/database/sql/queries.sql",
    "clip_scoring/models/clip.py",
)
READING_LINES = 800
CORE = (
    "display", "errors", "fingerprint", "geometry", "metrics", "overview", "quality", "records",
    "run_metrics", "runs", "shards", "similarity",
)  # fmt: skip
CORE_MAY_IMPORT = sys.stdlib_module_names | {"numpy"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    return [path for tree in TREES for path in sorted((REPOSITORY / tree).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def lines(text: str) -> int:
    return len(text.splitlines())


def functions(text: str) -> Iterator[Function]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: Function) -> int:
    """Lines from `def` to the last, the docstring too; decorators are not counted."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def arguments(function: Function) -> int:
    """What a caller may pass, without `self`, `cls`, `*args` and `**kwargs`."""
    given = function.args
    positional = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    bound = positional[:1] in (["self"], ["cls"])
    return len(positional) - bound + len(given.kwonlyargs)


def excesses(text: str) -> list[str]:
    """What of a file's functions is above a cap."""
    return [
        f"{function.name}, line {function.lineno}: {measured} {unit}, at most {cap}"
        for function in functions(text)
        for measured, unit, cap in (
            (length(function), "lines", FUNCTION_LINES),
            (arguments(function), "arguments", ARGUMENTS),
        )
        if measured > cap
    ]


def imported(text: str) -> set[str]:
    """Names of modules that a file imports at any place, relative ones with their dots."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add("." * node.level + (node.module or ""))
    return modules


def strangers(text: str) -> set[str]:
    """What a core module imports that is neither core nor standard library nor NumPy."""
    core = {f"clip_scoring.{name}" for name in CORE}
    return {
        module
        for module in imported(text)
        if module not in core and module.partition(".")[0] not in CORE_MAY_IMPORT
    }


def function_of(body_lines: int, parameters: str = "") -> str:
    return f"def planted({parameters}):\n" + "    print()\n" * body_lines


def test_no_file_is_longer_than_400_lines() -> None:
    long_files = {name_of(path) for path in sources() if lines(path.read_text()) > FILE_LINES}
    assert long_files == LONG_FILES


def test_no_function_is_longer_than_50_lines_or_has_more_than_6_arguments() -> None:
    above = {name_of(path): found for path in sources() if (found := excesses(path.read_text()))}
    assert above == {}


def test_the_five_files_that_a_newcomer_reads_are_under_800_lines_together() -> None:
    path = {name: lines((REPOSITORY / name).read_text()) for name in READING_PATH}
    assert sum(path.values()) < READING_LINES, path


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_the_standard_library_and_numpy_only(module: str) -> None:
    assert strangers((REPOSITORY / "clip_scoring" / f"{module}.py").read_text()) == set()


BRANCHES = "".join(f"    if a == {n}:\n        print({n})\n" for n in range(8))


@pytest.mark.parametrize(
    ("rule", "planted"),
    [
        ("C901", f"def planted(a):\n{BRANCHES}"),
        ("PLR0913", function_of(1, "a, *, b, c, d, e, f, g")),
    ],
)
def test_ruff_finds_what_is_too_complex_or_takes_too_much(rule: str, planted: str) -> None:
    ruff = (sys.executable, "-m", "ruff", "check", "--output-format", "concise", "-")
    stdin_name = ("--stdin-filename", "clip_scoring/planted.py")
    linted = subprocess.run(
        (*ruff, *stdin_name), cwd=REPOSITORY, input=planted, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert linted.returncode == 1
    assert f" {rule} " in linted.stdout


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (function_of(49), []),
        (function_of(50), ["planted, line 1: 51 lines, at most 50"]),
        (function_of(1, "a, b, /, c, *, d, e, f"), []),
        (function_of(1, "self, a, b, /, c, *args, d, e, f, **kwargs"), []),
        (function_of(1, "a, b, /, c, *, d, e, f, g"), ["planted, line 1: 7 arguments, at most 6"]),
    ],
)
def test_a_planted_function_above_a_cap_is_found(text: str, found: list[str]) -> None:
    assert excesses(text) == found


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("import sqlalchemy.orm", {"sqlalchemy.orm"}),
        ("def late():\n    from yaml import load", {"yaml"}),
        ("from clip_scoring.stores import schema", {"clip_scoring.stores"}),
        ("from . import stores", {"."}),
        ("import os.path, numpy.typing\nfrom clip_scoring.records import Key", set()),
    ],
)
def test_a_planted_import_in_the_core_is_found(statement: str, found: set[str]) -> None:
    assert strangers(statement) == found
