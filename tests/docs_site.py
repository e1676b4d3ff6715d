"""The built site of the manual: `make docs`. It loads nothing from outside, and its search works from `file://`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from speed import HANG_S

OUTSIDE = re.compile(r"""(?:\bsrc=|<link[^>]*\bhref=|url\(|@import )["']?(?:https?:)?//[^"')\s>]+""")
CANONICAL = re.compile(r'<link[^>]*rel="?canonical[^>]*>')


def main(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    for file in (*pages, *site.rglob("*.css")):
        text = file.read_text(encoding="utf-8")
        outside = OUTSIDE.findall(CANONICAL.sub("", text))
        assert not outside, f"{file} loads {outside[0]}"
        assert "<p>```" not in text, f"{file} has a block that was not recognized"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto((site / "index.html").absolute().as_uri())
        page.keyboard.press("/")
        page.keyboard.type("clopper_pearson")
        page.get_by_text("clopper_pearson").first.wait_for(timeout=1000 * HANG_S)
        browser.close()
    assert all(url.startswith(("file:", "data:", "blob:", "about:")) for url in requests), requests
    print(f"{len(pages)} pages in {site}: nothing is loaded from outside, and the search works from file://")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
