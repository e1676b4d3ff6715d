"""What can be written: the nouns of a program, before any name has a meaning.

Spans take no part in equality, so two programs that differ in layout alone are equal. Nodes have no slots: making
fifty slotted classes takes 15 ms of every start.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emdsl.source import Source, Span
    from emdsl.value import Number


@dataclass(frozen=True, kw_only=True)
class Node:
    """Anything written; `span` is where."""

    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Name(Node):
    """A name where it is defined or listed."""

    text: str


# ------------------------------------------------------------------ expressions


@dataclass(frozen=True, kw_only=True)
class Ref(Node):
    """A name where it is used."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Literal(Node):
    """An exact number, `true`, `false` or `none`."""

    value: Number | bool | None


@dataclass(frozen=True, kw_only=True)
class MoneyLiteral(Node):
    """`$400`: US dollars."""

    value: Number


@dataclass(frozen=True, kw_only=True)
class Path(Node):
    """`a.b.c`: a placeholder, the target of a `set`, a measure's axis."""

    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Text(Node):
    """A string: literal stretches and placeholders, margin and escapes already taken off."""

    parts: tuple[str | Path, ...]


@dataclass(frozen=True, kw_only=True)
class Env(Node):
    """`env.NAME`: a variable of the environment."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Range(Node):
    """`low..high`, both ends included."""

    low: Expr
    high: Expr


@dataclass(frozen=True, kw_only=True)
class Sequence(Node):
    """`[a, b]` or `(a, b)`."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, kw_only=True)
class Entry(Node):
    """`label: value` of a map."""

    label: Name
    value: Expr


@dataclass(frozen=True, kw_only=True)
class Map(Node):
    """`{ off: "", on: think }`."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class Comprehension(Node):
    """`[item for name in source if condition]`."""

    item: Expr
    name: Name
    source: Expr
    condition: Expr | None


@dataclass(frozen=True, kw_only=True)
class If(Node):
    """`if condition then yes else no`."""

    condition: Expr
    yes: Expr
    no: Expr


@dataclass(frozen=True, kw_only=True)
class Otherwise(Node):
    """`value else other`: the other where the value is missing."""

    value: Expr
    other: Expr


@dataclass(frozen=True, kw_only=True)
class Given(Node):
    """`event given condition`: counted only where the condition holds."""

    event: Expr
    condition: Expr


@dataclass(frozen=True, kw_only=True)
class Logic(Node):
    """`a and b and c` or `a or b`; `op` is the word."""

    op: str
    items: tuple[Expr, ...]


@dataclass(frozen=True, kw_only=True)
class Not(Node):
    """`not value`."""

    value: Expr


@dataclass(frozen=True, kw_only=True)
class Compare(Node):
    """`left < right`; `op` is one of == != < <= > >=."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, kw_only=True)
class Is(Node):
    """`value is label` or `value is not label`."""

    value: Expr
    label: Name
    negated: bool


@dataclass(frozen=True, kw_only=True)
class Member(Node):
    """`value in values` or `value not in values`."""

    value: Expr
    values: Expr
    negated: bool


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Node):
    """`first + b - c` or `first * b / c`, from left to right; one operator for each of `rest`."""

    first: Expr
    rest: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, kw_only=True)
class Negative(Node):
    """`-value`."""

    value: Expr


@dataclass(frozen=True, kw_only=True)
class Field(Node):
    """`value.name`."""

    value: Expr
    name: Name


@dataclass(frozen=True, kw_only=True)
class Arg(Node):
    """One argument of a call; `name` is None for one by position."""

    name: Name | None
    value: Expr


@dataclass(frozen=True, kw_only=True)
class Call(Node):
    """`function(a, name: b)`."""

    function: Expr
    args: tuple[Arg, ...]


@dataclass(frozen=True, kw_only=True)
class Index(Node):
    """`value[key]`."""

    value: Expr
    key: Expr


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
)

# ------------------------------------------------------------------ what prompts are made of


@dataclass(frozen=True, kw_only=True)
class Say(Node):
    """`user "..."`: one message."""

    role: str
    content: Expr


@dataclass(frozen=True, kw_only=True)
class Each(Node):
    """`each shot in shots { ... }`."""

    name: Name
    source: Expr
    body: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class WhenSay(Node):
    """`when condition { ... }` among messages."""

    condition: Expr
    body: tuple[Item, ...]


Item = Say | Each | WhenSay

# ------------------------------------------------------------------ statements of an experiment


@dataclass(frozen=True, kw_only=True)
class Setting(Node):
    """`name = value`."""

    name: Name
    value: Expr


@dataclass(frozen=True, kw_only=True)
class For(Node):
    """`for names in levels`: an axis, or several zipped."""

    names: tuple[Name, ...]
    levels: Expr


@dataclass(frozen=True, kw_only=True)
class Skip(Node):
    """`skip when condition`."""

    condition: Expr


@dataclass(frozen=True, kw_only=True)
class Grid(Node):
    """`grid name { for ... skip ... }`."""

    name: Name | None
    body: tuple[Stmt, ...]


@dataclass(frozen=True, kw_only=True)
class SetRule(Node):
    """`set step.parameter = value when condition`."""

    target: Path
    value: Expr
    condition: Expr | None


@dataclass(frozen=True, kw_only=True)
class Let(Node):
    """`let name = value` or `let name(params) = value`; `params` is None for a value."""

    name: Name
    params: tuple[Name, ...] | None
    value: Expr


@dataclass(frozen=True, kw_only=True)
class Ask(Node):
    """`ask name from model with prompt { settings }`."""

    name: Name
    model: Expr
    prompt: Expr
    settings: tuple[Setting, ...]


@dataclass(frozen=True, kw_only=True)
class Judge(Node):
    """`judge name with rubric(...) from model { settings }`; `model` is None for the rubric's own."""

    name: Name
    rubric: Expr
    model: Expr | None
    settings: tuple[Setting, ...]


@dataclass(frozen=True, kw_only=True)
class When(Node):
    """`when condition { judge ... }`."""

    condition: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True, kw_only=True)
class Measure(Node):
    """`measure name = value by axis, ...`."""

    name: Name
    value: Expr
    by: tuple[Path, ...]


Stmt = Setting | For | Skip | Grid | SetRule | Let | Ask | Judge | When | Measure

# ------------------------------------------------------------------ declarations


@dataclass(frozen=True, kw_only=True)
class ImportName(Node):
    """One name of an import, and what it is called here."""

    name: Name
    alias: Name


@dataclass(frozen=True, kw_only=True)
class Import(Node):
    """`import a, b as c from "path"`."""

    names: tuple[ImportName, ...]
    path: str
    path_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Model(Node):
    """`model name from base { settings }`."""

    name: Name
    base: Name | None
    settings: tuple[Setting, ...]


@dataclass(frozen=True, kw_only=True)
class Dataset(Node):
    """`dataset name from base { settings }`."""

    name: Name
    base: Name | None
    settings: tuple[Setting, ...]


@dataclass(frozen=True, kw_only=True)
class Prompt(Node):
    """`prompt name(params) { messages }`."""

    name: Name
    params: tuple[Name, ...]
    body: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Rubric(Node):
    """`rubric name(params) from model { settings and messages }`."""

    name: Name
    params: tuple[Name, ...]
    model: Expr | None
    settings: tuple[Setting, ...]
    body: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Python(Node):
    """`python name(params) -> kind from "file.py"`."""

    name: Name
    params: tuple[Name, ...]
    kind: Name | None  # number, text or bool; None where it is not said
    path: str
    path_span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
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
