"""The DAG: what parsing it loads, what it is made of, and one whole run in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.world import World

REPOSITORY = Path(__file__).parents[2]
PARSE = """
import json, sys
sys.path[:0] = [{plugins!r}, {dags!r}]
import score_pairs
dag = score_pairs.dag
print(json.dumps({{
    "loaded": sorted(set(sys.modules) & {{"torch", "transformers", "psycopg2", "psycopg", "asyncpg",
                                         "PIL", "clip_scoring.wiring"}}),
    "tasks": {{each.task_id: sorted(each.downstream_task_ids) for each in dag.tasks}},
    "pool": dag.get_task("score").partial_kwargs["pool"],
    "queue": dag.get_task("score").partial_kwargs["queue"],
    "rule": dag.get_task("finish").trigger_rule,
    "params": list(dag.params),
}}))
"""


@pytest.fixture(scope="module")
def parsed() -> dict[str, object]:
    """What a fresh interpreter sees of the DAG file."""
    script = PARSE.format(plugins=str(REPOSITORY / "plugins"), dags=str(REPOSITORY / "dags"))
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=REPOSITORY
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_parsing_the_dag_loads_neither_torch_nor_a_database_driver(
    parsed: dict[str, object],
) -> None:
    assert parsed["loaded"] == []


def test_the_dag_plans_scores_mapped_shards_on_the_gpu_queue_and_always_finishes(
    parsed: dict[str, object],
) -> None:
    assert parsed["tasks"] == {"plan": ["score"], "score": ["finish"], "finish": []}
    assert (parsed["pool"], parsed["queue"], parsed["rule"]) == ("gpu", "gpu", "all_done")


def test_the_form_offers_every_option_of_a_run(parsed: dict[str, object]) -> None:
    from clip_scoring.options import RunOptions

    assert set(parsed["params"]) == set(RunOptions.__dataclass_fields__)  # type: ignore[call-overload]


@pytest.fixture
def three_images(
    world: World,
    tmp_path: Path,
    database: str,
    sources_file: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """Three pairs, one of them without its file, and an Airflow that knows where."""
    for name in ("red", "blue"):
        Image.new("RGB", (80, 60), name).save(tmp_path / f"{name}.png")
    world.add({1: ("red.png", "red"), 2: ("blue.png", "blue"), 3: ("gone.png", "nothing")})
    monkeypatch.setenv("AIRFLOW_CONN_CLIP_SCORING_DB", database)
    monkeypatch.setenv("CLIP_SCORING_SOURCES", str(sources_file(tmp_path)))
    return world


@pytest.fixture
def dag(airflow_database: None):  # type: ignore[no-untyped-def]
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(REPOSITORY / "dags")
    assert bag.import_errors == {}
    return bag.dags["clip_scoring"]


def test_a_manual_run_scores_what_is_pending_and_writes_its_figures(  # type: ignore[no-untyped-def]
    three_images: World, dag
) -> None:
    done = dag.test(run_conf={"day": "2026-01-01", "batch_size": 2, "shard_size": 2})
    assert done.state == "success"
    assert three_images.sql(
        "SELECT \"trigger\", state, planned, scored, rejected, metrics ->> 'pending' FROM clip.run"
    ) == [("manual", "succeeded", 3, 2, 1, "0")]
    assert three_images.sql("SELECT record_key, reason FROM clip.rejection") == [
        ("3", "object_not_found")
    ]
    three_images.check_invariants()


def test_a_dry_run_writes_nothing(three_images: World, dag) -> None:  # type: ignore[no-untyped-def]
    done = dag.test(run_conf={"day": "2026-01-01", "dry_run": True})
    assert done.state == "success"
    assert three_images.sql("SELECT count(*) FROM clip.run") == [(0,)]


def test_a_gate_that_trips_turns_the_run_red(three_images: World, dag) -> None:  # type: ignore[no-untyped-def]
    done = dag.test(run_conf={"day": "2026-01-01", "max_rejection_rate": 0.1})
    assert done.state == "failed"
    assert three_images.sql("SELECT state, metrics ->> 'failures' FROM clip.run") == [
        ("failed", '["rejection rate 0.3333 above the limit 0.1"]')
    ]
