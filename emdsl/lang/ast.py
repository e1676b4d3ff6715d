"""What can be written: the nouns of a program, before any name has a meaning.

Spans take no part in equality, so two programs that differ in layout alone are equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emdsl.lang.record import Record

if TYPE_CHECKING:
    from emdsl.source import Source, Span
    from emdsl.value import Number


class Node(Record):
    """Anything written; `span` is where."""

    span: Span


class Name(Node):
    """A name where it is defined or listed."""

    text: str


# ------------------------------------------------------------------ expressions


class Ref(Node):
    """A name where it is used."""

    name: str


class Literal(Node):
    """An exact number, `true`, `false` or `none`."""

    value: Number | bool | None


class MoneyLiteral(Node):
    """`$400`: US dollars."""

    value: Number


class Path(Node):
    """`a.b.c`: a placeholder, the target of a `set`, a measure's axis."""

    names: tuple[str, ...]


class Text(Node):
    """A string: literal stretches and placeholders, margin and escapes already taken off."""

    parts: tuple[str | Path, ...]


class Env(Node):
    """`env.NAME`: a variable of the environment."""

    name: str


class Range(Node):
    """`low..high`, both ends included."""

    low: Expr
    high: Expr


class Sequence(Node):
    """`[a, b]` or `(a, b)`."""

    items: tuple[Expr, ...]


class Entry(Node):
    """`label: value` of a map."""

    label: Name
    value: Expr


class Map(Node):
    """`{ off: "", on: think }`."""

    entries: tuple[Entry, ...]


class Comprehension(Node):
    """`[item for name in source if condition]`."""

    item: Expr
    name: Name
    source: Expr
    condition: Expr | None


class If(Node):
    """`if condition then yes else no`."""

    condition: Expr
    yes: Expr
    no: Expr


class Otherwise(Node):
    """`value else other`: the other where the value is missing."""

    value: Expr
    other: Expr


class Given(Node):
    """`event given condition`: counted only where the condition holds."""

    event: Expr
    condition: Expr


class Logic(Node):
    """`a and b and c` or `a or b`; `op` is the word."""

    op: str
    items: tuple[Expr, ...]


class Not(Node):
    """`not value`."""

    value: Expr


class Compare(Node):
    """`left < right`; `op` is one of == != < <= > >=."""

    op: str
    left: Expr
    right: Expr


class Is(Node):
    """`value is label` or `value is not label`."""

    value: Expr
    label: Name
    negated: bool


class Member(Node):
    """`value in values` or `value not in values`."""

    value: Expr
    values: Expr
    negated: bool


class Arithmetic(Node):
    """`first + b - c` or `first * b / c`, from left to right; one operator for each of `rest`."""

    first: Expr
    rest: tuple[tuple[str, Expr], ...]


class Negative(Node):
    """`-value`."""

    value: Expr


class Field(Node):
    """`value.name`."""

    value: Expr
    name: Name


class Arg(Node):
    """One argument of a call; `name` is None for one by position."""

    name: Name | None
    value: Expr


class Call(Node):
    """`function(a, name: b)`."""

    function: Expr
    args: tuple[Arg, ...]


class Index(Node):
    """`value[key]`."""

    value: Expr
    key: Expr


class Over(Node):
    """`call over axes`: a call of a function in Python for all rows that differ in these axes alone; of a `let`."""

    call: Expr
    axes: tuple[Ref, ...]  # or `sample`


Expr = (
    Ref
    | Literal
    | MoneyLiteral
    | Text
    | Env
    | Range
    | Sequence
    | Map
    | Comprehension
    | If
    | Otherwise
    | Given
    | Logic
    | Not
    | Compare
    | Is
    | Member
    | Arithmetic
    | Negative
    | Field
    | Call
    | Index
    | Over
)

# ------------------------------------------------------------------ what prompts are made of


class Say(Node):
    """`user "..."`: one message."""

    role: str
    content: Expr


class Each(Node):
    """`each shot in shots { ... }`."""

    name: Name
    source: Expr
    body: tuple[Item, ...]


class WhenSay(Node):
    """`when condition { ... }` among messages."""

    condition: Expr
    body: tuple[Item, ...]


Item = Say | Each | WhenSay

# ------------------------------------------------------------------ statements of an experiment


class Setting(Node):
    """`name = value`."""

    name: Name
    value: Expr


class For(Node):
    """`for names in levels`: an axis, or several zipped."""

    names: tuple[Name, ...]
    levels: Expr


class Skip(Node):
    """`skip when condition`."""

    condition: Expr


class Grid(Node):
    """`grid name { for ... skip ... }`."""

    name: Name | None
    body: tuple[Stmt, ...]


class SetRule(Node):
    """`set step.parameter = value when condition`."""

    target: Path
    value: Expr
    condition: Expr | None


class Let(Node):
    """`let name = value` or `let name(params) = value`; `params` is None for a value."""

    name: Name
    params: tuple[Name, ...] | None
    value: Expr


class Ask(Node):
    """`ask name from model with prompt { settings }`."""

    name: Name
    model: Expr
    prompt: Expr
    settings: tuple[Setting, ...]


class Judge(Node):
    """`judge name with rubric(...) from model { settings }`; `model` is None for the rubric's own."""

    name: Name
    rubric: Expr
    model: Expr | None
    settings: tuple[Setting, ...]


class Annotate(Node):
    """`annotate name of ask { settings }`."""

    name: Name
    answer: Expr
    settings: tuple[Setting, ...]


class When(Node):
    """`when condition { judge ... }`."""

    condition: Expr
    body: tuple[Stmt, ...]


class Measure(Node):
    """`measure name = value by axis, ...`."""

    name: Name
    value: Expr
    by: tuple[Path, ...]


Stmt = Setting | For | Skip | Grid | SetRule | Let | Ask | Judge | Annotate | When | Measure

# ------------------------------------------------------------------ declarations


class ImportName(Node):
    """One name of an import, and what it is called here."""

    name: Name
    alias: Name


class Import(Node):
    """`import a, b as c from "path"`."""

    names: tuple[ImportName, ...]
    path: str
    path_span: Span


class Model(Node):
    """`model name from base { settings }`."""

    name: Name
    base: Name | None
    settings: tuple[Setting, ...]


class Dataset(Node):
    """`dataset name from base { settings }`."""

    name: Name
    base: Name | None
    settings: tuple[Setting, ...]


class Prompt(Node):
    """`prompt name(params) { messages }`."""

    name: Name
    params: tuple[Name, ...]
    body: tuple[Item, ...]


class Rubric(Node):
    """`rubric name(params) from model { settings and messages }`."""

    name: Name
    params: tuple[Name, ...]
    model: Expr | None
    settings: tuple[Setting, ...]
    body: tuple[Item, ...]


class Python(Node):
    """`python name(params) -> kind from "file.py"`."""

    name: Name
    params: tuple[Name, ...]
    kind: Name | None  # number, text or bool; None where it is not said
    path: str
    path_span: Span


class Experiment(Node):
    """`experiment name { statements }`."""

    name: Name
    body: tuple[Stmt, ...]


Decl = Import | Model | Dataset | Prompt | Rubric | Let | Python | Experiment


@dataclass(frozen=True, kw_only=True)
class File:
    """One `.em` file: its declarations that parsed, and the names that dropped ones would have bound."""

    source: Source
    decls: tuple[Decl, ...]
    lost: frozenset[str] = frozenset()
