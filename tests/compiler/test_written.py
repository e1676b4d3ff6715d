"""Messages speak the language: no value is shown as Python would print it."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from corpus import FILES

from emdsl.compiler.compile import compile_source
from emdsl.compiler.functions import BUILTINS
from emdsl.compiler.settings import ASK, DATASET, EXPERIMENT, JUDGE, MODEL, RUBRIC
from emdsl.compiler.written import written
from emdsl.errors import SourceError
from emdsl.source import Source
from emdsl.value import EnvVar, LabelledMap, Money

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = re.compile(
    r"\('|',\)|\['|\{'|\bNone\b|\bTrue\b|\bFalse\b|\bb'|Decimal|\dE[+-]?\d|<\w+ |object at|Errno"
    r"|(?i:promptmaker|rubricmaker|hookfunction|labelledmap|envvar|nonetype|\b(?:str|int|tuple|dict)\b)"
)
VALUES = (
    '"x"', '""', "-1", "0.0000001", "3.5", "100000000000000000000000000000", "true", "false", "none", "$3", "[]",
    '["a"]', '["a", 1, none]', "[[1], [true]]", "{ a: 1 }",
    '{ a: ["b"], c: none }', "1..3", "m", "d", "p", "r", "f", "shout",
    "[p]", "d.rows", "m.name", "p(1)", "f(1)", "env.HOME", '{ "X-A": p }', "{ input: 1 }", "{ a: p }", "x", "missing",
)  # fmt: skip
HEAD = """em 1
import alignment from "std:judges@1"
model m { use = "sim/subject", stop = ["a", "b"], temperature = 0.5, extra = { on: true, none_: none } }
dataset d { file = "three.csv" }
prompt p(a) { user "{a}" }
rubric r(a) { scale = 0..100, stop = ["c"], user "{a}" }
let f(a) = a
python shout(text) from "hooks.py"
"""
TABLES = {
    "model": (MODEL, 'model n{i} {{ use = "sim/subject", {name} = {value} }}'),
    "dataset": (DATASET, "dataset n{i} {{ {name} = {value} }}"),
    "rubric": (RUBRIC, 'rubric n{i}(a) {{ {name} = {value}, user "{{a}}" }}'),
    "experiment": (EXPERIMENT, 'experiment e{i} {{ {name} = {value}\n ask a from m with "x" }}'),
    "ask": (ASK, 'experiment e{i} {{ ask a from m with "x" {{ {name} = {value} }} }}'),
    "judge": (JUDGE, 'experiment e{i} {{ ask a from m with "x"\n judge j with r(a) from m {{ {name} = {value} }} }}'),
}
EXPRESSIONS = (
    "{v} + 1", "1 - {v}", "-{v}", "{v} == 1", '{v} == "a"', "{v} < 2", "{v} in {v}", '"a" in {v}', "{v} is on", "{v}.a",
    "{v}[0]", '{v}["a"]', "{v}(1)", "[y for y in {v}]", "if {v} then 1 else 2", "not {v}", "1..{v}", "{v} else 1",
    "f({v}, {v})", "p({v})", "shout({v})",
)  # fmt: skip


def messages(text: str, folder: Path) -> str:
    """Return all that the compiler says of a program, without the excerpts of it."""
    try:
        diagnostics = compile_source(Source("page.em", text, folder / "page.em"), {}).warnings
    except SourceError as error:
        diagnostics = error.diagnostics
    return "\n".join(f"{d.code} {d.message} | {d.note} | {d.help}" for d in diagnostics)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def check(program: str, folder: Path) -> None:
    """Of the many faults of a program, none is told in Python; a function in Python may raise its own words."""
    shown = messages(HEAD + program, folder)
    python = [x for x in shown.splitlines() if PYTHON.search(x) and "E624 `shout` raised " not in x]
    assert not python, f"{program}\n{python}"
    assert shown.count("\n") >= 2, f"most of its values are wrong\n{program}\n{shown}"


@pytest.mark.parametrize("kind", TABLES)
def test_settings_of_any_value(kind: str, folder: Path) -> None:
    """Every setting with every kind of value."""
    table, form = TABLES[kind]
    for name in table if kind == "model" else table.keys() - MODEL.keys():
        check("\n".join(form.format(i=i, name=name, value=v) for i, v in enumerate(VALUES)) + "\n", folder)


def test_expressions_of_any_value(folder: Path) -> None:
    """Every operator and function with every kind of value: as a `let`, an axis, a prompt and a measure."""
    calls = [f"{b.name}({', '.join(['{v}'] * max(b.required, 1))})" for b in BUILTINS.values()]
    calls += ["draw(d, 2, seed: {v})", "draw(d, 2, by: {v})", "pick([1, 2], {v})", "mix([1], [2], 1, {v})"]
    for i, form in enumerate((*EXPRESSIONS, *calls)):
        use = (
            'for y in {}\n ask a from m with "{{y}}"',
            'let z = {}\n ask a from m with "{{z}}"',
            "ask a from m with {}",
        )
        statements = (use[i % 3].format(form.format(v=value)) for value in VALUES)
        check("".join(f"experiment e{n} {{ {text} }}\n" for n, text in enumerate(statements)), folder)


def test_values_are_written_as_in_a_program() -> None:
    """Of every kind, and cut where they are long."""
    value = LabelledMap((("a", ("b", None, True)), ("c", Decimal("1E-7")), ("d", Money(3)), ("e", EnvVar("X"))))
    assert written(value) == '{ a: ["b", none, true], c: 0.0000001, d: $3, e: env.X }'
    assert written({"a": {}, "b": []}) == "{ a: {  }, b: [] }"
    assert written("x" * 100) == f'"{"x" * 56}...'


def test_a_rubric_and_a_model_that_disagree_are_shown_as_written(folder: Path) -> None:
    """E419 of a list: it once printed a tuple."""
    shown = messages(HEAD + 'experiment e {\n  ask a from m with "x"\n  judge v with r(a) from m\n}\n', folder)
    assert 'E419 the rubric `r` sets `stop = ["c"]`, but the model `m` sets `stop = ["a", "b"]`' in shown
