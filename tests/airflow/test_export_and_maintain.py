"""The DAGs beside the nightly one: what starts them, with what, and what comes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyarrow import parquet

from clip_scoring.errors import SettingsInvalid
from stack.crew import DAG
from stack.processes import start
from stack.rest import Refused
from tests.support.night import ENDED, Night, wait_for

REPOSITORY = Path(__file__).parents[2]
DAY = "2026-01-02"
PARSE = """
import json, sys
sys.path[:0] = [{plugins!r}, {dags!r}]
import export_similarities, maintain
waits_for = export_similarities.dag.timetable.asset_condition
print(json.dumps({{
    "loaded": sorted(set(sys.modules) & {{"torch", "pyarrow", "boto3", "psycopg2", "psycopg",
                                         "clip_scoring.nightly.maintenance"}}),
    "assets": [each.uri for each in waits_for.objects],
    "week": maintain.dag.timetable.expression,
    "catchup": maintain.dag.catchup,
    "at once": [export_similarities.dag.max_active_runs, maintain.dag.max_active_runs],
}}))
"""


def test_the_dags_are_light_and_wait_for_every_registered_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "sources.yaml"
    sources.write_text("sources:\n  records: {kind: postgres}\n  shop: {kind: postgres}\n")
    monkeypatch.setenv("CLIP_SCORING_SOURCES", str(sources))
    script = PARSE.format(plugins=str(REPOSITORY / "plugins"), dags=str(REPOSITORY / "dags"))
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=REPOSITORY
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "loaded": [], "assets": ["clip://records/", "clip://shop/"],
        "week": "0 12 * * 0", "catchup": False, "at once": [1, 1],
    }  # fmt: skip


def context(*extras: Mapping[str, Any], run_key: object = None) -> dict[str, Any]:
    events = {"an asset": [SimpleNamespace(extra=each) for each in extras]}
    return {"params": {"run_key": run_key}, "triggering_asset_events": events}


def test_the_run_that_is_named_is_exported_else_those_that_changed_the_asset() -> None:
    from clip_airflow.exports import run_keys_of

    changed = ({"run_key": "clip_scoring/b"}, {"run_key": "a"}, {"run_key": "clip_scoring/b"})
    assert run_keys_of(context(*changed)) == ["clip_scoring/b", "a"]
    named = "clip_scoring/scheduled__2026-01-03T00:00:00+00:00"
    assert run_keys_of(context(*changed, run_key=named)) == [named]


@pytest.mark.parametrize("given", [
    context(), context({}), context({"run_key": 7}), context({"run_key": "a'b"}),
    context({"run_key": "a"}, {"run_key": ""}), context(run_key="a\n"), context(run_key=["a"]),
    context(run_key="x" * 501), context(run_key="é"),
])  # fmt: skip
def test_what_cannot_be_the_key_of_a_run_is_refused(given: dict[str, Any]) -> None:
    from clip_airflow.exports import run_keys_of

    with pytest.raises(SettingsInvalid, match="run_key"):
        run_keys_of(given)


@contextmanager
def schedules(night: Night) -> Iterator[None]:
    """A second scheduler that, unlike the first, starts DAG runs by itself; none of the nightly."""
    night.api.patch(f"/api/v2/dags/{DAG}", {"is_paused": True})
    scheduler = start(replace(night.site, scheduled=True).component("scheduler"))
    try:
        yield
    finally:
        scheduler.stop()
        night.api.patch(f"/api/v2/dags/{DAG}", {"is_paused": False})


@pytest.fixture(scope="module")
def exports(night: Night) -> Iterator[Path]:
    """The folder that the stack's registration names for exports; both DAGs are on."""
    sources, folder = night.site.state.sources, night.site.state.root / "exports"
    before = sources.read_text()
    register(sources, f"{before}exports: {{place: '{folder}'}}\n")
    for dag in ("clip_export", "clip_maintain"):
        night.api.patch(f"/api/v2/dags/{dag}", {"is_paused": False})
    yield folder
    for dag in ("clip_export", "clip_maintain"):
        night.api.patch(f"/api/v2/dags/{dag}", {"is_paused": True})
    register(sources, before)


def register(sources: Path, text: str) -> None:
    """Replace the registration in one step: somebody may be reading it."""
    fresh = sources.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(sources)


def over(night: Night, dag: str, count: int = 1) -> list[dict[str, Any]]:
    """The runs of the DAG, newest first, once there are so many and all have ended."""

    def ended() -> list[dict[str, Any]] | None:
        runs: list[dict[str, Any]] = night.api.get(
            f"/api/v2/dags/{dag}/dagRuns?order_by=-run_after"
        )["dag_runs"]
        return runs if len(runs) == count and all(run["state"] in ENDED for run in runs) else None

    return wait_for(ended, f"end of {dag}")


def result(night: Night, dag: str, run: dict[str, Any], task: str) -> Any:
    """What the task returned."""
    path = f"/api/v2/dags/{dag}/dagRuns/{run['dag_run_id']}/taskInstances/{task}"
    return night.api.get(f"{path}/xcomEntries/return_value?deserialize=true")["value"]


def test_a_green_run_starts_its_export_and_every_week_things_are_tidied_up(
    night: Night, exports: Path
) -> None:
    run = night.trigger(day=DAY, limit=12)
    assert night.ended(run) == "success"
    night.world.sql("UPDATE clip.run SET finished_at = now() - interval '91 days'")
    with schedules(night):
        [export], [week] = over(night, "clip_export"), over(night, "clip_maintain")
    assert (export["run_type"], export["partition_key"], export["state"]) == (
        "asset_triggered", DAY, "success",
    )  # fmt: skip
    file = exports / "records" / DAY / "1.parquet"
    assert result(night, "clip_export", export, "export") == [
        {"run_key": f"{DAG}/{run}", "uri": file.as_uri(), "rows": 12}
    ]
    rows = parquet.read_table(file).to_pylist()
    assert [(row["record_key"], row["similarity"], row["rejection_reason"]) for row in rows] == (
        night.world.sql(
            "SELECT record_key, similarity::float8, rejection_reason FROM clip.similarity "
            "ORDER BY record_key"
        )
    )
    assert (week["run_type"], week["state"]) == ("scheduled", "success")
    assert result(night, "clip_maintain", week, "maintain") == {
        "runs_abandoned": 0, "retries_given_up": 0, "shards_emptied": 1,
    }  # fmt: skip


def test_an_old_run_is_exported_by_hand_and_only_by_its_key(night: Night, exports: Path) -> None:
    [(run_key,)] = night.world.sql("SELECT run_key FROM clip.run")
    file = exports / "records" / DAY / "1.parquet"
    before = file.read_bytes()
    file.unlink()
    path = "/api/v2/dags/clip_export/dagRuns"
    with pytest.raises(Refused, match=r"400 .*run_key"):
        night.api.post(path, {"logical_date": None, "conf": {"run_key": "a; DROP TABLE"}})
    night.api.post(path, {"logical_date": None, "conf": {"run_key": run_key}})
    assert over(night, "clip_export", 2)[0]["state"] == "success"
    assert file.read_bytes() == before
