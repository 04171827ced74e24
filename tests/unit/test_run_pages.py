"""Pages of runs, rendered from values as the database's reader makes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest
from starlette.requests import Request
from starlette.responses import Response

from clip_airflow.web import routes
from clip_scoring.database.pages import RunPage
from clip_scoring.nightly.pages import Pages
from clip_scoring.overview import DayTotals, ListedRun, RecordOutcome, RunDetail, ShardDetail
from clip_scoring.run_metrics import RunMetrics

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUN = RunDetail(
    id=1, run_key="by-hand", source="records", trigger="cli", state="running", stalled=False,
    window_start=None, window_stop=NOON, planned=7, reserved=0, arrived=0, vanished=0, scored=0,
    rejected=0, live_scored=2, live_rejected=1, started_at=NOON, finished_at=None, as_of=NOON,
    wall_seconds=None, bottleneck=None, metrics=RunMetrics(), fingerprint_id=1, digest="ab12",
    parts={"tier": "exact"},
)  # fmt: skip
SHARD = ShardDetail(
    number=0, start_key=1, stop_key=8, offset=1, state="open", epoch=0, tries=0, planned=7,
    scored=2, rejected=1, worker=None, device=None, leased=True,
)  # fmt: skip


REQUEST = Request({"type": "http"})


def library_of(**reports: object) -> Pages:
    """Reports that answer so, over a source of files whose records nobody looks up."""
    return cast(
        "Pages",
        SimpleNamespace(
            reports=SimpleNamespace(**reports),
            sources=("records",),
            finds_many=lambda _: False,
            find=lambda *_: {},
        ),
    )


def body(answer: Response) -> str:
    return bytes(answer.body).decode()


def page_of(run: RunDetail) -> str:
    library = library_of(
        run=lambda _: run,
        histograms_before=lambda *_: [],
        rejections=lambda *_, **__: [],
        shards=lambda _: [SHARD],
    )
    return body(routes.run(REQUEST, library, run.id))


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


def test_the_list_of_runs_has_a_line_for_each_and_a_day_for_what_finished() -> None:
    listed = ListedRun(
        id=7, run_key="nightly", source="records", trigger="scheduled", state="running",
        stalled=True, window_start=None, window_stop=NOON, planned=9, scored=4, rejected=1,
        started_at=NOON, finished_at=None, wall_seconds=2.0, bottleneck=None,
    )  # fmt: skip
    today = datetime.now(UTC).date()
    totals = DayTotals(today, runs=1, failed=0, scored=4, rejected=1, wall_seconds=2.0)
    library = library_of(
        runs=lambda *_, **__: RunPage([listed], older=7, newer=None), days=lambda **_: [totals]
    )
    page = body(routes.runs(REQUEST, library))
    assert '<span class="state stalled">stalled</span>' in page
    assert '<td class="n">2.5</td>' in page
    assert f'<th scope="row">{today}</th><td class="n">1</td>' in page
    assert 'below=7" rel="next"' in page


def test_a_shard_has_a_page_with_its_rate() -> None:
    shard = replace(SHARD, seconds={"wall": 1.5, "score": 1.0})
    page = body(
        routes.shard(REQUEST, library_of(run=lambda _: RUN, shards=lambda _: [shard]), 1, 0)
    )
    assert (fact(page, "pairs/s"), fact(page, "worker")) == ("2.0", "–")


def test_pairs_of_a_run_are_the_lowest_or_the_highest_of_its_metrics() -> None:
    run = replace(RUN, metrics=RunMetrics(lowest=[("a", 0.25)], highest=[("z", 0.75)]))
    library = library_of(run=lambda _: run, scores=lambda *_: {"a": 0.125, "z": 0.75})
    lowest, highest = (
        body(routes.pairs(REQUEST, library, 1, order=order)) for order in ("lowest", "highest")
    )
    assert "<strong>0.2500</strong> (now 0.1250)" in lowest
    assert "<strong>0.7500</strong>" in highest
    assert "0.2500" not in highest
    assert "now" not in highest


def test_a_record_has_a_page_with_its_outcomes() -> None:
    rejected = RecordOutcome(
        digest="ab12", parts={"tier": "exact", "dtype": "float32"}, similarity=None,
        caption_truncated=None, reason="timeout", detail="<i>", attempts=2, next_attempt_at=None,
        run_id=7, at=NOON,
    )  # fmt: skip
    page = body(routes.pair(REQUEST, library_of(outcomes=lambda *_: [rejected]), "records", "a"))
    assert 'timeout: <bdi class="foreign">&lt;i&gt;</bdi>' in page
