"""The pages: runs, one run, one shard, its pairs, any pair, and small pictures."""

# No postponed annotations here, see app.py.

import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from clip_airflow.web import reader
from clip_airflow.web.figures import (
    TIMELINE_DAYS,
    distribution,
    mean_similarity,
    stages,
    timeline,
)
from clip_airflow.web.pairs import pairs_of_run, shown
from clip_airflow.web.templating import render
from clip_scoring.nightly.pages import Pages, RunFilter
from clip_scoring.nightly.thumbnails import NoThumbnail
from clip_scoring.overview import RunDetail
from clip_scoring.quality import DRIFT_RUNS
from clip_scoring.runs import Trigger

pages = APIRouter()
Library = Annotated[Pages, Depends(reader.pages)]
RUNS_A_PAGE = 50
PAIRS_A_PAGE = 25
MOST_COUNTED = 10_000
_NUMBER = re.compile(r"[0-9]{1,6}")
STATES = ("running", "succeeded", "failed", "abandoned")
Text = Annotated[str, Query(max_length=1024)]
Id = Annotated[int, Query(ge=0, lt=2**62)]


@pages.get("/")
def start(request: Request) -> Response:
    """The list of runs."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/runs", 303)


@pages.get("/runs")
def runs(
    request: Request,
    library: Library,
    source: Text = "",
    state: Text = "",
    trigger: Text = "",
    below: Id = 0,
) -> Response:
    """All runs, newest first, and how the last 60 days went."""
    chosen = RunFilter(source or None, state or None, trigger or None)
    now = datetime.now(UTC)
    since = now - timedelta(days=TIMELINE_DAYS)
    return _page(
        request,
        "runs.html",
        page=library.reports.runs(chosen, below=below or None, most=RUNS_A_PAGE),
        days=timeline(library.reports.days(since=since, source=chosen.source), now.date()),
        chosen=asdict(chosen),
        query="".join(f"{name}={quote(value)}&" for name, value in asdict(chosen).items() if value),
        choices={
            "source": list(library.sources),
            "state": list(STATES),
            "trigger": [str(trigger) for trigger in Trigger],
        },
        now=now,
    )


@pages.get("/runs/by-key")
def by_key(request: Request, library: Library, run_key: Text, shard: Text = "") -> Response:
    """Where the links and tabs of a DAG run and its tasks lead.

    The tab of a task that is not mapped says `{MAP_INDEX}`, or -1: it shows the run.
    """
    run_id = library.reports.run_id(run_key)
    if run_id is None:
        return _page(request, "no_run.html", run_key=run_key)
    part = f"/shards/{int(shard)}" if _NUMBER.fullmatch(shard) else ""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/runs/{run_id}{part}", 303)


@pages.get("/runs/{run_id}")
def run(request: Request, library: Library, run_id: int) -> Response:
    """One run: what came of it, and what it took."""
    shown_run = _run(library, run_id)
    before = library.reports.histograms_before(shown_run, DRIFT_RUNS)
    metrics = shown_run.metrics
    return _page(
        request,
        "run.html",
        run=shown_run,
        bars=distribution(metrics.histogram, before),
        compared=len(before),
        mean=mean_similarity(metrics.histogram),
        stages=stages(metrics.stage_seconds),
        reasons=library.reports.rejections(run_id, most=MOST_COUNTED),
        most_counted=MOST_COUNTED,
        shards=library.reports.shards(run_id),
        price=reader.price(),
    )


@pages.get("/runs/{run_id}/shards/{number}")
def shard(request: Request, library: Library, run_id: int, number: int) -> Response:
    """One shard of a run: its range, who has worked on it, how far it is."""
    run = _run(library, run_id)
    shard = next(
        (shard for shard in library.reports.shards(run_id) if shard.number == number), None
    )
    if shard is None:
        raise HTTPException(404, f"run {run_id} has no shard {number}")
    return _page(request, "shard.html", run=run, shard=shard, stages=stages(shard.seconds))


@pages.get("/runs/{run_id}/pairs")
def pairs(
    request: Request,
    library: Library,
    run_id: int,
    order: Text = "lowest",
    start: Annotated[int, Query(ge=0, le=1000)] = 0,
) -> Response:
    """The pairs of a run that fit least, or best."""
    if order not in {"lowest", "highest"}:
        raise HTTPException(404, "pairs are ordered lowest or highest")
    run = _run(library, run_id)
    metrics = run.metrics
    ranked = metrics.lowest if order == "lowest" else metrics.highest
    return _page(
        request,
        "pairs.html",
        run=run,
        order=order,
        start=start,
        total=len(ranked),
        size=PAIRS_A_PAGE,
        pairs=pairs_of_run(library, run, ranked[start : start + PAIRS_A_PAGE]),
    )


@pages.get("/pairs")
def pair(request: Request, library: Library, source: Text = "", key: Text = "") -> Response:
    """Any record by its key, with its outcomes under each fingerprint."""
    asked = bool(source and key)
    if asked and source not in library.sources:
        raise HTTPException(404, "the source is not registered")
    return _page(
        request,
        "pair.html",
        source=source,
        key=key,
        sources=library.sources,
        pair=shown(library, source, key) if asked else None,
        outcomes=library.reports.outcomes(source, key) if asked else [],
    )


@pages.get("/picture")
async def picture(library: Library, source: Text, key: Text) -> Response:
    """A small picture of a record's image, from allowed roots and buckets only."""
    if source not in library.sources:
        raise HTTPException(404, "the source is not registered")
    record = (await run_in_threadpool(library.find, source, [key])).get(key)
    if record is None:
        raise HTTPException(404, "there is no such record")
    try:
        encoded = await reader.thumbnails(source).picture(record)
    except NoThumbnail as missing:
        raise HTTPException(404, str(missing)) from missing
    caching = {"Cache-Control": "private, max-age=300"}
    return Response(encoded, media_type="image/jpeg", headers=caching)


def _run(library: Pages, run_id: int) -> RunDetail:
    run = library.reports.run(run_id) if 0 < run_id < 2**62 else None
    if run is None:
        raise HTTPException(404, f"there is no run {run_id}")
    return run


def _page(request: Request, template: str, **values: object) -> HTMLResponse:
    return HTMLResponse(render(request, template, **values))
