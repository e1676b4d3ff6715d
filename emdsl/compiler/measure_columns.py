"""Expressions of measures that SQL cannot compute: each becomes a `let` with a column of its own in the results."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from emdsl.compiler.check_types import checker_of, let_type
from emdsl.compiler.columns import COLUMN_KINDS, Columns, with_constants
from emdsl.compiler.faults import Faults, Silent
from emdsl.compiler.free_names import free_names
from emdsl.compiler.measure_specs import MEASURES, called_function
from emdsl.compiler.types import type_of, union
from emdsl.frame import EvalFault, Frame
from emdsl.lang import ast
from emdsl.lang.canonical import canonical
from emdsl.lang.walk import walk
from emdsl.value import LabelledMap, is_exact

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from emdsl.compiler.local_scope import LocalScope
    from emdsl.compiler.types import Type
    from emdsl.experiment import Axis
    from emdsl.frame import Fn

MAX_NAME = 40  # characters of a name that is made from an expression
_VALUES = ("condition", "number", "judgement", "judgements", "label")  # the kinds of arguments that are expressions
_COMBINED = (ast.Logic, ast.Not, ast.Compare, ast.Is, ast.Member, ast.If, ast.Otherwise, ast.Negative, ast.Arithmetic)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureColumns:
    """The measures of an experiment in terms of columns, and its names with the new `let`s.

    Attributes:
        measures: The statements; the name of a `let` replaces each expression that SQL cannot compute.
        local: The names of the experiment, with the new `let`s.
        types: The types of the names.
        lets: The functions of the new `let`s.
        written: The expressions of the new `let`s, as the program writes them.
        paths: The `let` of each field of a record after `by`.
    """

    measures: tuple[ast.Measure, ...]
    local: LocalScope
    types: Mapping[str, Type]
    lets: Mapping[str, Fn]
    written: Mapping[str, str]
    paths: Mapping[tuple[str, ...], str]


def measure_columns(
    measures: tuple[ast.Measure, ...], local: LocalScope, types: Mapping[str, Type], axes: tuple[Axis, ...],
    lets: Mapping[str, Fn], people: frozenset[str], faults: Faults,
) -> MeasureColumns:  # fmt: skip
    """Make a `let` of each expression that SQL cannot compute; equal expressions share one, also one of the program.

    Args:
        measures: The statements.
        local: The names of the experiment.
        types: Their types.
        axes: The axes with their levels; empty if these are unknown.
        lets: The functions of the `let`s that the program wrote.
        people: The names of people's verdicts, which only SQL reads.
        faults: Takes the warnings of expressions that become a `let`. An expression with an error is unchanged.
    """
    lifter = _Lifter(
        local=local, types={**types}, axes=axes, levels=shown_levels(axes), functions=lets, people=people, faults=faults
    )  # fmt: skip
    lifted = tuple(m.replaced(value=lifter.measure(m.value)) for m in measures)
    paths = {path.names: column for m in measures for path in m.by if (column := lifter.path(path))}
    if lifter.lets:
        local = replace(local, lets={**local.lets, **lifter.lets}, names=local.names | lifter.lets.keys())
    functions: dict[str, Fn] = {}
    for name, let in lifter.lets.items():
        with faults.caught():
            functions[name] = local.compiler.expr(let.value)
    return MeasureColumns(
        measures=lifted, local=local, types=lifter.types,
        lets=functions,
        written={name: " ".join(let.value.span.text.split()) for name, let in lifter.lets.items()},
        paths=paths,
    )  # fmt: skip


@dataclass(slots=True, kw_only=True)
class _Lifter:
    local: LocalScope
    types: dict[str, Type]  # grows with the `let`s
    axes: tuple[Axis, ...]
    levels: Mapping[str, frozenset[str]]
    functions: Mapping[str, Fn]
    people: frozenset[str]
    faults: Faults
    lets: dict[str, ast.Let] = field(default_factory=dict)
    _names: dict[str, str] | None = None  # of `let`s, by the canonical text of their expression

    def measure(self, node: ast.Expr) -> ast.Expr:
        """Lift within the arguments of a measure function; any other expression stays."""
        spec = MEASURES.get(called_function(node))
        if not isinstance(node, ast.Call) or spec is None:
            return node
        params = [*spec.positional, *([spec.rest] * len(node.args) if spec.rest is not None else [])]
        args, at = [], 0
        for arg in node.args:
            kind = params[at].kind if arg.name is None and at < len(params) else ""
            at += arg.name is None
            value = arg.value
            if kind == "inner":
                value = self.measure(value)
            elif kind in _VALUES:
                value = self._argument(value)
            args.append(arg.replaced(value=value))
        return node.replaced(args=tuple(args))

    def path(self, path: ast.Path) -> str:
        """Return the `let` of a field of a record after `by`; "" for any other path, and for a field without a text."""
        axis, *names = path.names
        if len(names) != 1 or axis not in self.local.axes or self.types[axis].kind != "map":
            return ""
        node = self._lifted(_field(path))
        return node.name if isinstance(node, ast.Ref) else ""

    def _argument(self, node: ast.Expr) -> ast.Expr:
        if isinstance(node, ast.Given):
            return node.replaced(event=self._lifted(node.event), condition=self._lifted(node.condition))
        return self._lifted(node)

    def _lifted(self, node: ast.Expr) -> ast.Expr:
        """Return an expression of columns alone, with its smallest possible parts as `let`s."""
        if self._is_column(node):
            return node
        if isinstance(node, _COMBINED):
            before = dict(self.lets)
            combined = self._with_lifted_parts(node)
            if self._is_column(combined):
                return combined
            self._forget(before)
        return self._as_let(node)

    def _with_lifted_parts(self, node: ast.Expr) -> ast.Expr:
        changes: dict[str, object] = {}
        for name in node.fields:
            part = getattr(node, name)
            if name == "values" and isinstance(part, ast.Sequence):
                changes[name] = part.replaced(items=tuple(map(self._lifted, part.items)))
            elif isinstance(part, ast.Expr) and name != "values":
                changes[name] = self._lifted(part)
            elif name == "items" and isinstance(part, tuple):
                changes[name] = tuple(map(self._lifted, part))
            elif name == "rest":
                changes[name] = tuple((op, self._lifted(x)) for op, x in part)
        return node.replaced(**changes)

    def _is_column(self, node: ast.Expr) -> bool:
        return Columns(self.types, self.levels).obstacle(with_constants(node, self.local.constant)) is None

    def _as_let(self, node: ast.Expr) -> ast.Expr:
        """Return the name of a `let` for an expression, or its constant value; else the expression itself."""
        if _stays(node, self.levels) or self.people & free_names(node):
            return node
        if not self.local.varies(_let("", node)):
            return self._constant(node)
        names = self._written_names()
        written = canonical(node)
        if written not in names:
            trial = Faults()
            type_ = let_type(_let("", node), checker_of(self.local, self.types, trial))
            type_ = self._of_records(node) or type_
            if trial.errors or (type_.kind not in COLUMN_KINDS):
                return node
            for warning in trial.sorted():
                self.faults.add(warning)
            name = names[written] = self._fresh(node.span.text)
            self.lets[name], self.types[name] = _let(name, node), type_
        return ast.Ref(name=names[written], span=node.span)

    def _of_records(self, node: ast.Expr) -> Type | None:
        """Return the type of a field of an axis of records: each of its fields has one of its own."""
        match node:
            case ast.Field(value=ast.Ref(name=of), name=ast.Name(text=name)):
                records = [x.value for a in self.axes if a.name == of for x in a.levels]
                maps = [dict(x.entries) for x in records if isinstance(x, LabelledMap)]
                return union(type_of(x[name]) for x in maps if name in x) if maps else None
            case _:
                return None

    def _constant(self, node: ast.Expr) -> ast.Expr:
        try:
            value = self.local.compiler.expr(node)(Frame(self.local.constants, self.functions))
        except (KeyError, Silent, EvalFault):
            return node
        if isinstance(value, str):
            return ast.Text(parts=(value,), span=node.span)
        return ast.Literal(value=value, span=node.span) if isinstance(value, bool) or is_exact(value) else node

    def _written_names(self) -> dict[str, str]:
        """Return the names of `let`s by the canonical text of their expression: first those of the program."""
        if self._names is None:
            columns = (
                (name, let) for name, let in self.local.lets.items()
                if let.params is None and self.types[name].kind in COLUMN_KINDS and self.local.varies(let)
            )  # fmt: skip
            self._names = {canonical(let.value): name for name, let in columns}
        return self._names

    def _forget(self, lets: dict[str, ast.Let]) -> None:
        """Remove the `let`s that are newer than these: their expression becomes one `let` as a whole."""
        for name in self.lets.keys() - lets.keys():
            del self.types[name]
            self._written_names().pop(canonical(self.lets[name].value))
        self.lets = lets

    def _fresh(self, text: str) -> str:
        """Return a name for an expression, unlike all names of the program and all columns of the results."""
        words = re.sub(r"\W+", "_", text).strip("_")
        if len(words) > MAX_NAME:
            words = words[:MAX_NAME].rpartition("_")[0] or words[:MAX_NAME]
        own = [f"{name}_".lower() for name in self.local.steps]
        if not words[:1].isalpha() or words.lower().startswith(tuple(own)):  # as `answer_model`
            words = f"let_{words}"
        taken = {name.lower() for name in (*self.local.names, *self.local.file.names, *self.lets)}
        taken |= {f"{name}_value" for name in taken} | {f"{name}_missing" for name in taken} | {"simulated", "sample"}
        name, n = words, 1
        while {name.lower(), f"{name}_missing".lower()} & taken:
            n += 1
            name = f"{words}_{n}"
        return name


def _let(name: str, node: ast.Expr) -> ast.Let:
    return ast.Let(name=ast.Name(text=name, span=node.span), params=None, value=node, span=node.span)


def shown_levels(axes: tuple[Axis, ...]) -> dict[str, frozenset[str]]:
    """Return the labels of each axis."""
    return {a.name: frozenset(x.shown for x in a.levels) for a in axes}


def _field(path: ast.Path) -> ast.Expr:
    axis, name = path.names
    return ast.Field(
        value=ast.Ref(name=axis, span=path.span.of(axis)), name=ast.Name(text=name, span=path.span.of(name)),
        span=path.span,
    )  # fmt: skip


def _stays(node: ast.Expr, axes: Container[str]) -> bool:
    """Whether a `let` of an expression has no value for a measure: the expression has an error of its own."""
    match node:
        case ast.Ref() | ast.Literal() | ast.Field(name=ast.Name(text="logprobs")):
            return True
        case ast.Is(value=ast.Ref(name=axis)):
            return axis in axes
        case _:
            return any(_compares_no_value(x) for x in walk(node))


def _compares_no_value(node: ast.Node) -> bool:
    """Whether a node is a comparison with `none` or with candidates of tokens: it is never true."""
    match node:
        case ast.Compare(left=left, right=right):
            none = ast.Literal(value=None, span=node.span)
            return any(x == none or (isinstance(x, ast.Field) and x.name.text == "logprobs") for x in (left, right))
        case _:
            return False
