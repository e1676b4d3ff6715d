"""Wrong calls of the newer functions of measures: one error each, what it says and what it advises."""

from __future__ import annotations

import pytest
from support import program

from emdsl.errors import SourceError

STUDY = """
rubric score(answer) from "sim/judge" { scale = 0..100, user "score {answer}" }
rubric kind(answer) from "sim/judge" { choices = ["good", "bad"], user "kind {answer}" }
experiment e {
  for m in ["a", "b"]
  for k in [0, 1, 2, 4]
  for q in ["q{i}" for i in 0..7]
  samples = 2
  ask a from "sim/subject" with "{q} {k} {m}"
  judge v with score(a) { samples = 3 }
  judge r with kind(a) { samples = 2 }
  measure x = CALL
}
"""
AXES = "the axes are `m`, `k`, `q`"
FACTORS = "expected a list of up to 3 sources of variance: axes, `sample` or `let`s"
FAULTS = [  # a call, the code, the message and the help
    ("sd()", "E212", "`sd` needs a number", "write `sd(NUMBER)`; `interval:` is optional"),
    ("sd(v, v_2)", "E213", "`sd` expects at most 1 value",
     "write `sd(NUMBER)`; `given CONDITION` and `interval:` are optional"),
    ("sd(v, effect: 3)", "E213", "`sd` has no parameter `effect`",
     "write `sd(NUMBER)`; `given CONDITION` and `interval:` are optional"),
    ("sd(v < 30)", "E842", "expected a number in `sd(...)`, got a boolean", "for a condition use `rate(...)`"),
    ("sd(r)", "E842", "expected a number in `sd(...)`, got a label",
     "for labels use `shares(...)`, or `rate(NAME is LABEL)`"),
    ("sd(a)", "E842", "expected a number in `sd(...)`, got an answer",
     "read the answer: with `scale = 0..100` an ask has `NAME.score`, with `choices` it has `NAME.label`"),
    ("sd(v, interval: bootstrap(0.95))", "E843", "`bootstrap` is not an interval for `sd`", "use `wald`"),
    ("correlation(v)", "E212", "`correlation` needs two numbers to compare, got one",
     "write `correlation(v, NUMBER)`; `interval:` is optional"),
    ("correlation(v, v_2, v_3)", "E213", "`correlation` expects at most 2 values",
     "write `correlation(NUMBER, NUMBER)`; `given CONDITION` and `interval:` are optional"),
    ("correlation(v, v < 30)", "E842", "expected a number in `correlation(...)`, got a boolean",
     "for a condition use `rate(...)`"),
    ("correlation(v, v)", "E849", "a score always correlates with itself", "give two different scores"),
    ("rate(v < 30, equal: unknown)", "E843", "expected an axis as `equal`: each of its levels weighs the same", AXES),
    ("mean(v, equal: sample)", "E843", "expected an axis as `equal`: each of its levels weighs the same", AXES),
    ("mean(v, equal: [q, m])", "E843", "expected an axis as `equal`: each of its levels weighs the same", AXES),
    ("rate(v < 30) by v", "E844", "unknown axis `v` after `by`",
     "`v` is not an axis: write a measure for each of its values, with `given v == VALUE`"),
    ("rate(v < 30, equal: q) by q", "E844", "`q` is the axis of `equal`, so it cannot follow `by`",
     "remove `q` from `by`, or use another axis"),
    ("rate(v < 30, equal: q, interval: bootstrap(0.95))", "E843", "`bootstrap` is not an interval for `equal`",
     "leave `interval` out: the default rests on the same clusters"),
    ("quantile(v, 0.5, equal: q)", "E213", "`quantile` has no parameter `equal`",
     "write `quantile(NUMBER, 0.5)`; `given CONDITION` and `interval:` are optional"),
    ('contrast(rate(v < 30, equal: q), m == "a", m == "b")', "E213", "inside `contrast`, `rate` has no `equal`",
     "remove `equal: ...`"),
    ("shares()", "E212", "`shares` needs a label", "write `shares(LABEL)`; `interval:` is optional"),
    ("shares(v)", "E842", "expected a label in `shares(...)`, got a score",
     "for a score use `rate(SCORE < 30)`, `mean(...)` or `quantile(...)`"),
    ("shares(r is good)", "E842", "expected a label in `shares(...)`, got a boolean",
     "for a condition use `rate(...)`"),
    ("shares(m)", "E842", "expected a label in `shares(...)`, got an axis",
     "use a judge with `choices`, `NAME.label` of an `ask`, or a field of a verdict with labels"),
    ("shares(r, interval: wald(0.95))", "E843", "`wald` is not an interval for `shares`", "use `wilson`"),
    ("agreement(v)", "E212", "`agreement` needs two judgements to compare, got one",
     "write `agreement(v, JUDGEMENT)`; `interval:` and `metric:` are optional"),
    ("agreement(v, v, v_2)", "E849", "a judgement always agrees with itself",
     "give different judgements; a judge with `samples = 2` has two: `agreement(NAME, NAME_2)`"),
    ("agreement(v, v_2, v)", "E849", "a judgement always agrees with itself",
     "give different judgements; a judge with `samples = 2` has two: `agreement(NAME, NAME_2)`"),
    ("agreement(v, v_2, r)", "E849", "`agreement` cannot compare a score and a label",
     "compare two scores, two labels or two conditions"),
    ("agreement(v, v_2, metric: ratio)", "E843", "expected `nominal`, `ordinal`, `interval` as `metric`",
     "write `metric: nominal`"),
    ("agreement(r, r_2, metric: ordinal)", "E849", "`metric: ordinal` needs numbers",
     "write `metric: nominal` for labels and conditions"),
    ("agreement(v, v_2, v_3, interval: wald(0.95))", "E843",
     "`wald` is for two judges, `bootstrap` for more or for a `metric`", "leave `interval` out"),
    ("components()", "E212", "`components` needs `rate(...)` or `mean(...)` and a list of axes",
     "write `components(rate(CONDITION), [AXIS, sample])`"),
    ("components(rate(v < 30))", "E212", "`components` needs a list of axes",
     "write `components(rate(v < 30), [AXIS, sample])`"),
    ("components(v < 30, [q])", "E847", "expected `rate(...)`, `mean(...)` in `components(...)`",
     "write `mean(SCORE)` for the mean of a score, or `rate(SCORE < 30)` for the rate of a condition"),
    ("components(rate(v < 30), [])", "E843", FACTORS, "use one to three of `m`, `k`, `q`, `sample`"),
    ("components(rate(v < 30), none)", "E843", FACTORS, "use one to three of `m`, `k`, `q`, `sample`"),
    ("components(rate(v < 30), [q, q])", "E843", FACTORS, "use one to three of `m`, `k`, `q`, `sample`"),
    ("components(rate(v < 30), [q, m, k, sample])", "E843", FACTORS, "use one to three of `m`, `k`, `q`, `sample`"),
    ("components(rate(v < 30), [q, v])", "E843", FACTORS, "use one to three of `m`, `k`, `q`, `sample`"),
    ("components(rate(v < 30), [q, sample]) by q", "E844", "`q` is a factor, so it cannot follow `by`",
     "remove `q` from `by`, or use another axis"),
    ("components(rate(v < 30), q, interval: wald(0.95))", "E213", "`components` has no parameter `interval`",
     "write `components(rate(CONDITION), [AXIS, sample])`"),
    ("dose(rate(v < 30))", "E212", "`dose` needs an axis of numbers",
     "write `dose(rate(v < 30), AXIS)`; `interval:` and `slope:` are optional"),
    ("dose(mean(v), k)", "E847", "expected `rate(...)` in `dose(...)`",
     "write `dose(rate(CONDITION), AXIS)`; the mean of a score has a `slope(mean(SCORE), AXIS)`"),
    ("dose(rate(v < 30), m)", "E844", "expected an axis of numbers in `dose(...)`", "the only axis of numbers is `k`"),
    ("dose(rate(v < 30), k) by k", "E844", "`k` is the axis of the dose, so it cannot follow `by`",
     "remove `k` from `by`, or use another axis"),
    ("dose(rate(v < 30), k, slope: 0.1)", "E843", "`slope` must be a number from 0.25 to 8", "write `slope: 1`"),
    ("dose(rate(v < 30, interval: wilson(0.9)), k)", "E213", "inside `dose`, `rate` has no `interval`",
     "move `interval: ...` to the end of `dose(...)`"),
    ("dose(rate(v < 30, equal: q), k)", "E213", "inside `dose`, `rate` has no `equal`", "remove `equal: ...`"),
    ("dose(rate(v < 30), k, interval: bootstrap(0.95))", "E843", "`bootstrap` is not an interval for `dose`",
     "use `wald`"),
    ('contrast(dose(rate(v < 30), k), m == "a", m == "b", scale: difference)', "E843",
     "a contrast of doses is a ratio", "leave `scale` out"),
    ('contrast(dose(rate(v < 30), k), m == "a", m == "b", equivalent: 1.2)', "E843",
     "a contrast of doses has no `equivalent`", "leave `equivalent` out"),
    ('contrast(dose(rate(v < 30), k), m == "a", m == "b", interval: bootstrap(0.95))', "E843",
     "a contrast of doses has no `interval: bootstrap`", "leave `interval` out"),
    ("contrast(dose(rate(v < 30), k), k == 0, k == 1)", "E848",
     "`k` is the axis of the doses: its levels cannot be compared", "compare levels of another axis"),
    ("slope(sd(v), k)", "E847", "expected `rate(...)`, `mean(...)` in `slope(...)`",
     "write `mean(SCORE)` for the mean of a score, or `rate(SCORE < 30)` for the rate of a condition"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "code", "message", "advice"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_wrong_call_is_explained(call: str, code: str, message: str, advice: str) -> None:
    """Word for word, and nothing else is reported."""
    with pytest.raises(SourceError) as raised:
        program(STUDY.replace("CALL", call))
    assert {(d.code, d.message, d.help) for d in raised.value.diagnostics} == {(code, message, advice)}


@pytest.mark.parametrize(
    ("axis", "call"),
    [
        ("sd", "sd(v) by sd"),
        ("mean", "sd(v)"),
        ("label", "shares(r) by label"),
        ("source", "components(rate(v < 30), q) by source"),
        ("levels", "components(rate(v < 30), q) by levels"),
        ("reason", "dose(rate(v < 30), k) by reason"),
        ("curve", "dose(rate(v < 30), k) by curve"),
        ("reason", 'contrast(dose(rate(v < 30), k), q == "q1", q == "q2") by reason'),
    ],
)
def test_an_axis_cannot_be_called_as_a_column_of_its_measure(axis: str, call: str) -> None:
    """E846 for the columns of the function itself, also of a contrast of doses; other functions do not have them."""
    text = STUDY.replace("for m in", f"for {axis} in").replace("{m}", f"{{{axis}}}")
    if " by " in call:
        with pytest.raises(SourceError, match=f"E846.*`{axis}` after `by` is also the name of a result column"):
            program(text.replace("CALL", call))
    program(text.replace("CALL", f"rate(v < 30) by {axis}" if axis != "sd" else "rate(v < 30)"))
    program(text.replace("CALL", 'contrast(rate(v < 30), q == "q1", q == "q2")' + f" by {axis}"))
