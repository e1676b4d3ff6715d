"""A real Chromium for tests of pages, skipped where there is none; CI has it always."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright
from speed import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# `expect` goes on once the page shows what is expected, so a slow machine only takes longer
expect.set_options(timeout=1000 * HANG_S)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium, and end it."""
    if CHROMIUM is None:
        assert not os.environ.get("CI"), "CI opens the page: .ci/run installs Chromium"
        pytest.skip("no Chromium here: the page is not opened")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass(frozen=True, slots=True)
class Watched:
    """A page with its messages and errors, and the URLs that it loads."""

    page: Page
    faults: list[str]
    requests: list[str]


@contextmanager
def opened(url: str) -> Iterator[Watched]:
    """Open a page of 1250 x 800 px in the light theme, and wait until it is ready."""
    with chromium() as browser:
        page = browser.new_context(color_scheme="light", viewport={"width": 1250, "height": 800}).new_page()
        watched = Watched(page, [], [])
        page.on("console", lambda m: watched.faults.append(m.text))
        page.on("pageerror", lambda e: watched.faults.append(str(e)))
        page.on("request", lambda r: watched.requests.append(r.url))
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        yield watched
