"""The clusters of an experiment: which draws are alike, so that an interval cannot take them as independent.

Answers to one question are alike; so are answers after one set of demonstrations. Source: Cameron and Miller (2015), "A
practitioner's guide to cluster-robust inference"; Miller (2024), "Adding error bars to evals".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.compiler.columns import COLUMN_KINDS
from emdsl.compiler.functions import built_in
from emdsl.compiler.read_settings import once
from emdsl.compiler.settings import CLUSTER
from emdsl.experiment import MIN_CROSSED, MIN_DETECTED, Axis, Clusters
from emdsl.lang import ast
from emdsl.lang.walk import walk
from emdsl.source import one_of
from emdsl.value import Row

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.local_scope import LocalScope
    from emdsl.compiler.statements import Statements
    from emdsl.compiler.types import Type
    from emdsl.source import Span

ENOUGH_SETS = 10  # of demonstrations that all questions share
MAX_FACTORS = 3  # of `components`


def cluster_names(node: ast.Expr, names: Collection[str], faults: Faults) -> tuple[str, ...] | None:
    """Return the names that a `cluster` is: one, two that cross, or none for `none`; None for a fault.

    Args:
        node: What is written.
        names: The axes, `sample` and the columns that can be a cluster.
        faults: Takes the fault.
    """
    if isinstance(node, ast.Literal) and node.value is None:
        return ()
    found = _names(node, names)
    if not 1 <= len(found) <= 2:
        faults.error(
            "E843", "expected an axis, `sample`, a `let` or a list of two of them as the cluster", node.span,
            help=f"use one or two of {one_of(names)}; or `none`, if draws are independent",
        )  # fmt: skip
        return None
    return found


def factor_names(node: ast.Expr, names: Collection[str], faults: Faults) -> tuple[str, ...]:
    """Return the names that the factors of `components` are, at most 3; none for a fault, which is reported."""
    found = _names(node, names)
    if not 1 <= len(found) <= MAX_FACTORS:
        faults.error(
            "E843", f"expected a list of up to {MAX_FACTORS} sources of variance: axes, `sample` or `let`s", node.span,
            help=f"use one to three of {one_of(names)}",
        )  # fmt: skip
        return ()
    return found


def _names(node: ast.Expr, names: Collection[str]) -> tuple[str, ...]:
    """Return the names of a list, or of one name without a list; none if any is not among them or is there twice."""
    items = node.items if isinstance(node, ast.Sequence) else (node,)
    found = [x.name for x in items if isinstance(x, ast.Ref) and x.name in names]
    return tuple(found) if len(items) == len(set(found)) else ()


def clusters_of(
    statements: Statements, local: LocalScope, types: Mapping[str, Type], axes: tuple[Axis, ...], samples: int,
    faults: Faults,
) -> Clusters:  # fmt: skip
    """Return the clusters of an experiment: those of its setting `cluster`, or the axis over its items."""
    written = once((s for s in statements.settings if s.name.text == CLUSTER), faults)
    if written:
        names = cluster_names(written[0].value, cluster_columns(local, types), faults)
        return Clusters(names=names or (), items_only=not names)
    axis, few = _items(statements, local, axes, faults)
    if axis is None:
        return Clusters(items_only=bool(few), few=few)
    if (set_of := _shared_set(statements, local, axis.name)) is None or samples == 1:
        return Clusters(names=(axis.name,), detected=True)
    if samples < ENOUGH_SETS:
        included = "are wide with so few" if samples >= MIN_CROSSED else "do not include how much they differ"
        many, few_of, one = "sets of demonstrations", "sets", "draw a set"
        if set_of.text.startswith("shuffle"):
            many, few_of, one = "orders of a list", "orders", "choose an order"
        faults.warning(
            "W851", f"{samples} samples are {samples} {many}: all levels of `{axis.name}` share them",
            set_of, note=f"intervals {included}: {ENOUGH_SETS} {few_of} or more give a good estimate",
            help=f"set `samples` to {ENOUGH_SETS} or more, or {one} for each question: "
            f"`seed: [{axis.name}, sample]`",
        )  # fmt: skip
    names = (axis.name, "sample") if samples >= MIN_CROSSED else (axis.name,)
    return Clusters(names=names, detected=True, crossed=axis.name)


def cluster_columns(local: LocalScope, types: Mapping[str, Type]) -> list[str]:
    """Return the names that can be a cluster: axes, `sample`, and `let`s that are a column known before any answer."""
    lets = (
        n for n, let in local.lets.items() if let.params is None and local.varies(let) and not local.steps_read(let)
    )
    return [*local.axes, "sample", *(n for n in lets if types[n].kind in COLUMN_KINDS)]


def _items(
    statements: Statements, local: LocalScope, axes: tuple[Axis, ...], faults: Faults
) -> tuple[Axis | None, tuple[str, ...]]:
    """Return the axis over the items of a study, or None; and the axes over items if all have too few levels."""
    models = frozenset().union(*(local.reads(s.decl.model) for s in statements.steps if s.decl.model is not None))
    rows = [a for a in axes if a.levels and all(isinstance(x.value, Row) for x in a.levels)]
    texts = [
        a for a in axes
        if a.levels and a.name not in models and all(isinstance(x.value, str) and x.label is None for x in a.levels)
    ]  # fmt: skip
    kind = rows or texts
    many = sorted((a for a in kind if len(a.levels) >= MIN_DETECTED), key=lambda a: -len(a.levels))
    if len(many) > 1:
        first, second = many[:2]
        faults.warning(
            "W850", f"intervals could be clustered by `{first.name}` or by `{second.name}`", first.span,
            note=f"`{first.name}` is used: it has {len(first.levels)} levels, `{second.name}` has {len(second.levels)}",
            help=f"write `cluster = {first.name}`, `cluster = {second.name}` or "
            f"`cluster = [{first.name}, {second.name}]`",
        )  # fmt: skip
    return (many[0], ()) if many else (None, tuple(a.name for a in kind))


def _shared_set(statements: Statements, local: LocalScope, axis: str) -> Span | None:
    """Return the place of a choice that differs from sample to sample, and is the same for all levels of an axis."""
    for node in walk(statements.decl.body):
        if not (isinstance(node, ast.Call) and isinstance(node.function, ast.Ref)):
            continue
        function = built_in(node.function.name, local.names | local.file.own, len(node.args))
        params = function.params if function is not None else ()
        if "seed" not in params:
            continue
        by_name = {a.name.text: a.value for a in node.args if a.name is not None}
        by_place = dict(zip(params, (a.value for a in node.args if a.name is None), strict=False))
        seed = (by_place | by_name).get("seed")
        if seed is not None and "sample" in local.reads(seed) and axis not in local.reads(node):
            return node.span
    return None
