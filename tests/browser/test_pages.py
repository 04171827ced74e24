"""The Airflow UI in a real browser: runs by hand, a backfill, and our pages beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Page, expect

from stack.crew import DAG
from tests.support.night import Night, wait_for

PICTURES = os.environ.get("CLIP_SCREENSHOTS")
"""A folder that pictures of the pages go to; without it none are made."""
SECTIONS = {"limit": "What", "shard_size": "How", "max_rejection_rate": "Quality gates"}
HOSTILE = {
    2001: "<script>window.__pwn = 1</script>",
    2002: '"><img src=x onerror="window.__pwn = 2">',
    2003: "</script><svg onload=window.__pwn=3>",
    2004: "{{ 7 * 7 }} {% raw %} ${7 * 7}",
    2005: "read \u202ethis backwards\u202c",
    2006: "javascript:window.__pwn=4",
    2007: "x" * 10_000_000,
}
HOSTILE_URIS = {
    2006: "javascript:window.__pwn=5",
    2005: "https://user:secret@example.org/a.jpg?signature=secret#<script>",
}


@pytest.fixture(scope="module", autouse=True)
def airflow(night: Night) -> Night:
    return night


def picture(page: Page, name: str) -> None:
    """Keep a picture of the page for the documentation, if it is being made."""
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", animations="disabled")


def shown(page: Page, night: Night, path: str) -> Page:
    """One of our own pages by itself, its charts drawn."""
    page.goto(f"{night.site.url}/clip{path}")
    charts = page.locator("canvas[data-chart]").count()
    if charts:
        expect(page.locator("html")).to_have_attribute("data-drawn", str(charts))
    return page


def trigger_form(page: Page, night: Night) -> Page:
    page.goto(f"{night.site.url}/dags/{DAG}")
    page.get_by_role("button", name="Trigger").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("Quality gates")
    return page


def opened(page: Page, section: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=section, exact=True).click()


def fill(page: Page, name: str, value: str) -> None:
    field = page.locator(f"input[name={name}]")
    field.fill(value)
    field.press("Tab")


def trigger_by_hand(page: Page, night: Night, run: str, **values: str) -> None:
    """Fill the form as a person would, section by section, and send it."""
    trigger_form(page, night)
    for name, value in values.items():
        opened(page, SECTIONS[name])
        picture(page, f"form-{name}")
        fill(page, f"element_{name}", value)
    opened(page, "Advanced Options")
    fill(page, "dagRunId", run)
    fill(page, "partitionKey", "2026-01-03")
    send(page, "Trigger", f"/dags/{DAG}/dagRuns")


def send(page: Page, button: str, path: str) -> None:
    """Press a button of the dialog, and wait until the server has taken what the form sends.

    Requests pass through this process, which lets them through only while it waits for the page.
    The button is pressed by its key: the form's JSON editor comes late on a slow machine and moves
    the button away from under a mouse that is already down.
    """
    with page.expect_response(
        lambda answer: answer.request.method == "POST" and answer.url.endswith(path)
    ) as answer:
        page.get_by_role("dialog").get_by_role("button", name=button, exact=True).press("Enter")
    assert answer.value.ok, f"{answer.value.status} {answer.value.text()}"


def run_id(night: Night, run: str) -> int:
    ((found,),) = night.world.sql(
        "SELECT id FROM clip.run WHERE run_key = :key", key=f"{DAG}/{run}"
    )
    return int(str(found))


def test_a_run_from_the_form_takes_what_was_filled_in(page: Page, night: Night) -> None:
    trigger_by_hand(page, night, "by-hand", limit="130", shard_size="64")
    assert night.ended("by-hand") == "success"
    assert night.world.sql(
        'SELECT "trigger", state, planned FROM clip.run WHERE run_key = :key',
        key=f"{DAG}/by-hand",
    ) == [("manual", "succeeded", 130)]

    shown(page, night, f"/runs/{run_id(night, 'by-hand')}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("succeeded")
    expect(page.locator("dl.facts").first).to_contain_text("planned130")
    assert page.locator(".grid .cell.done").count() == 3
    picture(page, "run")
    page.locator(".grid .cell").nth(1).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Shard 1 of run")


def test_a_run_that_fails_its_gate_says_why(page: Page, night: Night) -> None:
    trigger_by_hand(page, night, "too-many-rejections", max_rejection_rate="0.001")
    assert night.ended("too-many-rejections") == "failed"
    shown(page, night, f"/runs/{run_id(night, 'too-many-rejections')}")
    expect(page.get_by_role("heading", level=1)).to_contain_text("failed")
    expect(page.locator(".failures")).to_contain_text("above the limit 0.001")
    expect(page.get_by_role("table", name="By reason")).to_contain_text("image_undecodable")
    picture(page, "run-failed")


def test_the_runs_are_listed_and_filtered(page: Page, night: Night) -> None:
    shown(page, night, "/runs")
    rows = page.get_by_role("table", name="Runs, newest first").locator("tbody tr")
    expect(rows).to_have_count(2)
    picture(page, "runs")
    page.select_option("select[name=state]", "failed")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("failed")


def test_the_tabs_beside_a_run_and_its_task_show_our_pages(page: Page, night: Night) -> None:
    run = f"{night.site.url}/dags/{DAG}/runs/by-hand"
    page.goto(f"{run}/plugin/clip-run")
    expect(inside(page).get_by_role("heading", level=1)).to_contain_text(
        f"Run {run_id(night, 'by-hand')}"
    )
    expect(inside(page).locator("html")).to_have_attribute("data-drawn", "2")
    picture(page, "tab-run")
    page.goto(f"{run}/tasks/score/mapped/1/plugin/clip-shard")
    expect(inside(page).get_by_role("heading", level=1)).to_contain_text("Shard 1 of run")
    page.goto(f"{run}/tasks/plan/plugin/clip-shard")
    expect(inside(page).get_by_role("heading", level=1)).to_contain_text("Run ")


def test_the_page_is_in_the_menu_and_follows_the_theme_around_it(page: Page, night: Night) -> None:
    page.goto(f"{night.site.url}/plugin/clip-runs")
    expect(inside(page).get_by_role("heading", level=1)).to_have_text("Runs")
    for theme in ("dark", "light"):
        page.evaluate("theme => document.documentElement.className = theme", theme)
        expect(inside(page).locator("html")).to_have_attribute("data-theme", theme)
    page.evaluate("document.documentElement.className = 'dark'")
    expect(inside(page).locator("body")).to_have_css("background-color", "rgb(17, 20, 24)")
    expect(inside(page).locator("html")).to_have_attribute("data-drawn", "1")
    picture(page, "runs-dark")


def inside(page: Page) -> FrameLocator:
    """Our page within the Airflow UI."""
    return page.frame_locator("iframe")


def test_hostile_texts_are_shown_and_nothing_in_them_runs(page: Page, night: Night) -> None:
    for key, caption in HOSTILE.items():
        night.world.sql(
            "INSERT INTO clip.record (key, image_uri, caption, created_at) "
            "VALUES (:key, :uri, :caption, '2026-01-03')",
            key=key, uri=HOSTILE_URIS.get(key, "images/140.webp"), caption=caption,
        )  # fmt: skip
    assert night.ended(night.trigger("hostile")) == "success"
    for key, caption in HOSTILE.items():
        shown(page, night, f"/pairs?source=records&key={key}")
        text = page.locator(".pair bdi.foreign")
        expect(text).to_contain_text(caption[:5])
        assert page.evaluate("window.__pwn") is None, caption[:40]
        assert page.locator(".pair script, .pair a, .pair svg").count() == 0
    shown(page, night, "/pairs?source=records&key=2005")
    expect(page.locator(".pair bdi.foreign")).to_contain_text("⟨U+202E⟩this backwards")
    address = page.locator(".pair .address")
    expect(address).to_have_text("https://example.org/a.jpg?…")
    assert "secret" not in page.content()
    shown(page, night, "/pairs?source=records&key=2007")
    assert len(page.content()) < 20_000
    for order in ("lowest", "highest"):
        shown(page, night, f"/runs/{run_id(night, 'hostile')}/pairs?order={order}")
        assert page.evaluate("window.__pwn") is None


def test_hostile_parameters_are_text_as_well(page: Page, night: Night) -> None:
    script = "<script>window.__pwn=1</script>"
    for path in (
        f"/runs?source={script}&state={script}", f"/runs/by-key?run_key={script}",
        f"/pairs?source=records&key={script}", f"/runs/1/pairs?order={script}", f"/{script}",
    ):  # fmt: skip
        page.goto(f"{night.site.url}/clip{path}")
        assert page.evaluate("window.__pwn") is None, path


def test_pictures_are_shown_beside_the_pairs(page: Page, night: Night) -> None:
    shown(page, night, f"/runs/{run_id(night, 'by-hand')}/pairs?order=lowest")
    first = page.locator(".pairs img").first
    expect(first).to_be_visible()
    expect(first).to_have_js_property("naturalWidth", 192)
    for seen in page.locator(".pairs img").all()[:10]:
        expect(seen).to_have_js_property("complete", True)
    picture(page, "pairs")
    page.get_by_role("link", name="Show the highest instead").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Highest pairs")


def test_the_pages_can_be_used_without_a_mouse_and_without_seeing(page: Page, night: Night) -> None:
    shown(page, night, f"/runs/{run_id(night, 'by-hand')}")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    for each in page.locator("canvas").all():
        assert each.get_attribute("role") == "img"
        assert each.get_attribute("aria-label")
    for each in page.locator("table").all():
        assert each.locator("caption").count() == 1
    shown(page, night, "/runs")
    for each in page.locator("select").all():
        assert each.evaluate("field => field.labels.length") == 1


def pages_through(page: Page, direction: str) -> Iterator[list[str]]:
    """The ids of each page of runs, until there is no further link."""
    while True:
        yield page.locator("tbody th a").all_inner_texts()
        link = page.get_by_role("link", name=direction)
        if link.count() == 0:
            return
        with page.expect_event("domcontentloaded"):
            link.click()


def test_ten_thousand_runs_are_paged_by_key(page: Page, night: Night) -> None:
    night.world.sql(
        'INSERT INTO clip.run (run_key, source, fingerprint_id, window_stop, "trigger", rescore, '
        "batch_size, state, scored, started_at, finished_at) "
        "SELECT 'old/' || n, 'records', 1, now(), 'cli', 'missing', 64, "
        "CASE WHEN n % 500 = 0 THEN 'failed' ELSE 'succeeded' END, 5, "
        "now() - n * interval '1 hour', now() FROM generate_series(1, 10000) AS n"
    )
    shown(page, night, "/runs?trigger=cli&state=failed")
    assert page.get_by_role("link", name="Older").count() == 0
    shown(page, night, "/runs?trigger=cli")
    pages = []
    for ids in pages_through(page, "Older"):
        pages.append(ids)
        if len(pages) == 4:
            break
    assert [len(ids) for ids in pages] == [50] * 4
    numbers = [int(each) for ids in pages for each in ids]
    assert numbers == sorted(set(numbers), reverse=True)
    back = list(pages_through(page, "Newer"))
    assert back == pages[::-1]


def test_a_backfill_of_three_days_from_the_form(page: Page, night: Night) -> None:
    trigger_form(page, night)
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Backfill", exact=True).click()
    for day in ("2026-01-01", "2026-01-03"):
        choose_date(page, day)
    # The third day has runs of the tests above.
    dialog.get_by_text("All Runs", exact=True).click()
    expect(dialog).to_contain_text("3 runs will be triggered")
    picture(page, "form-backfill")
    send(page, "Run Backfill", "/backfills")
    runs = wait_for(lambda: len(found := backfills(night)) == 3 and found, "three runs")
    assert [night.ended(run) for run in runs] == ["success"] * 3
    assert night.world.sql(
        'SELECT count(*), min(date(window_start))::text FROM clip.run WHERE "trigger" = :t',
        t="backfill",
    ) == [(3, "2026-01-01")]


def backfills(night: Night) -> list[str]:
    """The DAG runs of the backfill that this browser asked for."""
    path = f"/api/v2/dags/{DAG}/dagRuns?run_type=backfill"
    return [run["dag_run_id"] for run in night.api.get(path)["dag_runs"]]


def choose_date(page: Page, day: str) -> None:
    """Fill the first of the two instants that is still empty."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Select date and time").first.click()
    page.get_by_placeholder("YYYY/MM/DD").fill(day.replace("-", "/"))
    page.get_by_placeholder("HH:mm").fill("00:00")
    dialog.get_by_text("Date Range").click()
    expect(page.get_by_placeholder("YYYY/MM/DD")).to_have_count(0)
