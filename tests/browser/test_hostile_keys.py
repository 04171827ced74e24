"""Keys of records that are written to be executed, in Airflow's own pages, its API and ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from stack.crew import DAG
from tests.support.night import Night, wait_for

KEYS = (
    "{{ conn.clip_scoring_db.password }}",  # what sorts last is the end of the shard's range
    "{{ 7 * 7 }}",
    "{% x",
    "{# x",
    "k" * 300,
    "\x02\x1b[31m\r\n",  # what sorts first is its beginning
    "\u202esdrawkcab\u202c",
    "<script>window.__pwn = 1</script>",
)
PLACE = "/api/v2/dags/{dag}/dagRuns/{run}"


@pytest.fixture(scope="module")
def run(night: Night) -> Iterator[str]:
    """A finished run over a table with these keys, each of them the first or last of a shard."""
    night.world.sql(
        "CREATE TABLE public.hostile (key text COLLATE "
        '"C" PRIMARY KEY, image_uri text, caption text, created_at timestamptz NOT NULL)'
    )
    night.world.sql("GRANT SELECT ON public.hostile TO clip_reader")
    for key in KEYS:
        night.world.sql(
            "INSERT INTO public.hostile VALUES (:key, 'images/140.webp', :key, '2026-01-02')",
            key=key,
        )
    sources = night.site.state.sources
    written = sources.read_text()
    roots = written[written.index("image_roots") :]
    place = "  hostile:\n    kind: postgres\n    table: public.hostile\n"
    sources.write_text(f"{written}{place}    {roots}")
    night.reparse()
    details = f"/api/v2/dags/{DAG}/details"

    def known() -> bool:
        return "hostile" in night.api.get(details)["params"]["source"]["schema"]["enum"]

    wait_for(known, "the source in the form")
    name = night.trigger(source="hostile", batch_size=1, shard_size=1)
    assert night.ended(name) == "success"
    yield name
    sources.write_text(written)
    night.reparse()
    night.world.sql("DROP TABLE public.hostile")


def everything(night: Night, run: str) -> Iterator[Any]:
    """All that Airflow's API tells about a run: tasks, what they hand on, what they logged."""
    place = PLACE.format(dag=DAG, run=run)
    yield night.api.get(place)
    tasks = night.api.get(f"{place}/taskInstances?limit=100")["task_instances"]
    assert len(tasks) == len(KEYS) + 2
    for task in tasks:
        yield task
        task_id, index = task["task_id"], task["map_index"]
        one = f"{place}/taskInstances/{task_id}"
        for entry in night.api.get(f"{one}/xcomEntries?map_index={index}")["xcom_entries"]:
            yield night.api.get(f"{one}/xcomEntries/{entry['key']}?map_index={index}")
        yield night.api.get(f"{one}/logs/1?map_index={index}")


def test_every_record_is_scored_whatever_its_key_says(night: Night, run: str) -> None:
    assert night.world.sql("SELECT state, planned, scored FROM clip.run") == [
        ("succeeded", len(KEYS), len(KEYS))
    ]
    stored = "SELECT record_key FROM clip.score WHERE source = 'hostile'"
    assert {key for (key,) in night.world.sql(stored)} == set(KEYS)


def test_nothing_is_executed_and_no_key_leaves_the_database(night: Night, run: str) -> None:
    password = night.site.login.password
    labels = set()
    for answer in everything(night, run):
        text = json.dumps(answer, ensure_ascii=False)
        assert password not in text
        if "content" in answer:
            continue  # the worker's log names offsets, for who looks for them
        labels.add(answer.get("rendered_map_index"))
        for key in KEYS:
            assert key not in text
            assert json.dumps(key) not in text
    assert labels >= {f"shard {number}: 1 records" for number in range(len(KEYS))}


def test_the_pages_show_keys_as_they_are_written(page: Page, night: Night, run: str) -> None:
    page.goto(f"{night.site.url}/dags/{DAG}/runs/{run}/tasks/score/mapped")
    expect(page.get_by_text("shard 7: 1 records").first).to_be_visible()
    assert night.site.login.password not in page.content()
    for path in (f"/runs/by-key?run_key={DAG}/{run}", f"/runs/by-key?run_key={DAG}/{run}&shard=0"):
        page.goto(f"{night.site.url}/clip{path}")
        assert night.site.login.password not in page.content()
    ((run_id,),) = night.world.sql("SELECT max(id) FROM clip.run")
    page.goto(f"{night.site.url}/clip/runs/{run_id}/pairs?order=lowest")
    expect(page.get_by_text("{{ 7 * 7 }}").first).to_be_visible()
    assert page.evaluate("window.__pwn") is None
