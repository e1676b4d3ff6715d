"""`measure` statements: which function of which columns, and by which axes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from emdsl.compiler.faults import Silent
from emdsl.compiler.settings import PLANNED_FUNCTIONS
from emdsl.experiment import Interval, Measure
from emdsl.frame import EvalFault
from emdsl.lang import ast
from emdsl.source import near, one_of
from emdsl.value import is_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.kinds import Type
    from emdsl.compiler.types import Checker
    from emdsl.value import Value

FUNCTIONS = ("rate", "mean", "count")
INTERVALS = ("wilson", "wald")
DEFAULTS = {"rate": Interval(method="wilson", level=0.95), "mean": Interval(method="wald", level=0.95)}
FIGURES = frozenset(
    [
        "rate",
        "mean",
        "count",
        "low",
        "high",
        "hits",
        "n",
        "n_planned",
        "n_dropped",
        "dropped",
        "complete",
        "simulated",
        "sd",
    ]
)
_COLUMN_KINDS = ("bool", "number", "score", "text", "label", "answer", "any")


def build_measure(
    decl: ast.Measure,
    checker: Checker,
    faults: Faults,
    *,
    axes: Mapping[str, Type],
    asks: tuple[str, ...],
    steps: tuple[str, ...],
    columns: Mapping[str, Type],
    constant: Callable[[str], Value],
    levels: Mapping[str, frozenset[str]],
) -> Measure | None:
    """Return a measure; None where its faults, which are told, leave nothing to compute."""
    before = len(faults.errors)
    call = decl.value
    name = call.function.name if isinstance(call, ast.Call) and isinstance(call.function, ast.Ref) else None
    if not isinstance(call, ast.Call) or name not in FUNCTIONS:
        if name in PLANNED_FUNCTIONS:
            faults.error("E901", f"`{name}` is not compiled yet", call.span, help=f"there are {one_of(FUNCTIONS)}")
        else:
            hint = (
                near(name or "", [*FUNCTIONS, *PLANNED_FUNCTIONS]) or "write `measure NAME = rate(CONDITION) by AXIS`"
            )
            faults.error("E841", f"a measure is one of {one_of(FUNCTIONS)}", decl.value.span, help=hint)
        return None
    value, interval = _arguments(call, name, faults)
    condition: ast.Expr | None = None
    if isinstance(value, ast.Given):
        condition, value = value.condition, value.event
        checker.condition(condition)
        _computable(_folded(condition, constant), columns, levels, faults)
    if value is not None:
        _check_value(value, name, checker, faults)
        _computable(_folded(value, constant), columns, levels, faults)
    elif name != "count":
        faults.error("E212", f"`{name}` takes what it is of", call.span, help=f"write `{name}(...)`")
    by = tuple(p.names for p in decl.by if _by(p, axes, faults))
    for path, taken in ((p, "_".join(p.names)) for p in decl.by):
        if taken.lower() in FIGURES:
            faults.error(
                "E846", f"`{taken}` is a column of every measure", path.span, help="give the axis another name"
            )
    if len(faults.errors) > before:
        return None
    value, condition = (_folded(x, constant) if x is not None else None for x in (value, condition))
    named = {n.name for x in (value, condition) if x is not None for n in walk(x) if isinstance(n, ast.Ref)}
    return Measure(
        name=decl.name.text, function=name, value=value, condition=condition, interval=interval, by=by,
        asks=asks, steps=steps, reads=tuple(n for n in columns if n in named and n not in axes and n != "sample"),
        span=decl.name.span,
    )  # fmt: skip


def _folded(node: ast.Expr, constant: Callable[[str], Value]) -> ast.Expr:
    """Return an expression with the names of constants replaced by their values."""
    if isinstance(node, ast.Ref):
        try:
            value = constant(node.name)
        except (KeyError, Silent, EvalFault):
            return node
        if isinstance(value, str):
            return ast.Text(parts=(value,), span=node.span)
        if value is None or isinstance(value, bool) or is_exact(value):
            return ast.Literal(value=value, span=node.span)
        return node
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if isinstance(value, ast.Node) and not isinstance(value, ast.Name | ast.Path):
            changes[field.name] = _folded(value, constant)  # type: ignore[arg-type]  # a field of an expression
        elif isinstance(value, tuple) and field.name in ("items", "rest"):
            changes[field.name] = tuple(
                (x[0], _folded(x[1], constant)) if isinstance(x, tuple) else _folded(x, constant) for x in value
            )
    return dataclasses.replace(node, **changes)


def _check_value(value: ast.Expr, name: str, checker: Checker, faults: Faults) -> None:
    if name in ("rate", "count"):
        checker.condition(value)
        return
    found = checker.infer(value)
    if found.kind not in ("number", "score", "any"):
        faults.error("E842", f"`mean` takes a number, not {found}", value.span,
                     help="`rate(...)` counts how often a condition holds" if found.kind == "bool" else "")  # fmt: skip


def _arguments(call: ast.Call, name: str, faults: Faults) -> tuple[ast.Expr | None, Interval | None]:
    value: ast.Expr | None = None
    interval = DEFAULTS.get(name)
    for arg in call.args:
        if arg.name is None and value is None:
            value = arg.value
        elif arg.name is not None and arg.name.text == "interval" and name != "count":
            interval = _interval(arg.value, name, faults) or interval
        else:
            shown = f"`{arg.name.text}`" if arg.name else "a second argument"
            faults.error("E213", f"`{name}` takes no {shown}", arg.span,
                         help=f"it is `{name}(VALUE given CONDITION, interval: wilson(0.95))`")  # fmt: skip
    return value, interval


def _interval(node: ast.Expr, name: str, faults: Faults) -> Interval | None:
    function = node.function if isinstance(node, ast.Call) else node
    method = function.name if isinstance(function, ast.Ref) else ""
    if method in PLANNED_FUNCTIONS:
        faults.error("E901", f"`{method}` is not compiled yet", node.span, help=f"there are {one_of(INTERVALS)}")
        return None
    if method not in INTERVALS:
        faults.error("E843", f"an interval is one of {one_of(INTERVALS)}", node.span, help=near(method, INTERVALS))
        return None
    if method == "wilson" and name == "mean":
        faults.error("E843", "`wilson` is for rates", node.span, help="a mean takes `wald(0.95)`")
        return None
    level: object = None
    if isinstance(node, ast.Call) and len(node.args) == 1 and isinstance(node.args[0].value, ast.Literal):
        level = node.args[0].value.value
    if isinstance(node, ast.Call) and (not is_exact(level) or not 0 < float(str(level)) < 1):
        faults.error("E843", "the level of an interval lies between 0 and 1", node.span, help=f"write `{method}(0.95)`")
        return None
    return Interval(method=method, level=float(str(level)) if isinstance(node, ast.Call) else 0.95)


def _by(path: ast.Path, axes: Mapping[str, Type], faults: Faults) -> bool:
    name = path.names[0]
    if name not in axes:
        faults.error(
            "E844",
            f"no axis is called `{name}`",
            path.span,
            help=near(name, axes) or f"the axes are {one_of(axes)}",
        )
        return False
    if len(path.names) == 1:
        return True
    found = axes[name]
    if len(path.names) == 2 and found.kind == "row" and path.names[1] in found.names and path.names[1] != "position":
        return True
    faults.error("E844", f"`{'.'.join(path.names)}` is no column of an axis", path.span,
                 help=near(path.names[-1], found.names))  # fmt: skip
    return False


def _computable(
    node: ast.Expr, columns: Mapping[str, Type], levels: Mapping[str, frozenset[str]], faults: Faults
) -> None:
    """A measure is computed from columns: what is more than that stands in a `let` first."""
    tested = {id(x.value) for x in walk(node) if isinstance(x, ast.Is | ast.Field)}
    for inner in walk(node):
        match inner:
            case ast.Call() | ast.Index() | ast.Comprehension() | ast.Map() | ast.Literal(value=None):
                pass
            case ast.Member() if not _listed(inner.values):
                pass
            case ast.Field() if inner.name.text in ("logprobs", "position"):
                pass
            case ast.Is(value=ast.Ref(name=axis)) if axis in levels and inner.label.text not in levels[axis]:
                pass
            case ast.Ref() if (
                inner.name in levels
                and columns[inner.name].kind not in ("text", "number", "bool")
                and (id(inner) not in tested)
            ):
                pass
            case ast.Text() if all(isinstance(p, str) for p in inner.parts):
                continue
            case ast.Text():
                pass
            case ast.Ref() if inner.name not in columns or columns[inner.name].kind in _COLUMN_KINDS or (
                columns[inner.name].labels is not None
            ):  # fmt: skip
                continue
            case ast.Ref():
                pass
            case _:
                continue
        faults.error(
            "E845", "a measure is computed from columns, and this is none", inner.span,
            help=f"give it a name: `let NAME = {inner.span.text[:60]}`",
        )  # fmt: skip
        return


def _listed(node: ast.Expr) -> bool:
    """Whether the right side of an `in` is written out: a list, or a range of numbers."""
    if isinstance(node, ast.Range):
        return isinstance(node.low, ast.Literal) and isinstance(node.high, ast.Literal)
    return isinstance(node, ast.Sequence)


def walk(node: ast.Expr) -> list[ast.Expr]:
    """Return an expression with all that it is made of."""
    found: list[ast.Expr] = [node]
    match node:
        case ast.Compare(left=a, right=b) | ast.Otherwise(value=a, other=b) | ast.Member(value=a, values=b):
            parts = [a, b]
        case ast.Range(low=a, high=b) | ast.Given(event=a, condition=b):
            parts = [a, b]
        case ast.Logic(items=items) | ast.Sequence(items=items):
            parts = list(items)
        case ast.If():
            parts = [node.condition, node.yes, node.no]
        case ast.Arithmetic():
            parts = [node.first, *(x for _, x in node.rest)]
        case ast.Not() | ast.Negative() | ast.Is() | ast.Field():
            parts = [node.value]
        case _:
            parts = []
    for part in parts:
        found += walk(part)
    return found
