"""The import rule of the design is kept, and a violation is found."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = "import sys; from importlinter.cli import lint_imports_command as c; sys.exit(c())"
    return subprocess.run(
        [sys.executable, "-c", command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{folder / 'plugins'}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_repository_keeps_the_import_rule() -> None:
    linted = lint_imports(REPOSITORY)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.parametrize(("module", "planted", "broken"), [
    ("clip_scoring/scoring.py", "import torch", "Only models and training import torch"),
    ("clip_scoring/records.py", "import airflow", "Only dags and plugins import Airflow"),
    ("clip_scoring/planning.py", "import sqlalchemy", "Only database, sources, images and"),
    ("clip_scoring/images/local.py", "import clip_scoring.database.connection", "stand on use"),
    ("clip_scoring/shards.py", "import time", "The core has no I/O"),
])  # fmt: skip
def test_a_planted_violation_is_found(
    tmp_path: Path, module: str, planted: str, broken: str
) -> None:
    plant(tmp_path)
    path = tmp_path / module
    path.write_text(path.read_text() + f"\n{planted}\n")
    linted = lint_imports(tmp_path)
    assert linted.returncode == 1
    report = " ".join(linted.stdout.split())
    assert any(broken in part for part in _verdicts(report) if part.endswith("BROKEN")), report


def test_a_module_that_no_layer_names_is_found(tmp_path: Path) -> None:
    plant(tmp_path)
    (tmp_path / "clip_scoring" / "attic.py").write_text('"""A room that nobody planned."""\n')
    linted = lint_imports(tmp_path)
    assert linted.returncode == 1
    assert "clip_scoring.attic" in linted.stdout


def plant(folder: Path) -> None:
    """A copy of the sources and the rules, into which a test puts what they forbid."""
    for tree in ("clip_scoring", "plugins"):
        ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(REPOSITORY / tree, folder / tree, ignore=ignored)
    shutil.copy(REPOSITORY / ".importlinter", folder)


def _verdicts(report: str) -> list[str]:
    """The report cut at each verdict, each part ending in its own KEPT or BROKEN."""
    parts, current = [], []
    for word in report.split(" "):
        current.append(word)
        if word in {"KEPT", "BROKEN"}:
            parts.append(" ".join(current))
            current = []
    return parts
