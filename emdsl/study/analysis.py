"""Analyses: the draws of each measure as CSV, with a script that fits a mixed model to them in Python or R."""

from __future__ import annotations

import json
import keyword
import shutil
import subprocess
from typing import TYPE_CHECKING

from emdsl.errors import UsageError
from emdsl.experiment import WEIGHTS
from emdsl.outcomes import database
from emdsl.outcomes.long_data import MODELLED, LongData, is_modelled, long_data
from emdsl.source import one_of
from emdsl.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from emdsl.experiment import Measure, Program
    from emdsl.outcomes.database import Connection

LANGUAGES = {"python": ".py", "r": ".R"}
PARSE_S = 60.0  # for Rscript
FORMULA_WORDS = frozenset(("C", "I", "Q", "pd", "np"))  # names with a meaning in formulas of statsmodels
ABOUT = """\
Mixed model of `{measure}` of the study `{study}`{simulated}, written by emdsl {version}.

    {written}

Data: {csv}, {n} draws; rows without a verdict, and those outside of `given`, are left out.{shared}
Outcome: {outcome}. Fixed effects: {fixed}. Random intercepts: {random}.
"""
PYTHON = '''\
"""{about}
Install it with: pip install pandas statsmodels
Change `FIXED` for interactions, as in "C(model) * k", or to make a number a category.
"""

from pathlib import Path

{imports}

DATA = Path(__file__).with_name({csv!r})
CATEGORIES = {categories}  # the first level of each is the baseline
NUMBERS = {numbers}
RANDOM = {random}
FIXED = {between!r}.join([*(f"C({{c}})" for c in CATEGORIES), *NUMBERS]) or "1"

data = pd.read_csv(DATA, dtype=str, keep_default_na=False)
for column in [{outcome!r}, *NUMBERS]:
    data[column] = data[column].astype(float)
for column, levels in CATEGORIES.items():
    data[column] = pd.Categorical(data[column], levels).remove_unused_categories()
if data[{outcome!r}].nunique() < 2:
    raise SystemExit("all outcomes are the same: there is nothing to fit")

{fit}
effects["low"], effects["high"] = (effects.iloc[:, 0] + z * effects["se"] for z in (-1.96, 1.96))
print(effects.round(3).to_string())
'''
BAYES = """\
import numpy as np
import pandas as pd
from scipy import sparse
from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM"""
FORMULAS = """\
import pandas as pd
import statsmodels.formula.api as smf"""
MIXED_LOGIT = """\
# A logistic model by variational Bayes, with weak priors. It understates the standard errors of fixed effects:
# these are by Laplace's approximation at its estimates, as in lme4.
random = {{c: f"0 + C({{c}})" for c in RANDOM}}
model = BinomialBayesMixedGLM.from_formula(f"{outcome} ~ {{FIXED}}", random, data, fe_p=10)
result = model.fit_vb()
spread = np.exp(result.vcp_mean)
chance = 1 / (1 + np.exp(-(model.exog @ result.fe_mean + model.exog_vc @ result.vc_mean)))
design = sparse.hstack([sparse.csr_matrix(model.exog), model.exog_vc]).tocsr()
prior = np.r_[np.full(model.exog.shape[1], model.fe_p), spread[model.ident]] ** -2.0
precision = (design.T @ design.multiply((chance * (1 - chance))[:, None])).toarray() + np.diag(prior)
errors = np.sqrt(np.diag(np.linalg.inv(precision)))[: model.exog.shape[1]]
effects = pd.DataFrame({{"log_odds": result.fe_mean, "se": errors}}, index=model.exog_names)
print("standard deviations of the random intercepts:", dict(zip(RANDOM, spread.round(3).tolist())))"""
LOGIT = """\
# A logistic model, without random intercepts.
result = smf.logit(f"{outcome} ~ {{FIXED}}", data).fit(disp=False)
effects = pd.DataFrame({{"log_odds": result.params, "se": result.bse}})"""
MIXED_LINEAR = """\
# A linear model. The random intercepts after the first one are within its levels.
random = {{c: f"0 + C({{c}})" for c in RANDOM[1:]}}
result = smf.mixedlm(f"{outcome} ~ {{FIXED}}", data, groups=data[RANDOM[0]], re_formula="1", vc_formula=random).fit()
if not result.converged:
    raise SystemExit("the model did not converge, and its effects would mislead: take a factor out of RANDOM")
effects = pd.DataFrame({{"effect": result.fe_params, "se": result.bse_fe}})
print(result.summary())"""
LINEAR = """\
# A linear model, without random intercepts.
result = smf.ols(f"{outcome} ~ {{FIXED}}", data).fit()
effects = pd.DataFrame({{"effect": result.params, "se": result.bse}})"""
FITS = {  # by whether the outcome is binary, and whether there are random effects
    (True, True): (BAYES, MIXED_LOGIT), (True, False): (FORMULAS, LOGIT), (False, True): (FORMULAS, MIXED_LINEAR),
    (False, False): (FORMULAS, LINEAR),
}  # fmt: skip
R = """\
{about}#
# Install it with: install.packages("lme4")
# {tested}
# Run it in its own folder: Rscript {script}

{library}data <- read.csv({csv}, colClasses = "character", check.names = FALSE, na.strings = character(0))
{columns}
fit <- {fit}
print(summary(fit))
"""


def write_analysis(connection: Connection, folder: Path, study: str, program: Program, language: str) -> None:
    """Write the data and the script of each measure of rates or means into a new folder.

    Raises:
        UsageError: The study has no such measure, or the language is unknown.
    """
    if language not in LANGUAGES:
        raise UsageError(f"expected one of {one_of(LANGUAGES)}, not {language!r}", parameter="analysis")
    measures = [(e, m) for e in program.experiments for m in e.measures if is_modelled(m)]
    if not measures:
        raise UsageError(f"a mixed model is of {one_of(MODELLED)}, and the study has none", parameter="analysis")
    folder.mkdir()
    simulated = database.simulated_mark(connection, study)
    for experiment, measure in measures:
        data = long_data(connection, experiment, measure, study)
        called = {c: _column(c, language) for c in (*data.categories, *data.numbers, *data.random, data.outcome)}
        csv = folder / f"{measure.name}.csv"
        n = database.write_csv(connection, data.sql, called, csv)
        about = _about(measure, data, study, simulated, n)
        script = csv.with_suffix(LANGUAGES[language])
        between = " * " if len(measure.sides) == len(WEIGHTS[4]) else " + "  # of contrasts, the interaction is meant
        write = _python if language == "python" else _r
        text = write(data, called, csv.name, about, between)
        script.write_text(text, encoding="utf-8")
        if language == "r":
            script.write_text(text.replace("TESTED", _tested(script)), encoding="utf-8")


def _about(measure: Measure, data: LongData, study: str, simulated: str, n: int) -> str:
    fixed, random = [*data.categories, *data.numbers], data.random
    written = " ".join(measure.whole.text.split())
    shared = f" {data.shared:,} of them have the answer of a draw in another group." if data.shared else ""
    outcome = "1 where the condition holds, 0 where it does not" if data.binary else "the number"
    return ABOUT.format(
        measure=measure.name, study=study, simulated=simulated, version=__version__, written=written,
        csv=f"{measure.name}.csv", n=f"{n:,}", shared=shared, outcome=outcome, fixed=", ".join(fixed) or "none",
        random=", ".join(random) or "none",
    )  # fmt: skip


def _column(column: str, language: str) -> str:
    """Return a column's name in the data: one with a meaning in Python's formulas gets an underscore."""
    taken = language == "python" and (keyword.iskeyword(column) or column in FORMULA_WORDS)
    return f"{column}_" if taken else column


def _python(data: LongData, called: Mapping[str, str], csv: str, about: str, between: str) -> str:
    imports, fit = FITS[data.binary, bool(data.random)]
    return PYTHON.format(
        about=about.replace("\\", "\\\\").replace('"""', '\\"""'), imports=imports, csv=csv,
        categories={called[c]: levels for c, levels in data.categories.items()},
        numbers=[called[c] for c in data.numbers], random=[called[c] for c in data.random], outcome=data.outcome,
        fit=fit.format(outcome=data.outcome), between=between,
    )  # fmt: skip


def _r(data: LongData, called: Mapping[str, str], csv: str, about: str, between: str) -> str:
    def held(column: str) -> str:
        return f"data[[{_text(called[column])}]]"

    fixed = [f"`{called[c]}`" for c in (*data.categories, *data.numbers)] or ["1"]
    effects = [between.join(fixed), *(f"(1 | `{called[c]}`)" for c in data.random)]
    lines = [f"{held(c)} <- as.numeric({held(c)})" for c in (data.outcome, *data.numbers)]
    for column, levels in data.categories.items():  # the first level of each is the baseline
        texts = ", ".join(map(_text, levels))
        lines.append(f"{held(column)} <- droplevels(factor({held(column)}, levels = c({texts})))")
    function = {(True, True): "glmer", (True, False): "glm", (False, True): "lmer", (False, False): "lm"}
    formula = f"`{called[data.outcome]}` ~ {' + '.join(effects)}"
    fit = f"{function[data.binary, bool(data.random)]}({formula}, data = data{', family = binomial' * data.binary})"
    return R.format(
        about="".join(f"# {line}".rstrip() + "\n" for line in about.splitlines()), tested="TESTED",
        script=csv.replace(".csv", ".R"), library="library(lme4)\n\n" if data.random else "", csv=_text(csv),
        columns="\n".join(lines), fit=fit,
    )  # fmt: skip


def _text(text: str) -> str:
    """Return a text as R reads it: JSON's escapes are R's, but that of the slash."""
    return json.dumps(text, ensure_ascii=False)


def _tested(script: Path) -> str:
    """Return what is known of a script in R: whether Rscript parses it, if there is one."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        return "Untested: there was no Rscript when emdsl wrote this."
    call = [rscript, "-e", "invisible(parse(commandArgs(TRUE)))", str(script)]
    try:
        done = subprocess.run(call, capture_output=True, check=False, timeout=PARSE_S)  # noqa: S603 - our own script
    except (OSError, subprocess.TimeoutExpired):
        return "Untested: Rscript did not run when emdsl wrote this."
    return "Parsed by Rscript." if done.returncode == 0 else "Untested: Rscript could not parse it."
