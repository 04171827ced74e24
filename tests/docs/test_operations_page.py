"""Every command of docs/operations.md, in the page's order, against a real PostgreSQL."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from clip_scoring.database.connection import connect_engine
from clip_scoring.errors import Interrupted
from clip_scoring.nightly.plan import plan as plan_run
from clip_scoring.nightly.run import open_run
from clip_scoring.nightly.setup import load_sample
from clip_scoring.runs import Trigger
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.run_options import RunOptions
from stack.home import PACKAGE, wheel
from tests.support.consoles import REPOSITORY, Shell, blocks, check_shown, commands
from tests.support.night import SCORES
from tests.support.world import World

PAGE = REPOSITORY / "docs" / "operations.md"
ALERTS = REPOSITORY / "config" / "monitoring" / "alerts.yaml"
PROGRAMS = wheel() / PACKAGE / "pginstall" / "bin"
NIGHT = RunOptions.of_params({"day": "2026-01-03", "batch_size": 16, "shard_size": 80})
LINK = re.compile(r"(?<!!)\[[^]]+\]\(([^)#]*)(#[\w-]+)?\)")


@pytest.fixture
def settings_of(
    tmp_path: Path, sources_file: Callable[[Path], Path]
) -> Callable[[str], tuple[Settings, dict[str, str]]]:
    """Settings and environment for a database, with the sample's images."""
    folder = tmp_path / "sample"
    folder.mkdir()
    sources = str(sources_file(folder))

    def made(database: str) -> tuple[Settings, dict[str, str]]:
        names = {"CLIP_SCORING_DATABASE_URL": database, "CLIP_SCORING_SOURCES": sources}
        return Settings.from_environment(names), {
            **os.environ,
            **names,
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
        }

    return made


def score_half(settings: Settings) -> None:
    """The run `night`: one shard done, the next one stopped within, the last one untouched."""
    plan = plan_run(settings, NIGHT, run_key="night", trigger=Trigger.CLI).plan
    first, second, _ = (shard.shard_id for shard in plan.shards)
    done: list[object] = []
    with open_run(settings, run_key="night") as run:
        run.score(first, weights=None)
        with pytest.raises(Interrupted):
            run.score(second, weights=None, stopping=lambda: len(done) == 2, committed=done.append)


def unbroken(settings: Settings) -> None:
    plan = plan_run(settings, NIGHT, run_key="night", trigger=Trigger.CLI).plan
    with open_run(settings, run_key="night") as run:
        for shard in plan.shards:
            run.score(shard.shard_id, weights=None)
        run.finish()


# Above 60 s: a dozen commands, each from nothing, with scoring among them.
def test_each_command_shows_what_the_page_shows_and_the_night_goes_on_after_a_restore(
    empty_database: str,
    database: str,
    settings_of: Callable[[str], tuple[Settings, dict[str, str]]],
    tmp_path: Path,
) -> None:
    settings, environment = settings_of(empty_database)
    shell, world = Shell(environment, tmp_path), World(connect_engine(empty_database))
    for language, block in blocks(PAGE):
        assert language == "console", language
        for command, shown in commands(block):
            if "doctor" in command:
                load_sample(settings, tmp_path / "sample")
            if "pg_dump" in command:
                world.sql("TRUNCATE clip.score, clip.rejection, clip.shard, clip.run CASCADE")
                score_half(settings)
                before = world.sql(SCORES)
            check_shown(shown, shell.run(command, tmp_path))
    assert 0 < len(before) < 220
    world.check_invariants()
    assert world.sql("SELECT epoch FROM clip.shard ORDER BY number") == [(1,), (2,), (1,)]

    other, _ = settings_of(database)
    load_sample(other, tmp_path / "sample")
    unbroken(other)
    assert world.sql(SCORES) == World(connect_engine(database)).sql(SCORES)


def test_each_alarm_has_its_line() -> None:
    rules = yaml.safe_load(ALERTS.read_text())["groups"]
    named = {rule["alert"] for group in rules for rule in group["rules"]}
    assert named == set(re.findall(r"^\| `(Clip\w+)`", PAGE.read_text(), re.MULTILINE))


def test_each_link_leads_to_a_place() -> None:
    for path, anchor in LINK.findall(PAGE.read_text()):
        target = PAGE.parent / path if path else PAGE
        assert target.exists(), path
        heads = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
        anchors = {"#" + re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in heads}
        assert not anchor or anchor in anchors, f"{path}{anchor}"
