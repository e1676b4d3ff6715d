"""Rules about programs without errors: which experiment is told what, and which is told nothing."""

from __future__ import annotations

import pytest

from emdsl.compiler.compile import compile_source
from emdsl.errors import SourceError
from emdsl.source import Diagnostic, Source, fixed

HEAD = """em 1
import alignment from "std:judges@1"
model m { use = "sim/subject", temperature = 1 }
model short { use = "openai/gpt-4o-2024-08-06", max_tokens = 20 }
model thinker { use = "openai/o3-2025-04-16", max_tokens = 100 }
model small { use = "openai-api/lab/m", url = "https://lab/v1", revision = "1", context = 40 }
"""
ASK = 'ask a from m with "x"'
JUDGE = 'judge v with alignment("x", a) from "sim/judge"'


def diagnostics(text: str) -> tuple[Diagnostic, ...]:
    """Return all that is said of a program."""
    try:
        return compile_source(Source("x.em", text), {}).warnings
    except SourceError as error:
        return error.diagnostics


def codes(body: str) -> list[str]:
    return [d.code for d in diagnostics(f"{HEAD}experiment e {{\n{body}\n}}\n")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (ASK, []),
        (f"samples = 10\n{ASK}\n{JUDGE}\nmeasure low = rate(v < 30)", []),
        # axes, and requests that are equal
        (f"for k in [1, 2]\n{ASK}", ["W404"]),
        ('for k in [1, 2]\nask a from m with "{k}"', []),
        ('for k in [1, 2]\nask a from m with "x" { temperature = k }', []),
        ('for k in ["a", "b"]\nlet t = if k is a then "x" else "x"\nask a from m with t', ["W403"]),
        ('for k in ["a ", "a"]\nask a from m with trim(k)', ["W403"]),
        (f'{ASK}\nask b from m with "x"', ["E420"]),
        (f'{ASK}\nask b from m with "x" {{ replicate = 1 }}', []),
        # `set` and `skip`
        ('for k in [1, 2]\nset a.temperature = 0.5 when k == 2\nask a from m with "{k}"', []),
        ('for k in [1, 2]\nset a.temperature = 0.5 when k == 3\nask a from m with "{k}"', ["W405"]),
        ('for k in [1, 2]\nset a.top_k = 5\nset a.top_k = 7 when k == 2\nask a from m with "{k}"', ["E410"]),
        ('for k in [1, 2]\nskip when k == 3\nask a from m with "{k}"', ["W402"]),
        # samples
        ('samples = 2\nask a from m with "x" { temperature = 0 }', ["W734"]),
        ('ask a from m with "x" { temperature = 0 }', []),
        ('samples = 2\nask a from m with "{sample}" { temperature = 0 }', []),
        # what a model takes, and what its answers have room for
        ('ask a from small with "x"', []),
        (f'ask a from small with "{"long " * 40}"', ["W733"]),
        ('ask a from short with "x"', []),
        ('ask a from short with "x"\nmeasure n = rate(a == "x")', ["W738"]),
        ('ask a from short with "x"\nmeasure n = rate(a == "x" given a.finish == "stop")', []),
        ('ask a from thinker with "x"', ["W737"]),
        ('ask a from thinker with "x" { max_tokens = 4000 }', []),
        ('ask a from thinker with "x" { max_tokens = 4000, temperature = 0.5 }', ["E736"]),
        # reasoning, and judgements under a condition
        (f"{ASK}\nlet t = a.reasoning", ["W531"]),
        ('ask a from m with "Think in <think> tags."\nlet t = a.reasoning', []),
        (f'{ASK}\nwhen a != "no" {{ {JUDGE} }}\nmeasure low = rate(v < 30)', ["W532"]),
        (f'{ASK}\nwhen a != "no" {{ {JUDGE} }}\nmeasure low = rate(v < 30 given a != "no")', []),
        # names
        (f"let x = y\nlet y = x\n{ASK}", ["E207", "E207"]),
        (f"let x = y\nlet y = x\n{ASK}\nmeasure n = rate(x == 1)", ["E207", "E207"]),
        ("ask a from m with b\nask b from m with a", ["E404"]),
        ("for k in j\nfor j in [k]\n" + ASK, ["E402"]),
        # steps in an order of their own
        ('judge v with alignment("x", a) from "sim/judge"\nask a from m with b\nask b from m with "x"', []),
    ],
)  # fmt: skip
def test_rules(body: str, expected: list[str]) -> None:
    """Exactly these diagnostics, in the order of the text."""
    assert codes(body) == expected


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("rate(v < 30)", []), ("mean(v given v is not REFUSAL)", []), ("count()", []), ("quantile(v, 0.5)", []),
        ("at_least(v < 30, 1, of: 2)", []), ("contrast(rate(v < 30), k is one, k is two)", []),
        ("slope(mean(v), d)", []), ("agreement(v, v_2)", []),
        ("rate(v in 0..30, interval: bootstrap(0.9, cluster: k))", []),
        ("rate()", ["E212"]), ("rate(v < 1, v < 2)", ["E213"]), ("quantile(v)", ["E212"]), ("quantile(v, 2)", ["E843"]),
        ("rate(v < 30, of: 3)", ["E213"]), ("mean(v < 30)", ["E842"]), ("mean(k)", ["E842"]), ("median(v)", ["E841"]),
        ("rate(v < 30, interval: ranks(0.95))", ["E843"]), ("rate(v < 30, interval: wald(2))", ["E843"]),
        ("at_least(v < 30, 3, of: 2)", ["E843"]), ("contrast(v, k is one, k is two)", ["E847"]),
        ("contrast(rate(v < 30), k is one, k is one)", ["E848"]), ("contrast(rate(v < 30), v < 1, v > 1)", ["E848"]),
        ("contrast(rate(v < 30), k is one, d == 1)", ["E848"]), ("slope(mean(v), k)", ["E844"]),
        ("agreement(v, v)", ["E849"]), ("agreement(v, a)", ["E849"]), ("rate(len(a) > 1)", []),
        ("rate(v < 30) by z", ["E844"]), ("rate(v < 30) by low", ["E844", "E846"]),
        ("contrast(rate(v < 30), k is one, k is two) by k", ["E848"]),
    ],
)  # fmt: skip
def test_measures(call: str, expected: list[str]) -> None:
    """Every function with arguments that fit, and with some that do not."""
    axes = 'for k in { one: "x", two: "y" }\nfor d in [1, 2, 3]\nask a from m with "{k} {d}"'
    judge = 'judge v with alignment("x", a) from "sim/judge" { samples = 2, temperature = 1 }'
    assert codes(f"{axes}\n{judge}\nmeasure n = {call}") == expected


@pytest.mark.parametrize(
    ("measure", "where", "note", "help_"),
    [
        ("rate(true and a.logprobs == 1)", "a.logprobs", "`logprobs` is not a column", ""),
        ("agreement(q, a == q.text)", "q", "the axis `q` can only be tested, as in `q is LABEL`",
         "use one of its fields, e.g. `q.text`"),
    ],
)  # fmt: skip
def test_an_expression_that_is_no_column_is_told_why(measure: str, where: str, note: str, help_: str) -> None:
    """E845 names the part and the reason, not the measure."""
    axis = 'for q in [{ text: "x" }, { text: "y" }]\nask a from m with q.text'
    (first, *_) = diagnostics(f"{HEAD}experiment e {{\n{axis}\nmeasure n = {measure}\n}}\n")
    assert (first.code, first.note, first.help) == ("E845", note, help_)
    assert first.span is not None
    assert first.span.text == where


def test_the_fix_of_an_earlier_name_is_certain() -> None:
    """`stream` is `replicate`; what is left after the fix is right."""
    text = f'{HEAD}experiment e {{\n{ASK}\nask b from m with "x" {{ stream = 1 }}\n}}\n'
    (found,) = diagnostics(text)
    assert (found.code, found.help) == ("E202", "`stream` is now called `replicate`: write `replicate`")
    assert diagnostics(fixed(text, found.fix)) == ()
    (elsewhere,) = diagnostics(f'{HEAD}model n {{ use = "sim/subject", stream = 1 }}\nexperiment e {{ {ASK} }}\n')
    assert elsewhere.fix == ()


CUT = """samples = 2
for k in [1, 2]
ask a from m with "{k}" { max_tokens = 20 }
when k == 1 or k == 2 { judge v with alignment("x", a) from "sim/judge" }
measure low = """


@pytest.mark.parametrize(
    ("measure", "written"),
    [
        ("rate(v < 30)", 'rate(v < 30 given a.finish == "stop")'),
        ("at_least(v < 30, 1, of: 2)", 'at_least(v < 30 given a.finish == "stop", ...)'),
        ("rate(v < 30 given k == 1)", 'rate(v < 30 given k == 1 and a.finish == "stop")'),
        ("rate(v < 30 given k == 1 or v < 9)", 'rate(v < 30 given (k == 1 or v < 9) and a.finish == "stop")'),
        ("contrast(rate(v < 30), k == 1, k == 2)", 'rate(v < 30 given a.finish == "stop")'),
    ],
)
def test_the_help_for_cut_answers_is_written_as_the_measure_is(measure: str, written: str) -> None:
    """What it shows compiles in the measure's place, and ends the warning."""
    program = f"{HEAD}experiment e {{\n{CUT}{measure}\n}}\n"
    (cut,) = (d for d in diagnostics(program) if d.code == "W738")
    assert f"`{written}`" in cut.help
    right = written.replace("...", "1, of: 2") if measure[:4] != "cont" else measure.replace("rate(v < 30)", written)
    after = diagnostics(f"{HEAD}experiment e {{\n{CUT}{right}\n}}\n")
    assert not [d.code for d in after if d.code == "W738" or d.code[0] == "E"]


def test_the_help_for_a_conditional_step_is_its_condition() -> None:
    """Written as it stands after `when`."""
    (conditional,) = (d for d in diagnostics(f"{HEAD}experiment e {{\n{CUT}rate(v < 30)\n}}\n") if d.code == "W532")
    assert "`rate(v < 30 given k == 1 or k == 2)`" in conditional.help
    assert "W532" not in codes(f"{CUT}rate(v < 30 given k == 1 or k == 2)")
