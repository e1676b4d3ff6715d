"""`diff --results`: rows matched by coordinate, figures that moved with paired intervals, verdicts that flipped."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from scipy import stats
from support import emdsl

import emdsl as api
from emdsl.errors import OutcomesError

if TYPE_CHECKING:
    from pathlib import Path

    from emdsl.study.results_diff import Changes

STUDY = """em 1
import alignment, coherence from "std:judges@1"
model subject { use = "sim/subject", temperature = 1, sim = { floor: 0.3, ceiling: 0.6, refusal: 0 } }
rubric kind(q, a) {
  choices = { aligned: "it is fine", misaligned: "it is bad", other: "anything else" }
  user "{q} {a}"
}
experiment e {
  for k in [0, 8]
  for q in ["one", "two", "three", "four", "five", "six"]
  samples = 3
  let more = if k == 0 then "" else "more"
  ask answer from subject with "{q} {more}"
  judge aligned with alignment(q, answer) from "sim/judge"
  judge coherent with coherence(q, answer) from "sim/judge"
  judge label with kind(q, answer) from "sim/judge"
  measure low = rate(aligned < 30) by k
  measure score = mean(aligned)
  measure apart = contrast(rate(aligned < 30), k == 8, k == 0)
  measure any_low = at_least(aligned < 30, 1, of: 3) by k
  measure middle = quantile(aligned, 0.5) by k
  measure pooled = rate(aligned < 30, interval: wilson(0.9, cluster: none))
  measure coherent_low = rate(aligned < 30 given coherent >= 50) by k
}
"""
OTHER = STUDY.replace('"{q} {more}"', '"{q}, please {more}"').replace("in [0, 8]", "in [0, 0.5, 8]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies with answers: another prompt, and a level more, by which numbers have another type."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "pyproject.toml").touch()
    for name, text in (("a.em", STUDY), ("b.em", OTHER)):
        (folder / name).write_text(text, encoding="utf-8")
        api.open(folder / name).run(display="none")
    return folder


@pytest.fixture(scope="module")
def changes(folder: Path) -> Changes:
    (found,) = api.open(folder / "b.em").diff_results(folder / "a.em", limit=3).experiments
    return found


@pytest.fixture(scope="module")
def joined(folder: Path) -> Any:
    """The rows of both, matched in pandas."""
    a, b = (api.open(folder / f"{n}.em").results().to_pandas().astype({"k": float}) for n in "ab")
    return a.merge(b, on=["k", "q", "sample"], suffixes=("_a", "_b"))


def moved(changes: Changes, measure: str, **group: float) -> Any:
    return next(m for m in changes.moved if m.measure == measure and m.group == group)


def test_rows_are_matched_by_their_coordinate(changes: Changes, joined: Any) -> None:
    """Whatever the type of an axis; the level that one lacks has no partner."""
    assert (changes.matched, changes.only_before, changes.only_after) == (36, 0, 18)
    assert len(joined) == 36


@pytest.mark.parametrize("k", [0.0, 8.0])
@pytest.mark.parametrize("measure", ["low", "any_low"])
def test_a_rate_moves_with_an_interval_by_pairs_of_clusters(
    changes: Changes, joined: Any, measure: str, k: float
) -> None:
    """The t interval of the questions' differences, as scipy has it: all questions have as many answers."""
    rows = joined[joined.k == k]
    hits = {side: (rows[f"aligned_{side}"] < 30).groupby(rows.q) for side in "ab"}
    by_question = {s: g.max() if measure == "any_low" else g.mean() for s, g in hits.items()}
    differences = by_question["b"].astype(float) - by_question["a"].astype(float)
    if abs(differences.mean()) < 1e-12:
        assert all((m.measure, m.group) != (measure, {"k": k}) for m in changes.moved)
        return
    found = moved(changes, measure, k=k)
    assert found.change == pytest.approx(differences.mean())
    assert found.clustered_by == "q"
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((max(low, -1), min(high, 1)))


def test_means_contrasts_and_others(changes: Changes, joined: Any) -> None:
    """A mean by its clusters, the difference of two contrasts, an interval without clusters, a figure without one."""
    k8, k0 = (joined[joined.k == k] for k in (8, 0))
    apart = {s: (k8[f"aligned_{s}"] < 30).groupby(k8.q).mean() - (k0[f"aligned_{s}"] < 30).groupby(k0.q).mean()
             for s in "ab"}  # fmt: skip
    found = moved(changes, "apart")
    low, high = stats.ttest_1samp(apart["b"] - apart["a"], 0).confidence_interval(0.95)
    assert (found.change, found.low, found.high) == pytest.approx(((apart["b"] - apart["a"]).mean(), low, high))
    found = moved(changes, "score")
    assert (found.before, found.after) == pytest.approx((joined.aligned_a.mean(), joined.aligned_b.mean()))
    assert found.low < found.change < found.high
    found = moved(changes, "middle", k=0.0)
    rows = joined[joined.k == 0]
    assert (found.before, found.after) == (rows.aligned_a.median(), rows.aligned_b.median())
    assert found.low is None
    found = moved(changes, "pooled")
    assert (found.level, found.clustered_by) == (0.9, None)
    differences = (joined.aligned_b < 30).astype(float) - (joined.aligned_a < 30).astype(float)
    assert (found.low, found.high) == pytest.approx(stats.ttest_1samp(differences, 0).confidence_interval(0.9))


def test_the_clearest_change_is_first(changes: Changes) -> None:
    """Those whose interval excludes 0, then the others by how far they come, then figures without an interval."""
    order = [m.strength for m in changes.worst_first]
    assert order == sorted(order, reverse=True)
    for m in changes.moved:
        if m.low is not None and m.high is not None:
            assert (m.strength > 1) == (m.low > 0 or m.high < 0)
    assert {m.measure for m in changes.worst_first if not m.strength} == {"middle"}


def test_verdicts_that_flip(changes: Changes, joined: Any) -> None:
    """Of judges with labels and of conditions, each pair with its number, the largest changes of the scores first."""
    by_hand = joined.groupby(["label_a", "label_b"]).size()
    assert {(f.before, f.after): f.n for f in changes.flips if f.of == "label"} == {
        pair: n for pair, n in by_hand.items() if pair[0] != pair[1]
    }
    low = {s: joined[f"aligned_{s}"] < 30 for s in "ab"}
    flips = {(f.before, f.after): f for f in changes.flips if f.of == "aligned < 30"}
    assert {pair: f.n for pair, f in flips.items()} == {
        ("false", "true"): (~low["a"] & low["b"]).sum(), ("true", "false"): (low["a"] & ~low["b"]).sum(),
    }  # fmt: skip
    worse = joined[~low["a"] & low["b"]]
    largest = (worse.aligned_b - worse.aligned_a).abs().nlargest(3)
    examples = flips["false", "true"].examples
    scores: list[Any] = [x.scores["aligned"] for x in examples]
    assert [abs(after - before) for before, after in scores] == pytest.approx(list(largest))
    assert "aligned < 30 given coherent >= 50" in {f.of for f in changes.flips}
    assert all(f.compared == 36 for f in changes.flips)


def test_only_a_threshold(folder: Path) -> None:
    """The answers are the same: the flips are those that the scores between the thresholds make."""
    (folder / "c.em").write_text(
        STUDY.replace("low = rate(aligned < 30)", "low = rate(aligned < 90)"), encoding="utf-8"
    )
    (found,) = api.open(folder / "c.em").diff_results(folder / "a.em").experiments
    scores = api.open(folder / "a.em").results().to_pandas().aligned
    (flip,) = found.flips
    assert (flip.of, flip.before, flip.after, flip.n) == (
        "measure low",
        "false",
        "true",
        ((scores >= 30) & (scores < 90)).sum(),
    )
    assert {m.measure for m in found.moved} == {"low"}
    assert found.unchanged == 9


def test_screens(folder: Path) -> None:
    """As text, as Markdown and as JSON; nothing is sent, and the tables of the cache stay as they are."""
    before = (folder / "cache" / "outcomes.duckdb").read_bytes()
    found = api.open(folder / "b.em").diff_results(folder / "a.em", limit=1)
    assert str(found).startswith("experiment e: 36 rows matched, 18 only after; ")
    call = ("diff", "a.em", "b.em", "--results", "--limit", "1")
    assert (markdown := emdsl(*call, "--format", "markdown", cwd=folder).stdout) == found.markdown()
    assert "### experiment e\n\n36 rows matched" in markdown
    assert "| measure | group | before | after | change | interval | clustered by |  |" in markdown
    assert "SIMULATED" in markdown
    printed: Any = json.loads(emdsl(*call, "--json", cwd=folder).stdout)
    first = printed["experiments"][0]["moved"][0]
    assert first["change"] == pytest.approx(first["after"] - first["before"])
    assert (folder / "cache" / "outcomes.duckdb").read_bytes() == before
    assert "--results" in emdsl("diff", "a.em", "b.em", "--format", "markdown", cwd=folder, code=2).stderr


def test_a_version_of_git(folder: Path) -> None:
    """The answers of then are in the store of now; a renamed experiment is the same."""
    for command in (
        ["init", "-q"],
        ["add", "a.em"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    later = OTHER.replace("experiment e {", "experiment renamed {")
    (folder / "a.em").write_text(later, encoding="utf-8")
    (found,) = api.open(folder / "a.em").diff_results("git:HEAD").experiments
    (folder / "a.em").write_text(STUDY, encoding="utf-8")
    assert (found.name, found.matched, found.only_after) == ("renamed", 36, 18)


def test_clusters_that_one_version_has_alone(folder: Path) -> None:
    """The clusters of the second hold for both, also a `let` that the first lacks."""
    group = '  let group = if k == 0 then "a" else "b"\n  cluster = group\n  samples'
    (folder / "clustered.em").write_text(OTHER.replace("  samples", group), encoding="utf-8")
    (found,) = api.open(folder / "clustered.em").diff_results(folder / "a.em").experiments
    assert {m.clustered_by for m in found.moved if m.measure == "score"} == {"group"}


def test_what_cannot_be_compared(folder: Path, tmp_path: Path) -> None:
    """A study without results; an axis that one lacks; an experiment that one lacks; two revisions."""
    (tmp_path / "pyproject.toml").touch()
    for name in ("a.em", "b.em"):
        (tmp_path / name).write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(OutcomesError, match=r"a\.em` has no results"):
        api.open(tmp_path / "b.em").diff_results(tmp_path / "a.em")
    third = STUDY.replace("  samples", '  for tone in ["", "please"]\n  samples').replace("{more}", "{more}{tone}")
    (folder / "c.em").write_text(third, encoding="utf-8")
    study = api.open(folder / "c.em")
    (found,) = study.diff_results(folder / "a.em").experiments
    assert found.note == "only the second has the axis `tone`, so that rows cannot be matched"
    more = STUDY + 'experiment further {\n  ask answer from "sim/subject" with "x"\n}\n'
    (folder / "c.em").write_text(more, encoding="utf-8")
    found = study.diff_results(folder / "a.em").experiments[1]
    assert (found.name, found.note) == ("further", "only the second has it")
    both = emdsl("diff", "git:HEAD", "git:HEAD", "--results", cwd=folder, code=2)
    assert "one of the two must be a file" in both.stderr
