"""Metrics of a run: the JSON that databases hold, and what older programs wrote there."""

from __future__ import annotations

import json

import pytest

from clip_scoring.metrics import StageMetrics
from clip_scoring.quality import Ranked
from clip_scoring.run_metrics import RunMetrics
from clip_scoring.runs import RunSummary

LOWEST: Ranked = [("7", -0.25), ("8", 0.5)]
HIGHEST: Ranked = [("8", 0.5), ("7", -0.25)]
STORED = {
    "stage_seconds": {"read": 0.123, "score": 2.5, "wall": 4.0},
    "pairs_per_second": 1.5,
    "bottleneck": "score-bound: add a GPU, or a faster one",
    "bytes": 50,
    "backoffs": 0,
    "peak_memory_bytes": 7,
    "devices": ["cpu"],
    "rejection_rate": 0.333333,
    "pending": 1,
    "failures": ["shard 0: not finished, 1 pending"],
    "rejections": {"timeout": 2},
    "histogram": {"-250": 1, "500": 3},
    "drift": 0.125,
    "lowest": [["7", -0.25], ["8", 0.5]],
    "highest": [["8", 0.5], ["7", -0.25]],
}
"""What `clip.run.metrics` held of this run before its metrics had a type."""


def metrics(*, drift: float | None = 0.125) -> RunMetrics:
    summary = RunSummary(
        planned=6, arrived=1, vanished=0, scored=4, rejected=2, pending=1,
        failures=("shard 0: not finished, 1 pending",),
        measures=StageMetrics(
            {"wall": 4.0, "score": 2.5, "read": 0.12345},
            {"bytes": 50, "backoffs": 0},
            {"memory_bytes": 7},
        ),
        devices=("cpu",),
    )  # fmt: skip
    return RunMetrics.of_summary(
        summary,
        rejections={"timeout": 2},
        histogram={-250: 1, 500: 3},
        drift=drift,
        extremes=(LOWEST, HIGHEST),
    )


def test_the_json_is_what_databases_hold_key_by_key() -> None:
    assert json.loads(json.dumps(metrics().as_json())) == STORED


@pytest.mark.parametrize("drift", [0.125, None])
def test_metrics_come_back_from_json_as_they_went(drift: float | None) -> None:
    written = json.dumps(metrics(drift=drift).as_json())
    assert RunMetrics.of_json(json.loads(written)) == metrics(drift=drift)


def test_a_run_without_a_commit_has_neither_rate_nor_stages() -> None:
    nothing = RunMetrics.of_summary(
        RunSummary.of_shards([]), rejections={}, histogram={}, drift=None, extremes=([], [])
    )
    assert (nothing.pairs_per_second, nothing.bottleneck) == (None, "nothing to do")
    assert (nothing.stage_seconds, nothing.rejection_rate) == ({}, 0.0)


def test_a_run_that_is_not_finished_has_no_metrics() -> None:
    assert RunMetrics.of_json({}) == RunMetrics()


@pytest.mark.parametrize("missing", STORED)
def test_what_an_older_program_did_not_write_is_none_or_empty(missing: str) -> None:
    read = RunMetrics.of_json({name: part for name, part in STORED.items() if name != missing})
    written = read.as_json()
    assert not written.pop(missing, None)
    assert written == {name: part for name, part in STORED.items() if name != missing}


def test_what_a_newer_program_wrote_beside_is_left_alone() -> None:
    assert RunMetrics.of_json({**STORED, "shape": {"rows": 8}, "note": "x"}) == metrics()
