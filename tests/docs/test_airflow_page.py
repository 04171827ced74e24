"""Every command of the pages on Airflow, in their order, against a running Airflow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from clip_scoring.models.weights import open_weights
from stack.crew import DAG
from tests.support.consoles import REPOSITORY, Shell, blocks, check_shown, commands
from tests.support.night import OPEN, Night, wait_for

DOCS = REPOSITORY / "docs"
PAGES = [DOCS / f"{name}.md" for name in ("airflow", "backfill", "model-change", "messages")]
PICTURES = REPOSITORY / "tests" / "browser" / "test_pages.py"
OF_THE_MACHINE = {
    "make up": "tests/support/night.py: the fixture starts the same stack by `bring_up`",
    "make down": "tests/support/night.py: the fixture stops it by `Crew.stop`",
}
"""Commands that are not run here, and what does the same instead."""
NEW_WEIGHTS = "/models/clip-next"
"""What the page registers; here a folder of this test takes its place."""


def run_ids(night: Night, query: str = "") -> set[str]:
    path = f"/api/v2/dags/{DAG}/dagRuns?limit=100&order_by=-id{query}"
    return {each["dag_run_id"] for each in night.api.get(path)["dag_runs"]}


def nothing_under_way(night: Night) -> bool:
    return not any(run_ids(night, f"&state={state}") for state in OPEN)


def offered(night: Night) -> list[str]:
    """The weights that the trigger form offers."""
    params = night.api.get(f"/api/v2/dags/{DAG}/details")["params"]
    names: list[str] = params["weights"]["schema"]["enum"]
    return names


def connection_ids(night: Night) -> set[str]:
    found = night.api.get("/api/v2/connections?limit=100")["connections"]
    return {each["connection_id"] for each in found}


@pytest.fixture
def visited(night: Night) -> Iterator[Night]:
    """The stack, which afterwards knows nothing of what the page did to it."""
    sources = night.site.state.sources
    connections, written = connection_ids(night), sources.read_text()
    yield night
    sources.write_text(written)
    night.reparse()
    for each in connection_ids(night) - connections:
        night.api.delete(f"/api/v2/connections/{each}")


@pytest.fixture
def new_weights(tmp_path: Path) -> Path:
    """The embedded weights, with noise."""
    folder = tmp_path / "clip-next"
    shutil.copytree(open_weights("tiny").folder, folder)
    tensors = load_file(folder / "model.safetensors")
    noisy = tensors["visual_projection.weight"]
    noise = np.random.default_rng(1).normal(0, noisy.std() / 3, noisy.shape)
    tensors["visual_projection.weight"] = noisy + noise.astype(noisy.dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
# Above 60 s: the pages start six runs, each command from nothing.
def test_each_command_of_the_page_does_what_the_page_shows(
    visited: Night, new_weights: Path, tmp_path: Path
) -> None:
    night = visited
    login = {"AIRFLOW_URL": night.site.url, "PASSWORD": night.site.state.keys().admin_password}
    shell = Shell({**night.site.environment(), **login}, tmp_path)
    for language, block in chain.from_iterable(map(blocks, PAGES)):
        if language == "console":
            for command, shown in commands(block):
                if command not in OF_THE_MACHINE:
                    check_shown(shown, shell.run(command))
                    wait_for(lambda: nothing_under_way(night), f"end of what {command} began")
        elif language == "yaml":
            assert NEW_WEIGHTS in block
            with night.site.state.sources.open("a") as registered:
                registered.write(block.replace(NEW_WEIGHTS, str(new_weights)))
            night.reparse()
            wait_for(lambda: "next" in offered(night), "new weights in the form")
        else:
            assert language == "sql", language
            rows = night.world.sql(block)
            assert [row[1] for row in rows] == [220, 220], rows
            assert len({row[2] for row in rows}) == 2, rows
    assert [night.state(run) for run in run_ids(night)] == ["success"] * 6


def test_what_is_not_run_here_stands_in_the_makefile() -> None:
    shown = [each for language, block in blocks(PAGES[0]) if language == "console"
             for each, _ in commands(block)]  # fmt: skip
    for command in OF_THE_MACHINE:
        assert command in shown
        subprocess.run(
            ("make", "--dry-run", *command.split()[1:]),
            cwd=REPOSITORY, check=True, capture_output=True, env={**os.environ, "MAKEFLAGS": ""},
        )  # fmt: skip


def test_each_picture_of_the_page_is_made_by_the_browser_tests() -> None:
    tests = PICTURES.read_text()
    made = set(re.findall(r'picture\(page, "([\w-]+)"\)', tests))
    sections = re.search(r"^SECTIONS = \{(.*)\}$", tests, re.MULTILINE)
    assert sections
    assert 'picture(page, f"form-{name}")' in tests
    made |= {f"form-{name}" for name in re.findall(r'"(\w+)":', sections[1])}
    text = "".join(page.read_text() for page in PAGES)
    used = re.findall(r"!\[[^]]+\]\(images/([^)]+)\.png\)", text)
    assert len(used) == text.count("![")
    assert set(used) - made == set()


def test_each_link_of_the_page_leads_to_a_file() -> None:
    text = "".join(page.read_text() for page in PAGES)
    links = re.findall(r"(?<!!)\[[^]]+\]\(([^)#]+)(?:#[\w-]+)?\)", text)
    links = [each for each in links if not each.startswith("images/")]
    assert links
    for each in links:
        assert (DOCS / each).exists(), each
