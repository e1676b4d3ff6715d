"""Rows for a paper and for another study: examples in Markdown, LaTeX and HTML, and programs of one row."""

from __future__ import annotations

import shlex
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from emdsl.run.passes import settle_from_store
from emdsl.run.rows import Rows
from emdsl.study.compiled import compile_study
from emdsl.study.examples import Answered, Example, examples_text, trace
from emdsl.study.latex_text import latex_text
from emdsl.study.one_cell import one_cell
from emdsl.study.project import open_project
from emdsl.study.rendering import query_of
from emdsl.study.selection import selections

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.experiment import Experiment
    from emdsl.outcome import Outcome
    from emdsl.study.compiled import Compiled


def compiled(folder: Path, text: str) -> Compiled:
    (folder / "pyproject.toml").touch()
    file = folder / "study.em"
    file.write_text(text, encoding="utf-8")
    return compile_study(open_project(file), file)


# ---------------------------------------------------------------- one row as a program

AXES = """em 1
import alignment from "std:judges@1"
dataset data { file = "d.csv", columns = { q: "q", c: "c" } }
model subject { use = "sim/subject", temperature = 1 }
model other from subject { temperature = 0.5 }
experiment first {
  grid {
    for arm in { first: "a", "second one": "b" }
    for x in [0.5, -3, 1e9]
    skip when x == -3 and arm is first
  }
  grid {
    for arm in { first: "a" }
    for x in [7]
  }
  for flag in [true, false]
  for n in ["a, b", "plain \\"quoted\\" {{y}}", "two\\nlines"]
  for m in [subject, other]
  for item in data
  samples = 4
  let x2 = if flag then x else 1
  ask answer from m with "{x2} {arm} {n} {item.q}"   # a comment
  judge aligned with alignment(item.q, answer) from "sim/judge"
  when aligned < 60 { ask again from m with "{answer} sure?" }
  measure low = contrast(rate(aligned < 30), arm is first, arm is "second one") by x
}
experiment second { ask b from "sim/subject" with "hello" }
"""


def keys_of(rows: list[Outcome], experiment: Experiment) -> set[bytes]:
    queries = (query_of(row, step) for row in rows for step in experiment.steps)
    return {query.key for query in queries if query is not None}


def test_a_copied_program_sends_the_requests_of_one_row(tmp_path: Path) -> None:
    """Under the keys that they have in the study, whatever the levels are, and no other request."""
    (tmp_path / "d.csv").write_text('q,c\n"hi, {there}",1\nbye,2\nbye,3\n', encoding="utf-8")
    study = compiled(tmp_path, AXES)
    for experiment in study.program.experiments:
        cells = list(experiment.cells())
        for cell in cells[:: max(1, len(cells) // 2)]:
            sample = experiment.samples - 1
            copy = one_cell(study, experiment, cell, sample)
            assert copy.is_program
            (tmp_path / "copy.em").write_text(copy.text, encoding="utf-8")
            (alone,) = compile_study(study.project, tmp_path / "copy.em").program.experiments
            row = Rows(experiment).row(cell, sample)
            rows = list(Rows(alone).everything())
            with study.store() as store:
                settle_from_store(Rows(experiment), [row], store)
                settle_from_store(Rows(alone), rows, store)
            assert len(keys_of([row], experiment)) == 1
            assert keys_of(rows, alone) == keys_of([row], experiment)
    assert copy.text.startswith("# One row of study.em: second, sample 0\n# Save it beside study.em.\nem 1\n")


def test_a_row_without_a_program_of_its_own_is_a_command(tmp_path: Path) -> None:
    """No condition names a level that is a list."""
    study = compiled(
        tmp_path,
        'em 1\nexperiment e {\n  for l in [["a", "b"], ["c"]]\n  let first = l[0]\n'
        '  ask answer from "sim/subject" with first\n}\n',
    )
    copy = one_cell(study, study.program.experiments[0], (0,), 0)
    assert copy == ("""emdsl run study.em --only 'l=["a", "b"]' --samples 1""", False)
    (selected,) = selections(study.program, 1, [shlex.split(copy.text)[4]])
    assert [c for c in study.program.experiments[0].cells() if selected.takes(c)] == [(0,)]


# ---------------------------------------------------------------- formats

NASTY = (
    "".join(map(chr, range(32, 127)))
    + "\n\n  -- --- '' `` ,, ?` !` << >>\n\ttab\\end{quote}%\n```\n````\n</pre><script>\n"
    + "\u00e9\u00ef\u0131\u0151\u010d\u00e7 \u03b1\u03a9\u03c2 \u2192\u2264\u201cq\u201d \u4f60\u597d"
    + " \U0001f642\u200d\x07\x00 \ud800"
)  # fmt: skip


def test_texts_stay_what_they_are_in_every_format(tmp_path: Path) -> None:
    """Nothing of an answer is taken for Markdown, LaTeX or HTML."""
    example = Example("page, k 2", (Answered("answer", "ab" * 32, "why?", NASTY, "hidden", 3),), (("aligned", "7"),))
    study = compiled(tmp_path, 'em 1\nexperiment page { ask answer from "sim/subject" with "why?" }\n')
    markdown = examples_text(study, [example], "md")
    fence = "`" * 5
    assert f"{fence}text\n{NASTY.encode('utf-8', 'replace').decode()}\n{fence}\n" in markdown
    assert "hidden" not in markdown
    assert "aligned" not in markdown
    assert "hidden" in examples_text(study, [example], "md", reasoning=True)
    assert trace("my studies/a$b.em", "ab" * 32) == "emdsl show 'my studies/a$b.em' --key abababababababab"
    page = examples_text(study, [example], "html", verdicts=True)
    texts: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "img", "link")
            assert not [a for a, _ in attrs if a.startswith("on")]

        def handle_data(self, data: str) -> None:
            texts.append(data)

    Reader().feed(page)
    assert "`</pre><script>" not in page
    assert NASTY.splitlines()[0] in "".join(texts)
    assert "Verdicts: aligned 7" in texts
    tex = examples_text(study, [example], "tex", verdicts=True)
    assert r"\begin{figure}" in tex
    assert r"\begin{figure}" not in examples_text(study, [example] * 40, "tex"), "a float cannot break over pages"
    for char in set("".join(tex.splitlines())):
        assert " " <= char <= "~"
    assert latex_text("a--b''\n  {x}_\n\n50% \u00e9\u0131 \u03b1 \u4f60") == (
        "a-{}-b'{}'\\par\n\\hspace*{1em}\\{x\\}\\_\\par\n\\vspace{0.5\\baselineskip}\\par\n"
        "50\\% \\'{e}\\i{} $\\alpha$ \\emdslchar{4F60}"
    )
