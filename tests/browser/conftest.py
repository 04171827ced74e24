"""Chromium without a screen, logged in to the shared Airflow as a person would be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from stack.airflow import ADMIN
from tests.support.night import Night

expect.set_options(timeout=60_000)  # machines that run tests may be slow
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; skipped where there is none.

    Its driver keeps an event loop in this thread, so it must not outlive the module.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium on this machine: install the package `chromium`")
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def login(browser: Browser, one_night: Night) -> Iterator[BrowserContext]:
    """A session of the administrator; whatever is not on this machine is cut off."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    context.route("**/*", stay_here)
    page = context.new_page()
    page.goto(f"{one_night.site.url}/auth/login")
    page.fill("input[name=username]", ADMIN)
    page.fill("input[name=password]", one_night.site.state.keys().admin_password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/auth" not in url)
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(login: BrowserContext) -> Iterator[Page]:
    """A tab; the test fails when a page of ours breaks its own security policy or has an error."""
    tab = login.new_page()
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "console",
        lambda message: (
            complaints.append(message.text) if is_complaint(message.type, message.text) else None
        ),
    )
    yield tab
    tab.close()
    assert complaints == []


def stay_here(route: Route) -> None:
    """Let requests to this machine through and no others."""
    if urlsplit(route.request.url).hostname == "127.0.0.1":
        route.continue_()
    else:
        route.abort()


def is_complaint(kind: str, text: str) -> bool:
    """Whether the console tells of a refused script, style or frame, or of an error of ours."""
    return kind == "error" and ("Content Security Policy" in text or "/clip/" in text)
