"""Types of the names of an experiment, and the statements that use them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emdsl.compiler import settings as tables
from emdsl.compiler.free_names import free_names
from emdsl.compiler.infer import Checker
from emdsl.compiler.ordering import in_order
from emdsl.compiler.over import value_of
from emdsl.compiler.types import (
    ANSWER,
    ANSWER_FIELDS,
    ANY,
    NUMBER,
    SHARE,
    Type,
    column_hint,
    label_names,
    part_type,
    type_of,
    union,
    verdict_type,
)
from emdsl.label_share import FIELD, SIGNATURE
from emdsl.lang import ast
from emdsl.reply_format import share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.local_scope import LocalScope
    from emdsl.compiler.statements import Statements
    from emdsl.experiment import Axis
    from emdsl.reply_format import ReplyFormat


@dataclass(frozen=True, slots=True)
class _LocalFunction:
    """A function that an experiment defines, as far as a call is checked."""

    name: str
    params: tuple[str, ...]


_SHARE_OF = Type("function", SIGNATURE.params, item=SHARE, value=SIGNATURE)


def types_of(local: LocalScope, axes: tuple[Axis, ...], faults: Faults) -> dict[str, Type]:
    """Return the types of all names of an experiment; the faults of its `let`s are reported."""
    types = {"sample": NUMBER} | {name: type_of(value) for name, value in local.constants.items()}
    types |= {axis.name: _axis_type(axis) for axis in axes} | _step_types(local)
    types |= dict.fromkeys(local.circular, ANY)
    needs = {name: free_names(let) & local.lets.keys() for name, let in local.lets.items()}
    for name in in_order(needs):
        if name not in types:
            types[name] = let_type(local.lets[name], checker_of(local, types, faults))
    return types


def loose_types(local: LocalScope) -> dict[str, Type]:
    """Return the types of an experiment whose axes are not known: steps have theirs, all else fits everywhere."""
    return dict.fromkeys(local.names, ANY) | _step_types(local)


def checker_of(local: LocalScope, types: Mapping[str, Type], faults: Faults) -> Checker:
    """Return the checker of an experiment's expressions."""
    return Checker(local.file, faults, {**dict.fromkeys(local.lost, ANY), **types})


def _axis_type(axis: Axis) -> Type:
    type_ = union(type_of(x.value) for x in axis.levels)
    labels = label_names((x.label, x.value) for x in axis.levels)
    testable = labels if any(x.label is not None for x in axis.levels) or labels else None
    values = {x.value for x in axis.levels if isinstance(x.value, str)}
    named = frozenset(x.label for x in axis.levels if x.label is not None) - values
    return Type(type_.kind, type_.names, type_.item, labels=testable, value=type_.value, named=named)


def _step_types(local: LocalScope) -> dict[str, Type]:
    types: dict[str, Type] = {}
    for name, step in local.steps.items():
        if isinstance(step.decl, ast.Ask):
            types[name] = ANSWER
            types |= {f"{name}.{field}": type_ for field, type_ in ANSWER_FIELDS.items()}
            if name in local.formats:
                types |= _reading_types(name, local.formats[name])
            elif any(s.name.text in tables.READING for s in step.decl.settings):  # with a fault, which is reported
                types[name] = ANY
        elif name in local.rubrics:
            reply_format = local.rubrics[name].reply_format
            types[name] = verdict_type(reply_format)
            types |= {f"{name}.{field}": NUMBER for field in reply_format.fields}
            if reply_format.shares:
                types |= {f"{name}.{share(label)}": SHARE for label in reply_format.choices}
                types[f"{name}.{FIELD}"] = _SHARE_OF
            types |= {f"{name}.{part.name}": part_type(part) for part in reply_format.shape}
        else:
            types[name] = ANY
    return types


def _reading_types(ask: str, reply_format: ReplyFormat) -> dict[str, Type]:
    """Return the types of what the answer of an ask is read as: each can be missing under a word of the format."""
    types = {f"{ask}.{field}": NUMBER for field in reply_format.fields}
    types |= {f"{ask}.{FIELD}": _SHARE_OF} if reply_format.shares else {}
    return types | {
        f"{ask}.{part.name}": replace(part_type(part), words=reply_format.words) for part in reply_format.parts
    }


def let_type(let: ast.Let, checker: Checker) -> Type:
    """Return the type of a `let`; the checker reports its errors."""
    if let.params is None:
        type_ = checker.infer(value_of(let))
        # a let is a value: the label of an axis stays with the axis
        return type_ if type_.kind == "label" else replace(type_, labels=None)
    params = tuple(p.text for p in let.params)
    result = checker.inner(dict.fromkeys(params, ANY)).infer(let.value)
    return Type("function", params, item=result, value=_LocalFunction(let.name.text, params))


def check_statements(statements: Statements, types: Mapping[str, Type], checker: Checker, faults: Faults) -> None:
    """Check the types of what stands in an experiment's statements, but for its measures."""
    for let in statements.lets:
        if types.get(let.name.text, ANY) is ANY:
            checker.inner({p.text: ANY for p in let.params or ()}).infer(value_of(let))
    for skip in statements.skips:
        checker.condition(skip.condition)
    for rule in statements.sets:
        checker.infer(rule.value)
        if rule.condition is not None:
            checker.condition(rule.condition)
    for step in statements.steps:
        for condition in step.conditions:
            checker.condition(condition)
        if step.decl.model is not None:
            _check_model(step.decl.model, checker, faults)
        if isinstance(step.decl, ast.Ask):
            _check_prompt(step.decl.prompt, checker, faults)
        elif isinstance(step.decl.rubric, ast.Call):
            checker.infer(step.decl.rubric)


def _check_prompt(node: ast.Expr, checker: Checker, faults: Faults) -> None:
    type_ = checker.infer(node)
    if type_.kind not in ("text", "prompt", "any", "answer", "label"):
        help_ = column_hint("with {}", node.name, type_) if isinstance(node, ast.Ref) else ""
        help_ = help_ or "use a text or a `prompt`"
        faults.error("E415", f"expected a prompt after `with`, got {type_}", node.span, help=help_)


def _check_model(node: ast.Expr, checker: Checker, faults: Faults) -> None:
    type_ = checker.infer(node)
    if type_.kind not in ("model", "text", "any"):
        faults.error("E217", f"expected a model after `from`, got {type_}", node.span,
                     help='use the name of a `model`, or a text such as "provider/model"')  # fmt: skip
