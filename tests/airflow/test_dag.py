"""The DAG: what parsing it loads, what it is made of, and one whole run in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support.world import World

# Airflow reads plugins/.airflowignore with a class that its own dependency has deprecated.

REPOSITORY = Path(__file__).parents[2]
PARSE = """
import json, sys
sys.path[:0] = [{plugins!r}, {dags!r}]
import score_pairs
dag = score_pairs.dag
print(json.dumps({{
    "loaded": sorted(set(sys.modules) & {{"torch", "transformers", "psycopg2", "psycopg", "asyncpg",
                                         "PIL", "clip_scoring.nightly.run"}}),
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
    from clip_scoring.settings.run_options import RunOptions

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


def emitted(run) -> list[tuple[str, str, str | None, dict[str, object]]]:  # type: ignore[no-untyped-def]
    """Name, address and partition of the assets that a run changed, and what it said about them."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    chosen = (AssetModel.name, AssetModel.uri, AssetEvent.partition_key, AssetEvent.extra)
    with create_session() as session:
        found = select(*chosen).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        return [tuple(row) for row in session.execute(found.filter_by(source_run_id=run.run_id))]  # type: ignore[misc]


def left_by(run, task_id: str, key: str) -> object:  # type: ignore[no-untyped-def]
    """The XCom of that key."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    place = {"run_id": run.run_id, "task_id": task_id, "key": key}
    with create_session() as session:
        value = session.scalar(select(XComModel.value).filter_by(**place))
        return json.loads(value) if isinstance(value, str) else value


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
    counts = {"planned": 3, "scored": 2, "rejected": 1, "pending": 0}
    what = {"run_key": f"clip_scoring/{done.run_id}", "source": "records", "day": "2026-01-01"}
    assert emitted(done) == [("clip_scoring/records", "clip://records/", None, {**what, **counts})]


def test_a_dry_run_shows_what_would_be_planned_and_writes_nothing(  # type: ignore[no-untyped-def]
    three_images: World, dag
) -> None:
    conf = {"day": "2026-01-01", "batch_size": 2, "shard_size": 2, "dry_run": True}
    done = dag.test(run_conf=conf)
    assert done.state == "success"
    assert three_images.sql("SELECT count(*) FROM clip.run") == [(0,)]
    assert emitted(done) == []
    preview = left_by(done, "plan", "preview")
    assert isinstance(preview, dict)
    assert len(preview.pop("fingerprint")) == 12
    assert preview == {
        "planned": 3, "reserved": 0, "shards": 2, "shard_size": 2,
        "window": {"start": None, "stop": "2026-01-02T00:00:00+00:00"},
    }  # fmt: skip


def test_a_gate_that_trips_turns_the_run_red(three_images: World, dag) -> None:  # type: ignore[no-untyped-def]
    done = dag.test(run_conf={"day": "2026-01-01", "max_rejection_rate": 0.1})
    assert done.state == "failed"
    assert three_images.sql("SELECT state, metrics ->> 'failures' FROM clip.run") == [
        ("failed", '["rejection rate 0.3333 above the limit 0.1"]')
    ]
    assert done.get_task_instance("finish").try_number == 1
    assert emitted(done) == []
