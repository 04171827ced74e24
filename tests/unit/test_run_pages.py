"""Pages of runs, rendered from values as the database's reader makes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest
from starlette.requests import Request

from clip_airflow.web import routes
from clip_scoring.nightly.pages import Pages
from clip_scoring.overview import RunDetail, ShardDetail
from clip_scoring.run_metrics import RunMetrics

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUN = RunDetail(
    id=1, run_key="by-hand", source="records", trigger="cli", state="running", stalled=False,
    window_start=None, window_stop=NOON, planned=7, held=0, arrived=0, vanished=0, scored=0,
    rejected=0, live_scored=2, live_rejected=1, started_at=NOON, finished_at=None, as_of=NOON,
    wall_seconds=None, bottleneck=None, metrics=RunMetrics(), fingerprint_id=1, digest="ab12",
    parts={"tier": "exact"},
)  # fmt: skip
SHARD = ShardDetail(
    number=0, start_key=1, stop_key=8, offset=1, state="open", epoch=0, tries=0, planned=7,
    scored=2, rejected=1, worker=None, device=None, leased=True,
)  # fmt: skip


def page_of(run: RunDetail) -> str:
    """The page of the run as a reader sees it, without its markup."""
    reports = SimpleNamespace(
        run=lambda _: run,
        histograms_before=lambda *_: [],
        rejections=lambda *_, **__: [],
        shards=lambda _: [SHARD],
    )
    library = cast("Pages", SimpleNamespace(reports=reports))
    answer = routes.run(Request({"type": "http"}), library, run.id)
    return bytes(answer.body).decode()


def fact(page: str, name: str) -> str:
    return page.partition(f"<dt>{name}</dt><dd>")[2].partition("</dd>")[0]


def test_a_run_under_way_shows_what_its_shards_have_so_far() -> None:
    page = page_of(RUN)
    assert [fact(page, name) for name in ("scored", "pending", "drift", "devices")] == [
        "2", "4", "–", "–",
    ]  # fmt: skip
    assert "Why it failed" not in page


def test_an_abandoned_run_has_a_page_without_figures() -> None:
    page = page_of(replace(RUN, state="abandoned"))
    assert (fact(page, "pending"), fact(page, "verdict")) == ("–", "–")
    assert "The run scored nothing." in page


@pytest.mark.parametrize(
    ("devices", "unit"), [((), "GPU"), (("cpu",), "CPU worker"), (("NVIDIA H200",), "GPU")]
)
def test_the_cost_is_in_seconds_of_what_worked(devices: tuple[str, ...], unit: str) -> None:
    metrics = RunMetrics(devices=devices, stage_seconds={"wall": 90.0})
    page = page_of(replace(RUN, state="succeeded", wall_seconds=90.0, metrics=metrics))
    assert fact(page, "cost") == f"90.0 {unit}-seconds"


def test_why_a_run_failed_stands_on_its_page() -> None:
    metrics = RunMetrics(failures=("shard 0: <b>not finished</b>",), pending=3)
    page = page_of(replace(RUN, state="failed", metrics=metrics))
    assert "<li>shard 0: &lt;b&gt;not finished&lt;/b&gt;</li>" in page
    assert fact(page, "pending") == "3"


def test_a_run_of_an_older_program_has_a_page() -> None:
    old = RunMetrics.of_json({"stage_seconds": {"wall": 2.0, "score": 1.0}})
    page = page_of(replace(RUN, state="succeeded", scored=7, metrics=old))
    assert fact(page, "scored") == "7"
