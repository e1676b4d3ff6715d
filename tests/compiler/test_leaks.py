"""Questions among their own demonstrations: found whatever the layout, and not where they are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import program

if TYPE_CHECKING:
    from pathlib import Path

POOL = "question,answer\n" + "".join(f"What is the number {i} good for?,It counts {i} things.\n" for i in range(9))
OTHER = "question,answer\n" + "".join(f"Where does river {i} begin?,In the hills of {i}.\n" for i in range(9))
HEAD = """
dataset pool { file = "pool.csv" }
dataset other { file = "other.csv" }
dataset twice { file = "twice.csv" }
prompt turns(shots, question) {
  each s in shots {
    user s.question
    assistant s.answer
  }
  user question
}
prompt together(shots, question) {
  user join(["### Prompt: {s.question}\\n### Response: {s.answer}" for s in shots] + [question], "\\n\\n")
}
prompt repeated(shots, question) {
  each s in shots { user s.question }
  user "Answer this: {question}\\n\\nAgain, answer this: {question}"
}
let some(k, seed) = draw(pool, k, seed: seed)
experiment e {
  samples = 2
"""
ASK = 'ask a from "sim/subject" with'
ROWS, TURNS = "for q in pool\n", f"{ASK} turns(shots, q.question)"


def drawn(of: str, over: str = ROWS, ask: str = TURNS) -> str:
    return f"{over} let shots = {of}\n {ask}"


LEAKS = {
    "an axis over rows": drawn("draw(pool, 2, seed: sample)"),
    "one text": drawn("draw(pool, 2, seed: sample)", ask=f"{ASK} together(shots, q.question)"),
    "an axis over texts": drawn(
        "draw(pool, 2, seed: 1)", 'for q in ["What is the number 3 good for?", "What else is there?"]\n',
        f"{ASK} turns(shots, q)",
    ),
    "texts of rows": drawn(
        "draw(pool, 2, seed: 1)", "for q in [r.question for r in pool]\n", f"{ASK} turns(shots, q)"
    ),
    "a draw in a function": drawn("some(2, sample)"),
    "a draw in the call": f"{ROWS} {ASK} turns(draw(pool, 2, seed: 1), q.question)",
    "a filtered list": drawn('draw([r for r in pool if r.answer != "x"], 2, seed: 1)'),
    "the pool used whole": f"{ROWS} {ASK} turns(pool, q.question)",
    "the pool used whole, in one text": f"{ROWS} {ASK} together(pool, q.question)",
    "one duplicate row": drawn("draw(twice, 1, seed: 1)"),
    "an axis over pools": drawn("draw(data, 2, seed: 1)", f"{ROWS} for data in [other, pool]\n"),
    "an axis over k": drawn("draw(pool, k, seed: 1)", f"{ROWS} for k in [0, 2]\n"),
    "a mix": drawn("mix(draw(other, 2, seed: 1), draw(pool, 2, seed: 1), share: 0.5, seed: 1)"),
    "a question that is put twice": f"{ROWS} {ASK} repeated(pool, q.question)",
}  # fmt: skip
CLEAN = {
    "another pool": drawn("draw(other, 2, seed: 1)"),
    "left out by text": drawn("draw([r for r in pool if r.question != q.question], 2, seed: 1)"),
    "left out by position": f"{ROWS} {ASK} turns([r for r in pool if r.position != q.position], q.question)",
    "a question that is put twice": f"{ROWS} {ASK} repeated(other, q.question)",
    "halves": drawn("[r for r in pool if r.position >= 4]", "for q in [r for r in pool if r.position < 4]\n"),
    "no demonstrations": f"{ROWS} {ASK} q.question",
}  # fmt: skip


def codes(body: str, folder: Path) -> list[str]:
    (folder / "pool.csv").write_text(POOL, encoding="utf-8")
    (folder / "other.csv").write_text(OTHER, encoding="utf-8")
    row = POOL.splitlines()[4]
    (folder / "twice.csv").write_text(f"{OTHER}{row}\n{row}\n", encoding="utf-8")
    return [w.code for w in program(HEAD + body + "\n}", folder).warnings]


@pytest.mark.parametrize("layout", LEAKS)
def test_a_question_among_its_demonstrations_is_seen(layout: str, tmp_path: Path) -> None:
    """Prompts are compared as they are rendered, and the pools that are drawn from."""
    assert codes(LEAKS[layout], tmp_path).count("W736") == 1


@pytest.mark.parametrize("layout", CLEAN)
def test_one_that_is_left_out_is_not(layout: str, tmp_path: Path) -> None:
    """Nothing is warned of that does not happen."""
    assert "W736" not in codes(CLEAN[layout], tmp_path)
