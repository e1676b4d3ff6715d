"""The viewer at a million rows of real shape, in a real Chromium: seconds until a person sees what they asked for.

The study is made once in FOLDER (27 GB at a million rows, 15 minutes): `view_scale.py FOLDER [ROWS]`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from chromium import chromium
from speed import HANG_S, Bounds, Slowdown
from support import clean_environment
from view_run import cpu_s
from view_study import COMMON, RARE, RAREST, make

from emdsl.outcomes.load_ids import DATABASE
from emdsl.study.compiled import compile_study
from emdsl.study.project import open_project
from emdsl.view.server import Viewer
from emdsl.view.session import Session

if TYPE_CHECKING:
    from playwright.sync_api import Page

WANTED_S = {"first paint": 1.0, "filter": 0.2, "search": 1.5, "open": 0.1}  # of the reference machine


async def serve(file: Path) -> None:
    """Serve a study whose results are not loaded again, although the store has one answer of each cell alone."""
    session = Session(compile_study(open_project(file), file), "ann", [])
    session.open()
    viewer = Viewer(session)
    await viewer.start()
    print(viewer.url, flush=True)
    await asyncio.Event().wait()


class Clock:
    """Prints how long each act of a person takes, against the time that is wanted."""

    def __init__(self, page: Page, pid: int) -> None:
        self.page, self.pid, self.n_missed = page, pid, 0

    def act(self, kind: str, what: str, place: str, ready: str, *, of: str = "") -> None:
        """Go to a place, and wait until what is asked for is drawn; the page measures the time itself."""
        self.page.evaluate("location.hash = '#/overview'")
        self.page.wait_for_selector(".overview")
        before = cpu_s(self.pid)
        took = self.page.evaluate(
            """([place, ready, text]) => new Promise((resolve, reject) => {
              const started = performance.now();
              const look = () => {
                const shown = document.querySelector(ready);
                if (shown && (!text || new RegExp(text).test(document.querySelector("#count").textContent)))
                  requestAnimationFrame(() => resolve((performance.now() - started) / 1000));
                else if (performance.now() - started > 120000) reject(new Error("not shown: " + place));
                else requestAnimationFrame(look);
              };
              location.hash = place;
              setTimeout(look, 0);
            })""",
            [place, ready, of],
        )
        self.tell(kind, what, took, cpu_s(self.pid) - before)

    def tell(self, kind: str, what: str, took: float, cpu: float = 0.0) -> None:
        """Print a time, with the server's CPU time meanwhile."""
        wanted = WANTED_S.get(kind)
        missed = wanted is not None and not Bounds(Slowdown()).hold(wanted, wall_s=took)
        self.n_missed += missed
        of = "" if wanted is None else f" of {wanted:g}"
        print(
            f"  {kind:12} {what:32} {took:6.2f} s{of:7} CPU {cpu:5.2f} s{'  <- MISSED' if missed else ''}", flush=True
        )


def measure(page: Page, url: str, pid: int) -> int:
    """Use the page as a person does; return how many acts take too long."""
    clock = Clock(page, pid)
    page.goto(url)
    page.wait_for_selector("header nav a")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
    clock.tell("first paint", "", paint)
    page.wait_for_selector("body[data-ready]", timeout=1000 * HANG_S)
    clock.tell("figures", "all of the overview", page.evaluate("performance.now() / 1000"))
    first = "#row-0 .text"
    clock.act("list", "all rows", "#/rows", first, of="rows$")
    for what, query in (("axis", "a.arm=legal"), ("two axes", "a.arm=legal&a.k=256"), ("score", "max.aligned=20"),
                        ("axis, score", "a.arm=legal&max.aligned=20"), ("reason", "m.aligned=failed")):  # fmt: skip
        clock.act("filter", what, f"#/rows?{query}", "#count" if what == "reason" else first, of="rows?$")
    clock.act("list", "sorted by a score", "#/rows?sort=-aligned", first)
    query = "a.k=256&limit=3&where=sample = 0"
    ids = page.evaluate(f"fetch('/api/rows?{query}').then(r => r.json()).then(d => d.rows.map(r => r.id))")
    for row in ids:
        clock.act("open", "a row of 256 demonstrations", f"#/row?row={row}", ".transcript[data-row]")
    for place in ("", "answer", "reasoning"):
        for word, what in ((COMMON, "1 row of 100"), (RARE, "1 row of 2,000")):
            goal = f"#/rows?q={word}&in={place}"
            clock.act("search", f"in {place or 'all'}, {what}", goal, "#row-49 .text")
    for place in ("question", "answer", "reasoning"):
        clock.act("whole search", f"in {place}, no row", f"#/rows?q=nowhereatall&in={place}", "#count", of="rows?$")
    clock.act("whole search", "in answer, 6 rows", f"#/rows?q={RAREST}&in=answer", "#row-5 .text", of="rows?$")
    clock.act("whole search", "1 row of 100, all counted", f"#/rows?q={COMMON}&in=answer", first, of="rows$")
    page.evaluate("location.hash = '#/rows?q=nothinglikethis'")
    page.wait_for_timeout(1500)
    busy = cpu_s(pid)
    page.evaluate("location.hash = '#/overview'")
    page.wait_for_timeout(500)
    began = cpu_s(pid)
    page.wait_for_timeout(3000)
    after = cpu_s(pid) - began
    print(f"  a search that is left: {began - busy:.2f} s of CPU in the first 0.5 s, {after:.2f} s in the 3 s after"
          f"{'  <- MISSED' if after > 0.2 else ''}")  # fmt: skip
    return clock.n_missed + (after > 0.2)


def main(folder: Path, rows: int) -> int:
    """Make the study if it is not there, and measure."""
    file = folder / "real.em"
    if not file.exists() or not (folder / "cache" / DATABASE).exists():
        make(folder, rows)
    environment = clean_environment() | {"PYTHONPATH": os.pathsep.join(sys.path)}
    server = subprocess.Popen([sys.executable, __file__, "--serve", file], env=environment, text=True, cwd=folder,
                              stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        time.sleep(10)  # the figures of a million rows, that `emdsl view` computes before anybody asks
        with chromium() as browser:
            page = browser.new_context(viewport={"width": 1400, "height": 2000}).new_page()
            return measure(page, url, server.pid)
    finally:
        server.kill()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        asyncio.run(serve(Path(sys.argv[2])))
    else:
        sys.exit(int(main(Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000) > 0))
