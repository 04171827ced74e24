"""The sample records through the whole library: every record gets the outcome it was made for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest

from clip_scoring.nightly.plan import plan as plan_run
from clip_scoring.nightly.run import open_run
from clip_scoring.nightly.setup import load_sample
from clip_scoring.runs import RunSummary, Trigger
from clip_scoring.sample.records import SampleKind
from clip_scoring.settings.environment import Settings
from clip_scoring.settings.run_options import RunOptions
from tests.support.world import World


@pytest.fixture
def scored(
    world: World, database: str, tmp_path: Path, sources_file: Callable[[Path], Path]
) -> tuple[World, RunSummary, dict[str, dict[str, str]]]:
    """The world after one run over the sample, and the sample's own list by key."""
    folder = tmp_path / "sample"
    folder.mkdir()
    settings = Settings.from_environment(
        {"CLIP_SCORING_DATABASE_URL": database, "CLIP_SCORING_SOURCES": str(sources_file(folder))}
    )
    assert load_sample(settings, folder) == 240
    assert load_sample(settings, folder) == 0
    options = RunOptions.of_params({"day": "2026-01-03", "shard_size": 100})
    plan = plan_run(settings, options, run_key="sample", trigger=Trigger.CLI).plan
    with open_run(settings, run_key="sample") as run:
        for shard in plan.shards:
            run.score(shard.shard_id, weights=None)
        summary = run.finish()
    listed = json.loads((folder / "records.json").read_text())
    return world, summary, {str(each["key"]): each for each in listed}


def test_every_record_of_the_sample_gets_the_outcome_it_was_made_for(
    scored: tuple[World, RunSummary, dict[str, dict[str, str]]],
) -> None:
    world, summary, listed = scored
    assert str(summary) == "planned 240  scored 220  rejected 20  pending 0"
    assert summary.failures == ()
    reasons = dict(world.sql("SELECT record_key, reason FROM clip.rejection"))
    assert reasons == {
        key: each["expected_reason"] for key, each in listed.items() if each["expected_reason"]
    }

    similarities = dict(world.sql("SELECT record_key, similarity FROM clip.score"))
    matched, mismatched = (
        [similarities[key] for key, each in listed.items() if each["kind"] == kind]
        for kind in (SampleKind.MATCHED, SampleKind.MISMATCHED)
    )
    assert (len(matched), len(mismatched)) == (200, 20)
    assert median(matched) > median(mismatched) + 0.3
    higher = sum(good > bad for good in matched for bad in mismatched)
    assert higher / (len(matched) * len(mismatched)) > 0.97
    world.check_invariants()
