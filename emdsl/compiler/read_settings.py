"""Settings as written to their values, each read by its table."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from emdsl.compiler import settings as tables
from emdsl.frame import Frame, fail
from emdsl.lang import ast
from emdsl.reply_format import Weighted
from emdsl.source import Label
from emdsl.value import EnvVar, Value, is_exact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.scope import Scope


def read_settings(
    written: Iterable[ast.Setting], table: Mapping[str, tables.Spec], kind: str, scope: Scope, faults: Faults
) -> dict[str, Any]:
    """Return the values of settings by name; those with a fault are reported and left out.

    Args:
        written: The settings, in their order.
        table: The settings that exist here.
        kind: What they are settings of, for messages: "model", "ask" ...
        scope: The names that their values can read.
        faults: Takes the faults.
    """
    values: dict[str, Any] = {}
    for item in once(written, faults):
        read_setting(item, table, kind, scope, faults, values)
    return values


def once(written: Iterable[ast.Setting], faults: Faults) -> list[ast.Setting]:
    """Return settings without those that are set again, which are errors."""
    first: dict[str, ast.Setting] = {}
    for item in written:
        if first.setdefault(item.name.text, item) is not item:
            faults.error(
                "E203", f"`{item.name.text}` is set twice", item.name.span,
                labels=(Label(span=first[item.name.text].name.span, text="first set here"),),
                help="remove one of them",
            )  # fmt: skip
    return list(first.values())


def read_setting(
    item: ast.Setting, table: Mapping[str, tables.Spec], kind: str, scope: Scope, faults: Faults,
    values: dict[str, Any],
) -> None:  # fmt: skip
    """Put the value of one setting into `values`; a fault is reported."""
    name = item.name.text
    if name not in table:
        faults.add(tables.unknown_setting(name, item.name.span, kind, table))
    else:
        with faults.caught():
            values[name] = _value(item, table[name], scope)


def _value(item: ast.Setting, spec: tables.Spec, scope: Scope) -> Any:
    if spec.name == "key" and not isinstance(item.value, ast.Env | ast.Ref):
        raise fail(
            "E701", "an API key must not be in an `.em` file", item.value.span,
            help="put the key into the environment or a `.env` file, and write `key = env.NAME`",
        )  # fmt: skip
    if spec.name == "read":
        return _weighted(item.value, scope)
    value: Value
    written = _with_labels(item.value, scope) if spec.name in tables.LABELLED else item.value
    if spec.name in tables.WORDS and isinstance(item.value, ast.Map | ast.Ref):
        words = frozenset(tables.WORDS[spec.name]) - frozenset(scope.names)
        value = scope.compiler(words).expr(written)(Frame({w: tables.Word(w) for w in words}))
    else:
        value = scope.compiler().expr(written)(Frame())
    if isinstance(value, EnvVar) and spec.name not in ("key", "url"):
        raise fail("E702", "`env` is only allowed in `key`, `url` and `headers`", item.value.span,
                   help="write the value itself")  # fmt: skip
    if value is None and spec.name in tables.PARAMS:
        return None
    try:
        return spec.read(value)
    except tables.Refused as refused:
        raise fail("E520", f"`{spec.name}` must be {refused}", item.value.span) from None


def _with_labels(node: ast.Expr, scope: Scope) -> ast.Expr:
    """Return a list, or a map with lists, in which a word is a text unless the program has a name like it."""
    match node:
        case ast.Sequence(items=items):
            return node.replaced(items=tuple(_label(x, scope) for x in items))
        case ast.Map(entries=entries):
            lists = (e.replaced(value=_with_labels(e.value, scope)) for e in entries)
            return node.replaced(entries=tuple(lists))
        case _:
            return node


def _label(node: ast.Expr, scope: Scope) -> ast.Expr:
    if isinstance(node, ast.Ref) and node.name not in scope.own:
        return ast.Text(parts=(node.name,), span=node.span)
    return node


def _weighted(value: ast.Expr, scope: Scope) -> Weighted | None:
    """Return how a number is read from token probabilities; None for `number`, which is read as written."""
    function = value.function if isinstance(value, ast.Call) else value
    name = function.name if isinstance(function, ast.Ref) else ""
    if name == "number" and isinstance(value, ast.Ref):
        return None
    if name not in ("weighted", "number"):
        raise fail("E520", "`read` must be `number`, `number(top: 20)` or `weighted(top: 20, mass: 0.25)`", value.span)
    params = ("top", "mass") if name == "weighted" else ("top",)
    given: dict[str, Any] = {"top": 20, "mass": Decimal("0.25")}
    for arg in value.args if isinstance(value, ast.Call) else ():
        if arg.name is None or arg.name.text not in params:
            listed = " and ".join(f"`{p}`" for p in params)
            raise fail("E213", f"`{name}` has only the parameter{'s' * (len(params) > 1)} {listed}", arg.span)
        given[arg.name.text] = scope.compiler().expr(arg.value)(Frame())
    top, mass = given["top"], given["mass"]
    if type(top) is not int or not 1 <= top <= 20:
        raise fail("E520", "`top` must be a whole number from 1 to 20", value.span)
    if mass is None or not is_exact(mass) or not 0 <= mass <= 1:
        raise fail("E520", "`mass` must be a number from 0 to 1", value.span)
    return Weighted(top=top, mass=float(mass) if name == "weighted" else None)
