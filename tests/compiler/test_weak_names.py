"""Functions that are newer than edition 1: a program that uses their names keeps its meaning."""

from __future__ import annotations

import pytest
from support import experiment, program
from told import loaded

from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.measure_specs import MEASURES
from emdsl.errors import SourceError

WEAK = sorted(name for name, spec in MEASURES.items() if spec.weak)
FUNCTIONS = sorted(name for name, function in BUILTINS.items() if function.weak and name not in MEASURES)
STRONG = sorted(name for name, spec in MEASURES.items() if not spec.weak)
COLUMNS = (
    "source",
    "levels",
    "label",
    "reason",
    "curve",
    "metric",
    "equal",
    "factors",
    "variance",
    "trend",
    "se_twice",
)
FUNCTION = """
let NAME(x) = x + 1
experiment e {
  for k in [NAME(1), NAME(2)]
  let shown = NAME(k)
  ask a from "sim/subject" with "{shown}"
  let high = NAME(k) > 3
  measure m = count(high) by k
}
"""
PROMPT = """
prompt NAME(x) { user "say {x}" }
experiment e {
  ask a from "sim/subject" with NAME("hello")
  measure m = count(a.finish == "stop")
}
"""
AXIS = """
experiment e {
  for NAME in [0, 1, 2, 4]
  samples = 2
  ask a from "sim/subject" with "x {NAME}"
  measure m = rate(a.finish == "stop" and NAME > 0) by NAME
  measure n = slope(rate(a.finish == "stop"), NAME)
}
"""
STEP = """
rubric NAME(answer) from "sim/judge" { scale = 0..100, user "score {answer}" }
experiment e {
  for q in ["one", "two"]
  ask share from "sim/subject" with "{q}"
  judge score with NAME(share)
  measure m = mean(score) by q
}
"""
JUDGE = """
rubric score(answer) from "sim/judge" { scale = 0..100, user "score {answer}" }
experiment e {
  for q in ["one", "two"]
  ask answer from "sim/subject" with "{q}"
  judge NAME with score(answer)
  let double = NAME * 2
  measure m = mean(NAME given double > 10) by q
}
"""
LET = """
experiment e {
  for q in ["one", "two"]
  let NAME = "{q}!"
  ask answer from "sim/subject" with "{NAME}"
  measure m = rate(NAME == "one!") by q
}
"""
PARAMETER = """
let plus(NAME) = NAME + 1
prompt ask_for(NAME) { user "say {NAME}" }
experiment e {
  for q in [plus(1), plus(2)]
  ask answer from "sim/subject" with ask_for(q)
  measure NAME = count(answer.finish == "stop") by q
}
"""
USES = {
    "function": FUNCTION, "prompt": PROMPT, "axis": AXIS, "rubric": STEP, "judge": JUDGE, "let": LET,
    "parameter": PARAMETER,
}  # fmt: skip


@pytest.mark.parametrize("name", [*WEAK, *FUNCTIONS, *COLUMNS])
@pytest.mark.parametrize("use", USES)
def test_a_name_of_the_program_wins(name: str, use: str) -> None:
    """As a function, prompt, axis, rubric, judge, `let` or parameter: the requests are those of a neutral name."""
    found, neutral = (experiment(USES[use].replace("NAME", called)) for called in (name, "neutral"))
    assert [a.levels for a in found.axes] == [a.levels for a in neutral.axes]
    assert [s.kind for s in found.steps] == [s.kind for s in neutral.steps]
    assert [m.function for m in found.measures] == [m.function for m in neutral.measures]


@pytest.mark.parametrize("name", WEAK)
def test_a_program_can_use_both(name: str) -> None:
    """In a measure its name is the function, elsewhere what the program defines."""
    call = {
        "components": "components(rate(v < 30), [q, sample])", "correlation": "correlation(v, v_2)",
        "dose": "dose(rate(v < 30), k)", "sd": "sd(v)", "shares": "shares(r)",
    }[name]  # fmt: skip
    text = f"""
    let {name}(x) = x + 1
    rubric score(answer) from "sim/judge" {{ scale = 0..100, user "score {{answer}}" }}
    rubric kind(answer) from "sim/judge" {{ choices = ["good", "bad"], user "kind {{answer}}" }}
    experiment e {{
      for k in [{name}(0), 2, 3, 4]
      for q in ["one", "two"]
      let shown = {name}(k)
      ask a from "sim/subject" with "{{shown}} {{q}}"
      judge v with score(a) {{ samples = 2 }}
      judge r with kind(a)
      measure m = {call}
    }}
    """
    found = experiment(text)
    assert found.axes[0].levels[0].value == 1
    assert found.measures[0].function == name


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_call_means_the_function_of_the_program(name: str) -> None:
    """Of a file, an import, an experiment or a parameter, with other arguments and another value than the built-in."""
    found = experiment(
        f"""
        let {name}(x) = x + 1
        let twice({name}) = {name}(1) * 2
        prompt ask_for(text) {{ user "{{text}}" }}
        experiment e {{
          for k in [{name}(1), twice({name})]
          ask a from "sim/subject" with ask_for({name}(k))
        }}
        """
    )
    assert [level.value for level in found.axes[0].levels] == [2, 4]
    (_, second) = (found.steps[0].prompt(found.frame((0,), (i,))).messages[0].text for i in range(2))
    assert second == "5"


@pytest.mark.parametrize("name", WEAK)
def test_a_name_that_nothing_defines_is_the_function(name: str) -> None:
    """Outside a measure it is told where it belongs; older functions stay reserved."""
    with pytest.raises(SourceError, match=f"E840.*`{name}` is only allowed in a `measure`"):
        program(f'experiment e {{\n  let x = {name}(1)\n  ask a from "sim/subject" with "{{x}}"\n}}')
    for strong in STRONG:
        with pytest.raises(SourceError, match=f"E204.*`{strong}` is a built-in name"):
            program(f'let {strong} = 1\nexperiment e {{\n  ask a from "sim/subject" with "x"\n}}')


def test_by_share_and_axes_named_as_columns_have_their_rows() -> None:
    """The tables of a program with such axes, in all roles at once."""
    found = loaded(
        """
        experiment e {
          for share in { half: 0.5, all: 1 }
          for source in ["a", "b"]
          for levels in [1, 2]
          for dose in [0, 1, 2, 4]
          for label in ["x", "y"]
          for y in [true, false]
          ask components from "sim/subject" with "{share}|{source}|{levels}|{dose}|{label}|{y}"
          judge sd with score(components)
          let correlation = sd < 50
          measure shares = rate(correlation) by share, source, levels, dose
          measure weight = mean(sd, equal: source) by label, y
          measure cluster = contrast(rate(correlation), share is half, share is all) by label, y, source
          measure draws = dose(rate(correlation), dose) by label, y
          measure figures = agreement(correlation, dose > 1) by label, y
        }
        """,
        lambda _, __, source, levels, dose, *___: 20 if source == "a" or levels == dose else 80,
    )
    assert {(r["share"], r["source"], r["levels"], r["dose"]): r["rate"] for r in found.measures["shares"]} == {
        (share, source, levels, dose): float(source == "a" or levels == dose)
        for share in ("half", "all")
        for source in ("a", "b")
        for levels in (1, 2)
        for dose in (0, 1, 2, 4)
    }
    assert {(r["label"], r["y"], r["mean"]) for r in found.measures["weight"]} == {
        (label, y, 20 / 2 + (2 * 20 + 6 * 80) / 8 / 2) for label in "xy" for y in (True, False)
    }
    assert {r["contrast"] for r in found.measures["cluster"]} == {0}
    assert [len(found.measures[m]) for m in ("cluster", "draws", "figures")] == [8, 4, 4]
    assert not found.notices
