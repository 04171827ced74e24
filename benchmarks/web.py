"""The pages in the Airflow UI over ten thousand runs and ten million scores, by a real server."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.request import Request

from sqlalchemy import Engine, text

from benchmarks.database import slow_sql, vacuum, version_of
from benchmarks.figures import Figure, Result, in_turns, middle
from clip_scoring.database.connection import connect_engine, query, transaction
from clip_scoring.records import Reason
from clip_scoring.run_metrics import RunMetrics
from stack.crew import Crew, bring_up
from stack.layout import State
from stack.rest import OPENER, Api
from tests.support.world import World

RUNS, QUICK_RUNS = 10_000, 1_000
SCORES_A_RUN, QUICK_SCORES = 1_000_000, 10_000
LARGE_RUNS = 10
"""As many of the runs have their scores in the table; together ten million."""
SHARDS = 1_000
ROUNDS, QUICK_ROUNDS = 15, 3
LIMIT_MS = 300.0

ADD_RUNS = """
INSERT INTO clip.run (run_key, source, fingerprint_id, window_stop, "trigger", rescore, batch_size,
                      state, planned, scored, rejected, started_at, finished_at, metrics)
SELECT 'old/' || n, 'records', 1, now(), 'scheduled', 'missing', 64,
       CASE WHEN n % 97 = 0 THEN 'failed' ELSE 'succeeded' END, 1000000, 990000, 10000,
       now() - (:runs - n) * interval '20 minutes', now(), CAST(:metrics AS jsonb)
FROM generate_series(1, :runs) AS n
"""
ADD_SHARDS = """
INSERT INTO clip.shard (run_id, number, start_key, stop_key, "offset", planned, scored, rejected,
                        state, lease_until, measures)
SELECT :run, n, to_jsonb(n * 1000), to_jsonb((n + 1) * 1000), to_jsonb((n + 1) * 1000), 1000, 990,
       10, 'done', now(), '{"seconds": {"wall": 9, "read": 1, "decode": 2, "score": 6}}'
FROM generate_series(0, :shards - 1) AS n
"""
ADD_SCORES = """
INSERT INTO clip.score (source, record_key, fingerprint_id, similarity, caption_truncated,
                        input_md5, run_id, shard_id)
SELECT 'records', (:first + n)::text, 1, sin(n) / 2, false, md5('')::uuid, :run, n % 1000
FROM generate_series(1, :scores) AS n
"""
ADD_REJECTIONS = """
INSERT INTO clip.rejection (source, record_key, fingerprint_id, reason, next_attempt_at, input_md5,
                            run_id, shard_id)
SELECT 'records', 'r' || :first + n, 1, CASE n % 3 WHEN 0 THEN 'timeout' WHEN 1 THEN
       'image_undecodable' ELSE 'http_404_410' END, CASE n % 3 WHEN 0 THEN now() END,
       md5('')::uuid, :run, n % 1000
FROM generate_series(1, :scores / 20) AS n
"""
ADD_RECORDS = """
INSERT INTO clip.record (key, image_uri, caption, created_at)
SELECT 1000 + n, 'images/' || n || '.jpg', 'a picture of thing number ' || n, now()
FROM generate_series(1, :scores) AS n ON CONFLICT DO NOTHING
"""


def measure(quick: bool) -> Result:
    """Medians of whole requests, login and access checks included, and what the plans go by."""
    runs, scores = (QUICK_RUNS, QUICK_SCORES) if quick else (RUNS, SCORES_A_RUN)
    with tempfile.TemporaryDirectory(prefix="clip-benchmark-") as folder:
        crew = Crew(State(Path(folder)))
        try:
            site, api = bring_up(crew, scheduled=False, say=lambda _: None)
            world = World(connect_engine(site.database_url))
            _fill(world, runs, scores)
            seconds = _ask(api, runs, QUICK_ROUNDS if quick else ROUNDS)
            plans = dict(_plans(world.engine, runs))
            version = version_of(world)
        finally:
            crew.stop()
            crew.state.remove()
    for name, scans in plans.items():
        print(f"  {name}: {', '.join(scans)}")
    return Result(
        [*_figures(seconds), _scans(plans)], version, {"seconds": seconds, "plans": plans}
    )


def _fill(world: World, runs: int, scores: int) -> None:
    world.sql("INSERT INTO clip.fingerprint (digest, parts) VALUES (repeat('a', 64), :parts)",
              parts=json.dumps({"tier": "exact", "dtype": "float32"}))  # fmt: skip
    slow_sql(world, ADD_RUNS, runs=runs, metrics=json.dumps(_metrics()))
    for large in range(LARGE_RUNS):
        run = runs - large
        named = {"run": run, "first": 1000 + large * scores, "scores": scores}
        slow_sql(world, ADD_SCORES, ADD_REJECTIONS, **named)
        slow_sql(world, ADD_SHARDS, run=run, shards=SHARDS)
    slow_sql(world, ADD_RECORDS, scores=scores)
    vacuum(world)


def _metrics() -> dict[str, object]:
    """As large as those of a real run."""
    ranked = [(str(1001 + n), n / 1000) for n in range(100)]
    return RunMetrics(
        stage_seconds={"wall": 9000.0, "read": 100.0, "fetch": 50.0, "decode": 900.0,
                       "score": 7800.0, "commit": 200.0},
        bottleneck="score-bound: add a GPU, or a faster one",
        histogram={place: 1000 + place for place in range(-300, 500)},
        rejections={"timeout": 5000, "image_undecodable": 5000},
        devices=("cpu",), pending=0, drift=0.001, lowest=ranked, highest=ranked[::-1],
    ).as_json()  # fmt: skip


def _pages(runs: int) -> dict[str, str]:
    return {
        "runs": "/runs",
        "runs, far back and filtered": f"/runs?state=failed&below={runs // 2}",
        "one run of 1,000 shards": f"/runs/{runs}",
        "one shard of it": f"/runs/{runs}/shards/500",
        "its lowest pairs": f"/runs/{runs}/pairs?order=lowest",
        "a pair by its key": "/pairs?source=records&key=1500",
    }


def _ask(api: Api, runs: int, rounds: int) -> dict[str, list[float]]:
    pages = _pages(runs)
    for path in pages.values():
        _get(api, path)  # what is loaded once is loaded now
    return in_turns(
        rounds,
        {name: partial(_get, api, path) for name, path in pages.items()},
        between=lambda: None,
    )


def _get(api: Api, path: str) -> float:
    request = Request(f"{api.url}/clip{path}")  # noqa: S310  # our own server
    request.add_header("Authorization", f"Bearer {api.token}")
    started = perf_counter()
    with OPENER.open(request, timeout=60) as answer:
        answer.read()
    return perf_counter() - started


def _figures(seconds: Mapping[str, list[float]]) -> Iterator[Figure]:
    for name, taken in seconds.items():
        milliseconds = 1000 * middle(taken)
        met = {f"<= {LIMIT_MS:.0f} ms": milliseconds <= LIMIT_MS}
        yield Figure(f"page: {name}", milliseconds, "ms", targets=met)


def _plans(engine: Engine, runs: int) -> Iterator[tuple[str, list[str]]]:
    """How PostgreSQL reads each table for each of the pages' queries."""
    scope: dict[str, Any] = {"source": "records", "fingerprint_id": 1, "run_id": runs}
    every: dict[str, Any] = {"source": None, "state": None, "trigger": None, "most": 51}
    asked: dict[str, dict[str, Any]] = {
        "older_runs": {**every, "edge": runs}, "newer_runs": {**every, "edge": runs // 2},
        "days": {"since": "yesterday", "source": None}, "run_in_full": {"run_id": runs},
        "run_id_of_key": {"run_key": "old/5"}, "histograms_before": {**scope, "most": 7},
        "shards_of_page": {"run_id": runs},
        "reasons_of_page": {"run_id": runs, "reasons": list(Reason), "most": 10_000},
        "scores_of_keys": {**scope, "keys": [str(key) for key in range(1001, 1026)]},
        "outcomes_of_record": {"source": "records", "key": "1500"},
    }  # fmt: skip
    with transaction(engine) as connection:
        for name, values in asked.items():
            explained = text(f"EXPLAIN (FORMAT JSON) {query(name).text}")
            used = set(explained.compile().params)
            given = {each: value for each, value in values.items() if each in used}
            (tree,) = connection.execute(explained, given).scalar_one()
            yield name, sorted(set(_reads(tree["Plan"])))


def _reads(node: Mapping[str, Any]) -> Iterator[str]:
    if table := node.get("Relation Name"):
        by = f" by {node['Index Name']}" if "Index Name" in node else ""
        yield f"{node['Node Type']} of {table}{by}"
    for each in node.get("Plans", []):
        yield from _reads(each)


def _scans(plans: Mapping[str, list[str]]) -> Figure:
    tables = ("score", "rejection", "shard", "run")
    found = [each for reads in plans.values() for each in reads]
    scans = sum(each in {f"Seq Scan of {table}" for table in tables} for each in found)
    return Figure("tables read from end to end by any page", scans, "", targets={"0": scans == 0})
