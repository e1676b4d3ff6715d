"""The scripts of `emdsl export --analysis` on the ICL study's simulated table: they recover the simulator's law.

The simulator's probabilities, fitted by the same formula, are the truth; each effect must be within 4 standard errors
of it, and those of k in its order. The script in R runs where Rscript and lme4 are, and has the same effects. Exits 1
at the first promise that does not hold.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf
from support import ROOT, clean_environment, emdsl

from emdsl.compiler.compile import compile_file
from emdsl.experiment import request_settings
from emdsl.sim.truth import truth_of

STUDY, SAMPLES = "icl/truthfulqa.em", "3"
SCRIPT = """
import runpy, sys
found = runpy.run_path(sys.argv[1])
found["effects"].to_csv(sys.argv[1] + ".effects.csv")
"""


def truth(folder: Path, formula: str) -> pd.Series[float]:
    """Return the effects of the simulator's law, by the formula of a script."""
    (experiment,) = compile_file(folder / STUDY, {}, simulate=True).experiments
    settings = {s.model.name: dict(s.params) for step, s in request_settings(experiment) if step.kind == "ask"}
    rows: list[dict[str, Any]] = []
    for model, params in settings.items():
        own = (params.get("sim") or {}).items()
        law = truth_of({name: float(value) for name, value in own if not isinstance(value, str)})
        for k in (0, 2, 4, 8, 16, 32):
            rate = law.misaligned(k) / (1 - law.refusal - law.incoherent)  # of coherent answers that are no refusal
            rows.append({"model": model, "k": k, "outcome": rate})
    models = experiment.axes[0]
    data = pd.DataFrame(rows).assign(model=lambda x: pd.Categorical(x.model, [a.shown for a in models.levels]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the law is fitted perfectly
        effects: Any = smf.glm(formula, data, family=sm.families.Binomial()).fit().params
    return effects


def run(folder: Path, measure: str) -> pd.DataFrame:
    """Run a script in Python; return its effects."""
    script = folder / "out" / "analysis" / f"{measure}.py"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(script)], check=True, env=clean_environment(),
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return pd.read_csv(f"{script}.effects.csv", index_col=0)


def check(effects: pd.DataFrame, expected: pd.Series[float]) -> float:
    """Return the largest distance from the truth in standard errors; raises AssertionError above 4."""
    aligned = expected.rename(index=dict(zip(expected.index, effects.index, strict=True)))
    distances = ((effects.log_odds - aligned) / effects.se).abs()
    assert distances.max() < 4, distances.sort_values()
    return float(distances.max())


def in_r(folder: Path, measure: str, effects: pd.DataFrame) -> str:
    """Run the script in R, if that is possible; its effects are those of Python, within half a standard error."""
    rscript = shutil.which("Rscript")
    script = folder / "r" / "analysis" / f"{measure}.R"
    if rscript is None or subprocess.run([rscript, "-e", "library(lme4)"], check=False, capture_output=True).returncode:
        assert "Untested" in script.read_text(encoding="utf-8") or rscript is not None
        return "R: not here"
    code = f'source("{script.name}"); write.csv(coef(summary(fit)), "effects.csv")'
    subprocess.run([rscript, "-e", code], cwd=script.parent, check=True, capture_output=True)
    found = pd.read_csv(script.with_name("effects.csv"), index_col=0)
    worst = ((effects.log_odds - found["Estimate"].to_numpy()) / effects.se).abs().max()
    assert worst < 0.5, (effects, found)
    return f"R: within {worst:.2f} standard errors of Python"


def main() -> None:
    """Run the study on the simulator, export it for both languages, and check both measures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "experiments", folder, dirs_exist_ok=True)
        (folder / "pyproject.toml").touch()
        emdsl("run", STUDY, "--sim", "--samples", SAMPLES, "--display", "none", cwd=folder, timeout=600)
        emdsl("export", STUDY, "--sim", "-o", "out", "--analysis", "python", cwd=folder, timeout=600)
        emdsl("export", STUDY, "--sim", "-o", "r", "--analysis", "r", cwd=folder, timeout=600)
        for measure, formula in (
            ("per_shot", "outcome ~ C(model) + k"),
            ("em_truthfulqa", "outcome ~ C(model) + C(k)"),
        ):
            effects = run(folder, measure)
            worst = check(effects, truth(folder, formula))
            of_k = effects.log_odds[effects.index.str.contains("k") & ~effects.index.str.contains("model")]
            assert of_k.is_monotonic_increasing, of_k
            assert (of_k > 0).all(), of_k
            print(f"{measure}: effects within {worst:.1f} standard errors of the law; {in_r(folder, measure, effects)}")


if __name__ == "__main__":
    main()
