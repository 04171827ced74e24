"""The documentation as a site: it builds without a warning, and what is planted in it is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
MAKEFILE = DOCS.parent / "Makefile"


def build(docs: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """As `make check` does it."""
    return subprocess.run(
        (sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--fresh-env",
         "--builder", "dummy", "--doctree-dir", str(output / "doctrees"), str(docs), str(output)),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A copy of the pages."""
    return Path(shutil.copytree(DOCS, tmp_path / "docs"))


def test_the_site_builds_without_a_warning(docs: Path, tmp_path: Path) -> None:
    built = build(docs, tmp_path / "built")
    assert (built.returncode, built.stderr) == (0, "")


def test_a_dead_link_a_dead_anchor_and_a_page_outside_the_index_are_named(
    docs: Path, tmp_path: Path
) -> None:
    with (docs / "score.md").open("a") as page:
        page.write("\n[nowhere](no-such-page.md) and [no part](library.md#no-such-part)\n")
    (docs / "orphan.md").write_text("# Nobody links here\n")
    built = build(docs, tmp_path / "built")
    assert built.returncode == 1
    assert "score.md" in built.stderr and "no-such-page.md" in built.stderr
    assert "no-such-part" in built.stderr
    assert "orphan.md: WARNING: document isn't included in any toctree" in built.stderr


def test_make_check_builds_it_in_the_same_way() -> None:
    check = MAKEFILE.read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    flags = "-m sphinx --quiet --fail-on-warning --fresh-env --builder dummy"
    assert flags in check


def test_the_reference_needs_no_torch() -> None:
    program = (
        "import sys, clip_scoring, clip_scoring.ports, clip_scoring.errors\n"
        "clip_scoring.Scorer, clip_scoring.score_pairs\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run((sys.executable, "-c", program), check=False).returncode == 0
