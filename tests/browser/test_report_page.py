"""The report of a scored file in a real browser, opened from the disk as a person would."""

from __future__ import annotations

import io
import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from clip_scoring.reporting import ReportFigures, ReportPair, write_report
from clip_scoring.sample.drawing import render
from clip_scoring.sample.scene_captions import caption_of
from clip_scoring.sample.scenes import random_scene

PICTURES = os.environ.get("CLIP_SCREENSHOTS")
"""A folder that a picture of the report goes to; without it none is made."""
PAIRS = 32
HOSTILE = (
    "<script>window.__pwn = 1</script>",
    '"><img src=https://example.org/x.png onerror="window.__pwn = 2">',
    "</style></title><svg onload=window.__pwn=3>",
    "<iframe srcdoc='<script>parent.__pwn = 4</script>'></iframe>",
    "read \u202ethis backwards " + "x" * 5_000,
)
CARD_BY_DAY, CARD_BY_NIGHT = "rgb(255, 255, 255)", "rgb(23, 28, 35)"


@dataclass
class Visit:
    """A tab, and what it asked for and complained about."""

    page: Page
    address: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self) -> Page:
        self.page.on("request", self._note)
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(self.address, wait_until="load")
        return self.page

    def _note(self, request: Request) -> None:
        self.requests.append(request.url)

    def _listen(self, message: ConsoleMessage) -> None:
        self.complaints.append(message.text)


def jpeg(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.convert("RGB").save(written, "JPEG", quality=85)
    return written.getvalue()


def drawn_pairs(count: int) -> list[ReportPair]:
    """Scenes with their captions, in the order of made-up similarities."""
    rng = random.Random("report")
    similarities = sorted(rng.gauss(0.7, 0.15) for _ in range(count))
    scenes = [random_scene(rng) for _ in range(count)]
    return [
        ReportPair(
            f"{at + 1}", f"https://images.example.org/2026/scene-{at + 1:04}.jpg",
            caption_of(scene, rng), similarity, jpeg(render(scene, rng, longer_side=160)),
        )
        for at, (scene, similarity) in enumerate(zip(scenes, similarities, strict=True))
    ]  # fmt: skip


def figures() -> ReportFigures:
    rng = np.random.default_rng(7)
    pairs = drawn_pairs(PAIRS)
    similarities = np.concatenate([rng.normal(0.72, 0.07, 9_000), rng.normal(0.05, 0.14, 800)])
    bins, counts = np.unique(np.floor(similarities.clip(-1, 0.95) * 1000), return_counts=True)
    own = np.eye(PAIRS) * [pair.similarity for pair in pairs]
    seconds = np.cumsum(rng.gamma(9, 0.012, 155))
    return ReportFigures(
        title="pairs.csv",
        facts={
            "rows": "9,920", "scored": "9,800", "rejected": "120", "pairs/s": "592",
            "verdict": "decode-bound: add cores", "device": "cpu, 16 threads",
            "fingerprint": "3f0a77c1b7d94d0e8c5b6a21", "weights": "tiny",
        },
        histogram=dict(zip(bins.astype(int).tolist(), counts.tolist(), strict=True)),
        rejections={"image_undecodable": 61, "http_404_410": 38, "timeout": 14, "uri_invalid": 7},
        throughput=[(float(at), 64 * (place + 1)) for place, at in enumerate(seconds)],
        lowest=pairs[:6], highest=pairs[:-7:-1], random=pairs[3::5],
        matrix=(rng.normal(0.1, 0.13, (PAIRS, PAIRS)) * (own == 0) + own).astype(np.float32),
        matrix_names=[pair.name for pair in pairs],
    )  # fmt: skip


def hostile_figures() -> ReportFigures:
    picture = jpeg(Image.new("RGB", (40, 30), "red"))
    pairs = [ReportPair(text, text, text, 0.1, picture) for text in HOSTILE]
    matrix = np.random.default_rng(1).normal(size=(5, 5)).astype(np.float32)
    every = dict.fromkeys(HOSTILE, 3)
    facts = {text: text for text in HOSTILE}
    return ReportFigures(
        HOSTILE[2], facts, {100: 3}, every, [(1.0, 18)], pairs, pairs, pairs, matrix, HOSTILE
    )


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A usual report and one of hostile texts."""
    folder = tmp_path_factory.mktemp("reports")
    return {
        name: write_report(each, folder / name).as_uri()
        for name, each in (("usual", figures()), ("hostile", hostile_figures()))
    }


@pytest.fixture
def visit(
    browser: Browser, addresses: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[Visit]:
    """A tab for the usual report, or for the one that the test asks for."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield Visit(context.new_page(), addresses[getattr(request, "param", "usual")])
    context.close()


def colour(page: Page, selector: str) -> str:
    return str(
        page.locator(selector).first.evaluate("(each) => getComputedStyle(each).backgroundColor")
    )


def overflow(page: Page) -> int:
    """Pixels that the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.mark.parametrize("visit", ["usual", "hostile"], indirect=True)
def test_the_report_asks_for_nothing_but_itself(visit: Visit) -> None:
    visit.open()
    asked = [each for each in visit.requests if not each.startswith("data:")]
    assert asked == [visit.address]


@pytest.mark.parametrize("visit", ["usual", "hostile"], indirect=True)
def test_the_browser_has_nothing_to_complain_about(visit: Visit) -> None:
    visit.open()
    assert visit.complaints == []


@pytest.mark.parametrize("visit", ["hostile"], indirect=True)
def test_hostile_texts_are_read_and_not_run(visit: Visit) -> None:
    page = visit.open()
    assert page.evaluate("window.__pwn") is None
    assert page.locator("script, iframe, svg, a").count() == 0
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE[2])
    expect(page.locator(".said").first).to_have_text(HOSTILE[0])
    expect(page.locator(".said").nth(4)).to_contain_text("⟨U+202E⟩this backwards")


def test_the_policy_would_stop_a_script_that_got_in(visit: Visit) -> None:
    page = visit.open()
    page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "window.__pwn = 5";
        document.body.append(script);
    }""")
    assert page.evaluate("window.__pwn") is None
    assert any("Content Security Policy" in each for each in visit.complaints)


def test_the_style_is_the_one_that_the_policy_allows(visit: Visit) -> None:
    page = visit.open()
    assert colour(page, ".card") == CARD_BY_DAY


def test_every_picture_is_shown_and_has_a_name(visit: Visit) -> None:
    page = visit.open()
    images = page.get_by_role("img")
    assert images.count() == 4 + 6 + 6 + 6
    for image in images.all():
        assert image.evaluate("(each) => each.complete && each.naturalWidth > 0")
        expect(image).to_have_accessible_name(re.compile(r"\w{3}"))
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / "report.png", full_page=True, animations="disabled")


def test_tables_are_found_by_their_captions(visit: Visit) -> None:
    page = visit.open()
    table = page.get_by_role("table", name="By reason")
    expect(table.locator("tbody tr").first).to_have_text("image_undecodable6150.8 %")
    expect(page.get_by_role("table", name="Retrieval").locator("tbody tr")).to_have_count(4)


def test_by_night_page_and_plots_are_dark_and_on_paper_they_are_light(visit: Visit) -> None:
    visit.page.emulate_media(color_scheme="dark")
    page = visit.open()
    by_day, by_night = page.locator(".plot img.light").first, page.locator(".plot img.dark").first
    expect(by_night).to_be_visible()
    expect(by_day).to_be_hidden()
    assert colour(page, ".card") == CARD_BY_NIGHT
    page.emulate_media(media="print", color_scheme="dark")
    expect(by_day).to_be_visible()
    expect(by_night).to_be_hidden()
    assert colour(page, ".card") == CARD_BY_DAY


@pytest.mark.parametrize("visit", ["usual", "hostile"], indirect=True)
def test_on_a_phone_nothing_sticks_out(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 380, "height": 800})
    assert overflow(visit.open()) == 0
