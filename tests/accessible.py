"""Checks of one screen: no serious violation by axe-core, and nothing wider than the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

SERIOUS = ("serious", "critical")


def check_screen(page: Page, *place: Any) -> None:
    """Assert both of the screen that a page shows; `place` names it in the message."""
    violations = Axe().run(page).response["violations"]
    serious = [(v["id"], [n["target"] for n in v["nodes"]][:3]) for v in violations if v["impact"] in SERIOUS]
    assert not serious, (*place, serious)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
