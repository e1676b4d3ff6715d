"""The clusters of an experiment: those that it names, those that are detected, and those that a measure inherits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import program

from emdsl.experiment import Clusters

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = '["one", "two", "three", "four", "five", "six"]'
FEW = '["one", "two", "three", "four"]'
FIVE = '["1", "2", "3", "4", "5"]'
LABELLED = '{ a: "one", b: "two", c: "three", d: "four", f: "five" }'
MODELS = '["sim/subject", "sim/judge", "openai/gpt-4o", "openai/o3", "google/gemini-2.5-pro"]'
FILES = {
    "rows.csv": "id,text,topic\n" + "".join(f"{i},question {i},{i % 2}\n" for i in range(7)),
    "few.csv": "text\n" + "".join(f"few {i}\n" for i in range(4)),
    "shots.csv": "x\n" + "".join(f"shot {i}\n" for i in range(30)),
}
STUDY = """
dataset rows { file = "rows.csv" }
dataset few { file = "few.csv" }
dataset shots { file = "shots.csv" }
experiment e {
  BODY
  let topic = "kind of {USED}"
  ask answer from MODEL with "USED{DRAWN}"
  let short = answer.tokens < 10
  measure m = rate(short)
}
"""


def clusters(
    folder: Path, body: str, used: str, drawn: str = "", model: str = '"sim/subject"'
) -> tuple[Clusters, list[str]]:
    """Return the clusters of an experiment, and the warnings about them."""
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    text = STUDY.replace("BODY", body).replace("{USED}", used.split("}", maxsplit=1)[0] + "}").replace("USED", used)
    found = program(text.replace("DRAWN", drawn).replace("{}", "").replace("MODEL", model), folder)
    return found.experiments[0].clusters, [w.code for w in found.warnings if w.code.startswith("W85")]


@pytest.mark.parametrize(
    ("body", "used", "wanted", "codes"),
    [
        # the axis over dataset rows, however many texts there are
        ("for q in rows", "{q.text}", Clusters(names=("q",), detected=True), []),
        (f"for t in {TEXTS}\nfor q in rows", "{t}{q.text}", Clusters(names=("q",), detected=True), []),
        ("for q in few", "{q.text}", Clusters(items_only=True, few=("q",)), []),
        # texts without labels, not labels, numbers or models
        (f"for t in {TEXTS}", "{t}", Clusters(names=("t",), detected=True), []),
        (f"for t in {FEW}", "{t}", Clusters(items_only=True, few=("t",)), []),
        (f"for t in {LABELLED}", "{t}", Clusters(), []),
        ("for t in 1..20", "{t}", Clusters(), []),
        # two that fit: the larger one, the first of equal ones
        ("for p in rows\nfor q in rows", "{p.text}{q.text}", Clusters(names=("p",), detected=True), ["W850"]),
        ("for p in few\nfor q in rows", "{p.text}{q.text}", Clusters(names=("q",), detected=True), []),
        ("for p in few\nfor q in few", "{p.text}{q.text}", Clusters(items_only=True, few=("p", "q")), []),
        (f"for s in {FIVE}\nfor t in {TEXTS}", "{s}{t}", Clusters(names=("t",), detected=True), ["W850"]),
        # as written
        ("for q in rows\ncluster = none", "{q.text}", Clusters(items_only=True), []),
        ("for q in few\ncluster = q", "{q.text}", Clusters(names=("q",)), []),
        ("for q in rows\ncluster = topic", "{q.topic}", Clusters(names=("topic",)), []),
        ("for q in rows\nsamples = 3\ncluster = [q, sample]", "{q.text}", Clusters(names=("q", "sample")), []),
        ("for p in rows\nfor q in rows\ncluster = [p, q]", "{p.text}{q.text}", Clusters(names=("p", "q")), []),
        ("for t in 1..20\ncluster = t", "{t}", Clusters(names=("t",)), []),
    ],
)  # fmt: skip
def test_clusters_are_named_or_detected(
    tmp_path: Path, body: str, used: str, wanted: Clusters, codes: list[str]
) -> None:
    """Chosen once for an experiment; a setting ends all guesses, and all warnings."""
    assert clusters(tmp_path, body, used) == (wanted, codes)


def test_models_are_not_items(tmp_path: Path) -> None:
    """An axis of names that an `ask` sends to is a list of texts, and no sample of others."""
    models = f"for m in {MODELS}"
    assert clusters(tmp_path, models, "{m}", model="m") == (Clusters(), [])
    found = clusters(tmp_path, f"{models}\nfor t in {TEXTS}", "{m}{t}", model="m")
    assert found == (Clusters(names=("t",), detected=True), [])


@pytest.mark.parametrize(
    ("samples", "drawn", "names", "codes"),
    [
        (2, "draw(shots, 2, seed: sample)", ("q",), ["W851"]),
        (3, "draw(shots, 2, seed: sample)", ("q", "sample"), ["W851"]),
        (9, "draw(shots, 2, seed: sample)", ("q", "sample"), ["W851"]),
        (10, "draw(shots, 2, seed: sample)", ("q", "sample"), []),
        (1, "draw(shots, 2, seed: sample)", ("q",), []),
        (3, "draw(shots, 2, seed: [q.id, sample])", ("q",), []),
        (3, "draw(shots, 2, seed: 7)", ("q",), []),
        (3, "draw(shots, 2, sample)", ("q", "sample"), ["W851"]),
        (3, "draw(shots, 2, seed: set_number)", ("q", "sample"), ["W851"]),
        (3, "[pick(shots, seed: sample)]", ("q", "sample"), ["W851"]),
        (3, "draw([s for s in shots if s.x != q.text], 2, seed: sample)", ("q",), []),  # of each question's own pool
    ],
)
def test_crossed_demonstrations(
    tmp_path: Path, samples: int, drawn: str, names: tuple[str, ...], codes: list[str]
) -> None:
    """One set for all questions: three are the second way of clustering, and fewer than ten are told."""
    body = f"for q in rows\nsamples = {samples}\nlet set_number = sample + 1\nlet chosen = {drawn}"
    body += "\nlet examples = join([s.x for s in chosen])"
    crossed = "q" if codes or "sample" in names else ""
    wanted = Clusters(names=names, detected=True, crossed=crossed)
    assert clusters(tmp_path, body, "{q.text}", "{examples}") == (wanted, codes)


INHERITED = """
dataset rows { file = "rows.csv" }
experiment e {
  for k in [0, 4]
  for q in rows
  samples = 3
  cluster = [q, sample]
  let topic = q.topic
  ask answer from "sim/subject" with "{k}{q.text}"
  let short = answer.tokens < 10
  measure m = MEASURE
}
"""


@pytest.mark.parametrize(
    ("measure", "names"),
    [
        ("rate(short)", ("q", "sample")),
        ("mean(k)", ("q", "sample")),
        ("quantile(k, 0.5)", ("q", "sample")),
        ("slope(rate(short), k)", ("q", "sample")),
        ("agreement(short, k > 1)", ("q", "sample")),
        ("contrast(rate(short), k, versus: 0)", ("q", "sample")),
        ('contrast(rate(short), q.topic == "0", q.topic == "1")', ("q", "sample")),  # each side has its own questions
        ('contrast(contrast(rate(short), k, versus: 0), q.topic == "0", q.topic == "1")', ("q", "sample")),
        ("rate(short, interval: bootstrap(0.9))", ("q", "sample")),
        ("rate(short, interval: wald(0.9))", ("q", "sample")),
        # cells hold all samples
        ("at_least(short, 1)", ("q",)),
        ("contrast(at_least(short, 1), k, versus: 0)", ("q",)),
        # instead of the experiment's
        ("rate(short, interval: wilson(0.9, cluster: topic))", ("topic",)),
        ("rate(short, interval: wilson(0.9, cluster: none))", ()),
        ("contrast(rate(short), k, versus: 0, interval: wald(0.9, cluster: q))", ("q",)),
        # taken apart by the groups, also by a column that tells all rows apart
        ("rate(short) by q", ("sample",)),
        ("rate(short) by q.text", ("sample",)),
        ("rate(short) by q.id, k", ("sample",)),
        ("rate(short) by q.topic", ("q", "sample")),
        ("rate(short) by k, sample", ("q",)),
        ("rate(short) by q, sample", ()),
        ("at_least(short, 1) by q", ()),
    ],
)
def test_every_measure_inherits_them(tmp_path: Path, measure: str, names: tuple[str, ...]) -> None:
    """Without those that its groups or its sides take apart."""
    (tmp_path / "rows.csv").write_text(FILES["rows.csv"], encoding="utf-8")
    (found,) = program(INHERITED.replace("MEASURE", measure), tmp_path).experiments[0].measures
    assert found.interval is not None
    assert found.interval.cluster == names
    assert found.interval.clusters.written == ("cluster:" in measure)


@pytest.mark.parametrize(("by", "items_only"), [("", True), (" by t", False), (" by k", True), (" by k, t", False)])
def test_few_items_are_said_unless_each_has_a_row(by: str, items_only: bool) -> None:
    """An interval over four texts speaks of these four; an interval for each of them needs no such word."""
    text = f'experiment e {{\n for t in {FEW}\n for k in [1, 2]\n ask a from "sim/subject" with "{{t}}{{k}}"\n'
    (found,) = program(text + f' measure m = rate(a.finish == "stop"){by}\n}}').experiments[0].measures
    assert found.interval is not None
    assert found.interval.clusters.items_only is items_only
