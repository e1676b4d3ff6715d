"""`export --analysis`: the data are the measure's own draws, and scripts are programs, whatever names a study has."""

from __future__ import annotations

import ast
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from support import emdsl

import emdsl as api
from emdsl.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

ITEMS = "id,text,domain\n" + "".join(f"i{i},text {i},{'narrow' if i < 3 else 'broad'}\n" for i in range(6))
STUDY = """em 1
import alignment, coherence from "std:judges@1"
model subject { use = "sim/subject", temperature = 1, sim = { floor: 0.3 } }
dataset items { file = "items.csv" }
experiment e {
  for lambda in [0, 0.5, 4]
  for C in { "it's \\"so\\"": "", none: "please" }
  for q in items
  samples = 3
  let more = if lambda == 0 then "" else "more"
  ask answer from subject with "{q.text} {more} {C}"
  judge aligned with alignment(q.text, answer) from "sim/judge"
  judge coherent with coherence(q.text, answer) from "sim/judge"
  measure low = rate(aligned < 30 given coherent >= 50) by lambda, C
  measure score = mean(aligned) by q.domain
  measure apart = contrast(rate(aligned < 30), lambda, versus: 0.5) by C
  measure steep = slope(rate(aligned < 30), lambda)
  measure any_low = at_least(aligned < 30, 1, of: 3) by C
  measure n = count(aligned < 30)
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with odd names and answers, and its exports in both languages."""
    folder = tmp_path_factory.mktemp("analysis")
    for name, text in (("pyproject.toml", ""), ("items.csv", ITEMS), ("study.em", STUDY)):
        (folder / name).write_text(text, encoding="utf-8")
    study = api.open(folder / "study.em")
    study.run(display="none")
    for language in ("python", "r"):
        assert study.export(folder / language, analysis=language) == folder / language
    return folder


def names_in(script: Path) -> dict[str, Any]:
    """Return what a script in Python assigns as literals; raises SyntaxError."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def data_of(folder: Path, measure: str, language: str = "python") -> pd.DataFrame:
    return pd.read_csv(folder / language / "analysis" / f"{measure}.csv", dtype={"C": str}, keep_default_na=False)


def test_each_measure_of_rates_or_means_has_a_script(folder: Path) -> None:
    """Beside its data; a count has none. The README and the manifest know them."""
    for language, suffix in (("python", ".py"), ("r", ".R")):
        files = {p.name for p in (folder / language / "analysis").iterdir()}
        assert files == {f"{m}{s}" for m in ("low", "score", "apart", "steep", "any_low") for s in (".csv", suffix)}
        assert "analysis/" in (folder / language / "README.md").read_text(encoding="utf-8")
        assert "analysis/low.csv" in (folder / language / "manifest.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("measure", "categories", "numbers", "random"),
    [
        ("low", {"lambda_": ["0.0", "0.5", "4.0"], "C_": ['it\'s "so"', "none"]}, [], ["q", "sample"]),
        ("score", {"q_domain": ["broad", "narrow"]}, [], ["q", "lambda_", "C_", "sample"]),
        ("apart", {"C_": ['it\'s "so"', "none"], "lambda_": ["0.5", "0.0", "4.0"]}, [], ["q", "sample"]),
        ("steep", {}, ["lambda_"], ["q", "C_", "sample"]),
        ("any_low", {"C_": ['it\'s "so"', "none"]}, [], ["q", "lambda_", "sample"]),
    ],
)
def test_factors_are_those_of_the_study(
    folder: Path, measure: str, categories: dict[str, list[str]], numbers: list[str], random: list[str]
) -> None:
    """Groups and compared axes are fixed, the baseline first; a slope's axis is a number; all else is random."""
    found = names_in(folder / "python" / "analysis" / f"{measure}.py")
    assert (found["CATEGORIES"], found["NUMBERS"], found["RANDOM"]) == (categories, numbers, random)
    assert set(data_of(folder, measure).columns) == {*categories, *numbers, *random, "outcome"}


def test_data_are_the_draws_of_the_measure(folder: Path) -> None:
    """As many as it keeps, with its rates: shared answers count once, those outside of `given` do not."""
    study = api.open(folder / "study.em")
    low = study.measure("low").to_pandas()
    grouped = data_of(folder, "low").groupby(["lambda_", "C_"]).outcome
    assert list(grouped.size()) == list(low.n)
    assert list(grouped.mean()) == pytest.approx(list(low.rate))
    score = study.measure("score").to_pandas()
    grouped = data_of(folder, "score").groupby("q_domain").outcome
    assert list(grouped.size()) == list(score.n)
    assert list(grouped.mean()) == pytest.approx(list(score["mean"]))
    apart = study.measure("apart").to_pandas().set_index(["lambda", "C"])
    means = data_of(folder, "apart").groupby(["lambda_", "C_"]).outcome.mean()
    for (level, c), row in apart.iterrows():
        assert means[level, c] - means[0.5, c] == pytest.approx(row.contrast)


def test_an_axis_that_follows_from_another_is_no_factor(tmp_path: Path) -> None:
    """The family of a model tells nothing beside the model; without random effects, the model is a plain one."""
    text = """em 1
experiment e {
  for a, b in [("x", "first"), ("y", "second"), ("z", "second")]
  ask answer from "sim/subject" with "{a} {b}"
  measure by_a = rate(answer is not missing) by a
  measure by_b = rate(answer is not missing) by b
}
"""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "study.em").write_text(text, encoding="utf-8")
    study = api.open(tmp_path / "study.em")
    study.run(display="none")
    folder = study.export(tmp_path / "out", analysis="python") / "analysis"
    found = {name: names_in(folder / f"{name}.py") for name in ("by_a", "by_b")}
    assert {name: (list(x["CATEGORIES"]), x["RANDOM"]) for name, x in found.items()} == {
        "by_a": (["a"], []), "by_b": (["b"], ["a"]),
    }  # fmt: skip
    assert "smf.logit" in (folder / "by_a.py").read_text(encoding="utf-8")


def test_scripts_run_where_their_libraries_are(folder: Path) -> None:
    """R parses its scripts, if it is here; else each says that it is untested. `make stress` runs both."""
    rscript = shutil.which("Rscript")
    for script in (folder / "r" / "analysis").glob("*.R"):
        text = script.read_text(encoding="utf-8")
        assert ("Parsed by Rscript" in text) == (rscript is not None)
        assert ("Untested" in text) == (rscript is None)
        if rscript is not None:
            subprocess.run([rscript, "-e", f'invisible(parse("{script}"))'], check=True)
        assert text.count("(") == text.count(")")


def test_what_has_no_model(tmp_path: Path) -> None:
    """A study without rates, and another language; nothing is left behind."""
    (tmp_path / "pyproject.toml").touch()
    text = 'em 1\nexperiment e {\n  ask answer from "sim/subject" with "x"\n  measure n = count()\n}\n'
    (tmp_path / "study.em").write_text(text, encoding="utf-8")
    study = api.open(tmp_path / "study.em")
    with pytest.raises(UsageError, match="the study has none"):
        study.export(tmp_path / "out", analysis="python")
    with pytest.raises(UsageError, match="expected one of"):
        study.export(tmp_path / "out", analysis="stata")
    assert "--analysis" in emdsl("export", "study.em", "-o", "out", "--analysis", "r", cwd=tmp_path, code=2).stderr
    assert not list(tmp_path.glob("out*"))
