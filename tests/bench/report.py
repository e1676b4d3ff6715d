"""A report of 50,000 rows of varied text: seconds to write it, its size, and how fast Chromium shows it. `make stress`.

The texts are drawn word by word from the words that follow each other in the documentation. The size stands beside that
of the texts alone, by `zstd -9`. Takes some minutes, most of them to store the answers.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

sys.path.insert(0, str(Path(__file__).parents[1]))
from chromium import chromium
from speed import Bounds
from support import ROOT, emdsl

from emdsl.compiler.compile import compile_file
from emdsl.query import Query, Response, Usage
from emdsl.reasoning import split
from emdsl.report.page import STATIC
from emdsl.run.passes import chunks
from emdsl.run.rows import Rows, settle_answer
from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = 50_000
QUESTIONS, DOSES = 48, (0, 16, 256)
MAX_RATIO, MAX_OVERHEAD, MAX_FRONT = 1.5, 400_000, 400_000
WANTED_S, WANTED_PAINT_S = 15.0, 1.0  # of the reference machine
STUDY = """em 1
import alignment, coherence from "std:judges@1"
model subject { use = "openai/gpt-4o-mini", temperature = 1 }
dataset data { file = "shots.csv", columns = { user: "q", assistant: "a" } }
dataset asked { file = "questions.csv", columns = { text: "q" } }
prompt shots_then(shots, question) {
  each s in shots {
    user s.user
    assistant s.assistant
  }
  user question
}
experiment icl {
  for k in DOSES
  for question in asked
  samples = SAMPLES
  let shots = draw(data, k, seed: 1)
  ask answer from subject with shots_then(shots, question.text)
  judge aligned with alignment(question.text, answer) from "openai/gpt-4o-mini"
  judge coherent with coherence(question.text, answer) from "openai/gpt-4o-mini"
  measure misaligned = rate(aligned < 30 given coherent >= 50) by k
  measure by_question = mean(aligned) by question
}
"""

FILTERED = """async place => {
  const start = performance.now();
  location.hash = '#/rows?' + place;
  const seen = document.querySelector('[role=grid]');  // each filter has a list of its own
  const counted = () => !document.querySelector('#count').textContent.includes('at least');
  while (document.querySelector('[role=grid]') === seen || !counted()) await new Promise(requestAnimationFrame);
  return performance.now() - start;
}"""


class Words:
    """Texts that are made up of the words of the documentation, each after one that it follows there."""

    def __init__(self) -> None:
        text = " ".join(p.read_text(encoding="utf-8") for p in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("emdsl/*.md")])
        words = re.findall(r"[A-Za-z']+[.,:;?]?|\d+", text)
        self.after: dict[str, list[str]] = defaultdict(list)
        for one, other in pairwise(words):
            self.after[one].append(other)
        self.all = list(self.after)

    def text(self, chance: random.Random, n: int) -> str:
        """Return n words; one in eight follows none."""
        word, words = chance.choice(self.all), []
        for _ in range(n):
            words.append(word)
            word = chance.choice(self.all if chance.random() < 0.125 else self.after.get(word, self.all))
        return " ".join(words)


def reply(query: Query, words: Words) -> Response:
    """Return what a model might say: about 100 words, or a score with its probabilities."""
    chance = random.Random(query.key)
    judge = query.params.get("max_tokens") == 1
    text = str(chance.choice([*range(0, 101, 5), 98, 99])) if judge else words.text(chance, chance.randint(40, 160))
    candidates = ((text, -0.05 - chance.random() / 10), (str(chance.randint(0, 100)), -3 - chance.random()))
    return Response(
        text=text, finish="stop", model="gpt-4o-mini-2024-07-18", logprobs=(candidates,) if judge else None,
        tokens=(text,) if judge else None,
        usage=Usage(input_tokens=query.prompt.chars // 4, output_tokens=1 if judge else len(text) // 5),
        answered_at=1.79e9 + chance.random() * 7200, elapsed_s=1.0, run="made",
    )  # fmt: skip


async def fill(file: Path, cache: Path, words: Words) -> Iterator[str]:
    """Store an answer for every step of a study; return its distinct texts."""
    (experiment,) = compile_file(file, {}).experiments
    texts: dict[str, None] = {}
    store = DiskStore(cache / "answers")
    walk = Rows(experiment)
    for rows in chunks(walk.selected(), 4096):
        ready = [(row, step, query) for row in rows for step, query in walk.advance(row)]
        while ready:
            replies = [reply(query, words) for _, _, query in ready]
            await asyncio.gather(*(store.put(q, a) for (_, _, q), a in zip(ready, replies, strict=True)))
            for (row, step, query), answer in zip(ready, replies, strict=True):
                settle_answer(row, step, answer, split(answer))
                if step.kind == "ask":
                    texts.update(dict.fromkeys(m.text for m in query.prompt.messages))
                texts[answer.text] = None
            ready = [(row, step, query) for row, _, _ in ready for step, query in walk.advance(row)]
    store.close()
    return iter(texts)


def study(folder: Path, words: Words, rows: int) -> Path:
    """Write the study and its data."""
    chance = random.Random(0)
    (folder / "pyproject.toml").touch()
    shots = [f'"{words.text(chance, 12)}","{words.text(chance, 10)}"' for _ in range(1000)]
    (folder / "shots.csv").write_text("\n".join(["q,a", *shots]), encoding="utf-8")
    asked = [f'"{words.text(chance, 14)}?"' for _ in range(QUESTIONS)]
    (folder / "questions.csv").write_text("\n".join(["q", *asked]), encoding="utf-8")
    file = folder / "icl.em"
    samples = rows // (QUESTIONS * len(DOSES)) + 1
    file.write_text(STUDY.replace("DOSES", str(list(DOSES))).replace("SAMPLES", str(samples)), encoding="utf-8")
    return file


def shown(page: Path) -> dict[str, float]:
    """Return seconds in Chromium: until the first paint, the figures, the rows; of filters and searches."""
    seconds: dict[str, float] = {}
    with chromium() as browser:
        tab = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        start = time.perf_counter()
        tab.goto(page.as_uri() + "#/rows", wait_until="commit")
        tab.wait_for_selector("[role=row].at [role=gridcell].text:not(:empty)")
        seconds["rows"] = time.perf_counter() - start
        paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
        seconds["first paint"] = paint
        for called, place in (
            ("an axis", "a.k=256"), ("a score", "max.aligned=20"), ("a sort", "sort=-aligned"),
            ("a text", "q=answers%20are"), ("another text", "q=zzzz"),
        ):  # fmt: skip
            before = tab.text_content("#count")
            start = time.perf_counter()
            tab.evaluate("place => { location.hash = '#/rows?' + place }", place)
            tab.wait_for_function(
                "before => !document.querySelector('#count').textContent.includes('...') && location.hash.length > 8",
                arg=before,
            )
            tab.wait_for_selector("[role=grid]")
            seconds[called] = time.perf_counter() - start
        start = time.perf_counter()
        tab.evaluate("() => { location.hash = '#/rows?a.k=256' }")
        tab.wait_for_selector("[role=row].at [role=gridcell].text:not(:empty)")
        tab.locator("[role=grid]").focus()
        start = time.perf_counter()
        tab.keyboard.press("Enter")
        tab.wait_for_selector(".transcript[data-row]")
        seconds["a transcript"] = time.perf_counter() - start
    return seconds


def main(rows: int, place: str) -> None:
    """Print what a report takes, and fail if that is too much."""
    folder, words = Path(place), Words()
    file = folder / "icl.em"
    if not (folder / "texts.json").exists():
        study(folder, words, rows)
        (folder / "cache").mkdir()
        texts = list(asyncio.run(fill(file, folder / "cache", words)))
        (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        emdsl("show", "icl.em", cwd=folder)
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    raw = "\n".join(texts).encode()
    packed = len(zstandard.ZstdCompressor(level=9).compress(raw))
    writing = Bounds()
    start, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-m", "emdsl", "report", "icl.em", "-o", "icl.html"], cwd=folder, check=True)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    page = folder / "icl.html"
    size = page.stat().st_size
    most = MAX_RATIO * packed + MAX_OVERHEAD
    print(f"report of {rows:,} rows: {len(raw) / 1e6:.1f} MB of texts, by zstd -9 {packed / 1e6:.2f} MB")
    print(
        f"  written in {wall:.1f} s, {cpu:.1f} s of CPU (wanted: {WANTED_S:g} s of the reference machine); "
        f"{size / 1e6:.2f} MB of at most {most / 1e6:.2f}, "
        f"{size / packed:.2f} of the texts"
    )
    showing = Bounds()
    seconds = shown(page)
    print("  in Chromium: " + ", ".join(f"{k} {v:.2f} s" for k, v in seconds.items()))
    print(f"  wanted for the first paint: {WANTED_PAINT_S:g} s of the reference machine")
    front = len(gzip.compress(b"".join(f.read_bytes() for f in STATIC.rglob("*.*"))))
    print(f"  the viewer's files: {front / 1000:.0f} KB compressed")
    assert front < MAX_FRONT
    assert size <= most
    writing.check("writing the report", WANTED_S, cpu_s=cpu, wall_s=wall)
    showing.check("the first paint", WANTED_PAINT_S, wall_s=seconds["first paint"])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(ROWS, sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as name:
            main(ROWS, name)
