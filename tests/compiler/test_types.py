"""The type of an expression, found without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from emdsl.compiler.faults import Faults
from emdsl.compiler.infer import Checker
from emdsl.compiler.resolve import Resolver
from emdsl.compiler.types import ANSWER, ANY, BOOL, NUMBER, TEXT, Type, label_names, type_of, union
from emdsl.lang import ast
from emdsl.lang.loader import load_source
from emdsl.source import Source
from emdsl.value import LabelledMap, Missing, Money, Row

HERE = Path(__file__).parent
HEAD = """em 1
model m { use = "sim/subject" }
prompt p(a) { user "{a}" }
rubric r(a) { scale = 0..100, user "{a}" }
let twice(n) = n * 2
let loud(t) = t + "!"
"""
NAMES = {
    "n": NUMBER, "t": TEXT, "b": BOOL, "unknown": ANY, "answer": ANSWER, "answer.tokens": NUMBER,
    "score": Type("score", words=("REFUSAL",), scale=(0.0, 100.0)),
    "label": Type("label", labels=frozenset(("yes", "no"))),
    "row": Type("row", ("q", "position")), "rows": Type("list", item=Type("row", ("q", "position"))),
}  # fmt: skip


def inferred(expression: str) -> tuple[str, list[str]]:
    """Return the kind of an expression, with that of a list's items, and the codes of its faults."""
    module, diagnostics = load_source(Source("x.em", f"{HEAD}let x = {expression}\n"), HERE)
    assert not diagnostics
    faults = Faults()
    scope = Resolver(faults, {}, HERE).scope(module)
    decl = module.file.decls[-1]
    assert isinstance(decl, ast.Let)
    type_ = Checker(scope, faults, NAMES).infer(decl.value)
    return type_.kind + (f" of {type_.item.kind}" if type_.item else ""), [d.code for d in faults.sorted()]


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("1", "number"), ('"a"', "text"), ("true", "bool"), ("none", "none"), ("$3", "money"), ("m", "model"),
        ("p", "function"), ("r", "rubric"), ("p(1)", "prompt"), ("unknown", "any"), ("unknown.x[1](2)", "any"),
        ("[1, 2]", "list of number"), ('[1, "a"]', "list of any"), ("1..3", "list of number"),
        ("{ a: 1 }", "map of number"), ("{ a: 1 }.a", "number"), ("[y * 2 for y in [1, 2]]", "list of number"),
        ("n + 1", "number"), ("score + 1", "score"), ('t + "a"', "text"), ("[1] + [2]", "list of number"),
        ("-n", "number"),
        ("n < 2 and not b", "bool"), ("t in [t]", "bool"), ("label is yes", "bool"), ("score is REFUSAL", "bool"),
        ("score is missing", "bool"), ("if b then 1 else 2", "number"), ('if b then 1 else "a"', "any"),
        ("if b then score else 2", "number"), ("score else 0", "number"), ("answer", "answer"),
        ("answer.tokens", "number"), ("row.position", "number"), ("row.q", "any"), ("rows[0].position", "number"),
        ("twice(2)", "number"), ("twice(score)", "score"), ('loud("a")', "text"), ("len(t)", "number"),
        ("upper(t)", "text"), ("draw(rows, 1)", "list of row"), ("pick([1, 2], 0)", "number"),
        ('"{n} and {row.q}"', "text"),
    ],
)  # fmt: skip
def test_types(expression: str, kind: str) -> None:
    """Of what is right: nothing is reported."""
    assert inferred(expression) == (kind, [])


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("nothing", "E201"), ("None", "E143"), ("env.KEY", "E702"), ("twice(1, 2)", "E212"), ("twice()", "E212"),
        ("twice(m: 1)", "E213"), ("twice(1, n: 2)", "E214"), ("row.z", "E215"), ("{ a: 1 }.b", "E215"),
        ("answer.words", "E215"), ("label is maybe", "E210"), ("n is yes", "E210"), ('label == "maybe"', "E210"),
        ('"{nothing}"', "E310"), ('"{row}"', "E311"), ('1.."a"', "E501"), ("b given b", "E504"), ('n == "a"', "E505"),
        ("n < t", "E505"), ("label < 1", "E505"), ("n in [t]", "E505"), ("n + t", "E506"), ("-t", "E506"),
        ("t[0]", "E508"),
        ("n(1)", "E509"), ("if n then 1 else 2", "E511"), ("not t", "E511"), ("[y for y in n]", "E512"),
        ("draw(t, 1)", "E513"), ("score < 101", "E530"), ("rate(b)", "E840"), ("[n for n in [1]]", "E203"),
        ("{ a: 1, a: 2 }", "E203"),
    ],
)  # fmt: skip
def test_faults(expression: str, code: str) -> None:
    """Each is reported once, under its code."""
    assert inferred(expression)[1] == [code]


def test_a_call_is_checked_with_the_types_of_its_arguments() -> None:
    """The fault is told within the function; what is not known is left alone."""
    assert inferred('twice("a")')[1] == ["E506"]
    assert inferred("twice(unknown)") == ("any", [])


def test_types_of_values() -> None:
    """Of what is known: its kind, and the names that it has."""
    assert type_of(LabelledMap((("a", 1), ("b", 2)))) == Type("map", ("a", "b"), NUMBER)
    assert type_of(Row("d", 0, {"q": "x"})).names == ("q", "position")
    assert type_of((1, "a")).item == ANY
    assert type_of(Missing("null")) == ANY
    assert type_of(Money(3)).kind == "money"


def test_the_type_of_one_of_several() -> None:
    """Rows share the columns that all have; labels that differ cannot be tested."""
    rows = [Type("row", ("a", "b", "position")), Type("row", ("b", "position"))]
    assert union(rows).names == ("b", "position")
    assert union([NUMBER, TEXT]) == ANY
    assert union([]) == ANY
    labels = [Type("label", labels=frozenset((x,))) for x in ("yes", "no")]
    assert union(labels).labels is None
    assert label_names([("on", True), (None, "text"), (None, 3)]) == {"on", "text"}
