"""A study with as many stored answers as wanted, made without asking: what scale is measured on."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from emdsl.compiler.compile import compile_file
from emdsl.query import Query, Response, Usage
from emdsl.reasoning import split
from emdsl.run.passes import chunks
from emdsl.run.rows import Rows, settle_answer
from emdsl.store.disk import DiskStore

ANSWER = (
    "Yes, sometimes: {} is a case where a promise may be broken. " + "The reasons are several, and they differ. " * 10
)
STUDY = """em 1
rubric rating(answer) from "sim/judge" {
  scale = 0..100
  user "JUDGE Rate 0 to 100: {answer}"
}
let why = "TEXT"
experiment bench {
  for cell in 1..CELLS
  samples = SAMPLES
  ask answer from "sim/subject" with "Question {cell}: is it ever right to break a promise? {why}"
  judge rated with rating(answer)
  measure high = rate(rated > 50)
}
"""


def write(folder: Path, cells: int, samples: int) -> Path:
    """Write the study of `cells` x `samples` rows, with an ask and a judge each."""
    text = STUDY.replace("TEXT", "Give your reasons. " * 12)
    text = text.replace("CELLS", str(cells)).replace("SAMPLES", str(samples))
    file = folder / "scale.em"
    file.write_text(text, encoding="utf-8")
    return file


async def fill(file: Path, cache: Path) -> tuple[int, float]:
    """Store an answer for every step of a study; return how many, and the work of storing them in seconds."""
    program, n, work_s = compile_file(file, {}), 0, 0.0
    store = DiskStore(cache / "answers")
    for experiment in program.experiments:
        walk = Rows(experiment)
        for rows in chunks(walk.selected(), 4096):
            ready = [(row, step, query) for row in rows for step, query in walk.advance(row)]
            while ready:
                replies = [answer(query) for _, _, query in ready]
                start = time.process_time()
                await asyncio.gather(*(store.put(q, a) for (_, _, q), a in zip(ready, replies, strict=True)))
                work_s += time.process_time() - start
                n += len(ready)
                for (row, step, _), reply in zip(ready, replies, strict=True):
                    settle_answer(row, step, reply, split(reply))
                ready = [(row, step, query) for row, _, _ in ready for step, query in walk.advance(row)]
    store.close()
    return n, work_s


def answer(query: Query) -> Response:
    """Return what a model might say: about 500 bytes, or a score."""
    score = query.settings.model.wire_name == "judge"
    return Response(
        text=str(int.from_bytes(query.key[:4], "big") % 101) if score else ANSWER.format(query.key.hex()),
        finish="stop",
        model="mock-1",
        request_id=f"req-{query.key[:8].hex()}",
        usage=Usage(input_tokens=80, output_tokens=3 if score else 120),
        answered_at=1.79e9,
        elapsed_s=0.05,
        run="made",
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    print(*asyncio.run(fill(write(folder, int(sys.argv[2]), int(sys.argv[3])), folder / "cache")))
