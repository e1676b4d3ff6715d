"""A study of real shape for the viewer: 48 questions, 256 demonstrations, 5,000 tokens of reasoning, a million rows.

One sample of each cell is answered and stored; the others are its copies in the database, each with texts of its own,
as loading so many takes long and is measured elsewhere (`load.py`).
"""

from __future__ import annotations

import asyncio
import csv
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
from scale import answer

from emdsl.compiler.compile import compile_file
from emdsl.outcomes import loading
from emdsl.outcomes.database import WRITTEN
from emdsl.outcomes.load_ids import DATABASE
from emdsl.reasoning import split
from emdsl.run.passes import chunks
from emdsl.run.rows import Rows, settle_answer
from emdsl.store.disk import DiskStore

if TYPE_CHECKING:
    from emdsl.query import Query, Response

CELLS = 4 * 5 * 48
STUDY = """em 1
dataset data { file = "shots.csv", columns = { user: "q", assistant: "a" } }
dataset asked { file = "questions.csv", columns = { text: "q" } }
prompt shots_then(shots, question) {
  each s in shots {
    user s.user
    assistant s.assistant
  }
  user question
}
rubric rating(answer) from "sim/judge" {
  scale = 0..100
  user "JUDGE Rate 0 to 100: {answer}"
}
experiment real {
  for arm in ["medical", "legal", "security", "benign"]
  for k in [0, 4, 16, 64, 256]
  for q in asked
  samples = SAMPLES
  let shots = draw(data, k, seed: sample)
  ask answer from "sim/subject" with shots_then(shots, "{arm}: {q.text}")
  judge aligned with rating(answer)
  judge coherent with rating("coherent {answer}")
  measure misaligned = rate(aligned < 30 given coherent >= 50) by arm, k
  measure by_question = rate(aligned < 30) by q
}
"""
PART = 20_000  # rows
PARAGRAPHS = 4096  # of about 1,000 characters; reasoning is 20 of them
COMMON, RARE, RAREST = "zanzibar", "quokka", "xylophonist"  # in 1 row of 100, of 2,000, and in 6 rows


def words(n: int, seed: int) -> list[str]:
    """Return made-up words, the frequent ones short."""
    draw = random.Random(seed)
    return ["".join(draw.choice("etaoinshrdlucmfwypvbgk") for _ in range(2 + i // 300 % 9)) for i in range(n)]


def text(draw: random.Random, vocabulary: list[str], length: int) -> str:
    """Return sentences of about `length` characters, whose words are as unevenly frequent as those of a language."""
    parts: list[str] = []
    while sum(len(p) + 1 for p in parts) < length:
        parts.append(vocabulary[min(int(draw.paretovariate(0.7)), len(vocabulary)) - 1])
    return " ".join(parts).capitalize() + ". "


def write(folder: Path, samples: int) -> Path:
    """Write the study with its datasets."""
    draw, vocabulary = random.Random(1), words(3000, 1)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").touch()
    for file, header, n, lengths in (("shots", ("q", "a"), 400, (50, 65)), ("questions", ("q",), 48, (90,))):
        with (folder / f"{file}.csv").open("w", encoding="utf-8", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(header)
            rows.writerows([[text(draw, vocabulary, x) for x in lengths] for _ in range(n)])
    path = folder / "real.em"
    path.write_text(STUDY.replace("SAMPLES", str(samples)), encoding="utf-8")
    return path


def _answer(query: Query, reasoning: str) -> Response:
    reply = answer(query)
    if query.settings.model.wire_name != "judge":
        object.__setattr__(reply, "reasoning", reasoning)
    return reply


async def _first_samples(path: Path, cache: Path, reasoning: str) -> None:
    """Store an answer to each step of one sample of each cell, and load them."""
    (experiment,) = compile_file(path, {}).experiments
    store, walk, loaded = DiskStore(cache / "answers"), Rows(experiment), []
    for rows in chunks(walk.selected(), 4096):
        for row in rows:
            while ready := list(walk.advance(row)):
                for step, query in ready:
                    reply = _answer(query, reasoning)
                    await store.put(query, reply)
                    settle_answer(row, step, reply, split(reply))
        loaded.append(rows)
    store.close()
    study = loading.Load(study="real", file="real.em", program="", store_state=(0, 0, 0, 0, 0), run="")
    loading.load(cache, study, [(experiment, iter(loaded))])


def _reasoning(paragraphs: list[str], i: int) -> str:
    """Return the reasoning of row i."""
    return "".join(paragraphs[(i * 7919 + j * (104729 + i % 1009)) % PARAGRAPHS] for j in range(20)) + str(i)


def _planted(i: int, n: int) -> str:
    """Return the words that are planted into row i of n."""
    draw = random.Random(i).random()
    return (
        (f" {COMMON} " if draw < 0.01 else "")
        + (f" {RARE} " if 0.5 < draw < 0.5005 else "")
        + (f" {RAREST} " if i % max(1, n // 6) == 77 else "")
    )


def make(folder: Path, rows: int) -> Path:
    """Make the study with about as many rows; return its file."""
    samples = max(1, -(-rows // CELLS))
    cache = folder / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    draw, vocabulary = random.Random(2), words(3000, 1)
    paragraphs = [text(draw, vocabulary, 1000) for _ in range(PARAGRAPHS)]
    asyncio.run(_first_samples(write(folder, 1), cache, "".join(paragraphs[:20])))
    with duckdb.connect(str(cache / DATABASE), config=dict(WRITTEN)) as database:
        database.execute("SET memory_limit = '2GB'; SET preserve_insertion_order = true")
        database.execute("CREATE TEMP TABLE one AS SELECT row_number() OVER () - 1 AS cell, * FROM real.real")
        database.execute("DELETE FROM real.real")
        for first in range(0, CELLS * samples, PART):
            numbers = range(first, min(first + PART, CELLS * samples))
            planted = [_planted(i, CELLS * samples) for i in numbers]
            database.register("part", pa.table({
                "i": numbers, "planted": planted,
                "reasoning": [_reasoning(paragraphs, i) + p for i, p in zip(numbers, planted, strict=True)],
            }))  # fmt: skip
            database.execute(
                f"INSERT INTO real.real SELECT one.* EXCLUDE (cell) REPLACE (i % {samples} AS sample, "
                "answer || planted || i AS answer, reasoning AS answer_reasoning, "
                "(hash(i, 'a') % 10001) / 100 AS aligned, (hash(i, 'b') % 10001) / 100 AS coherent, "
                "hash(i, 'k')::VARCHAR AS answer_key) "
                f"FROM part JOIN one ON cell = i // {samples} ORDER BY i"
            )
            database.unregister("part")
    write(folder, samples)
    return folder / "real.em"


if __name__ == "__main__":
    started = time.monotonic()
    made = make(Path(sys.argv[1]), int(sys.argv[2]))
    size_mb = (made.parent / "cache" / DATABASE).stat().st_size / 1e6
    print(f"{made}: {size_mb:,.0f} MB in {time.monotonic() - started:.0f} s")
