"""Intervals of measures, as written: method, level, clusters."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.compiler.clusters import cluster_names
from emdsl.compiler.measure_specs import INTERVAL_METHODS, MeasureSpec, called_function
from emdsl.experiment import Clusters, Interval
from emdsl.lang import ast
from emdsl.source import near, one_of
from emdsl.value import is_exact

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from emdsl.compiler.measure_values import MeasureValues

_OPTIONS = {"bootstrap": ("resamples", "seed")}  # of an interval, beside `cluster`


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalBinder:
    """Binds intervals; `clusters` are those of the experiment, `cluster_columns` the names that can be a cluster."""

    values: MeasureValues
    clusters: Clusters
    cluster_columns: Sequence[str]

    def interval(self, node: ast.Expr, spec: MeasureSpec) -> Interval | None:
        """Read an interval: its method with the level, and what a bootstrap draws anew."""
        method = called_function(node) or (node.name if isinstance(node, ast.Ref) else "")
        if method not in spec.intervals:
            methods = f"use {'one of ' * (len(spec.intervals) > 1)}{one_of(spec.intervals)}"
            span = node.function.span if isinstance(node, ast.Call) else node.span
            if method in INTERVAL_METHODS:
                self.values.faults.error("E843", f"`{method}` is not an interval for `{spec.name}`", span, help=methods)
            else:
                message = f"unknown interval `{method}`" if method else f"expected an interval for `{spec.name}`"
                self.values.faults.error("E843", message, span, help=near(method, spec.intervals) or methods)
            return None
        if not isinstance(node, ast.Call):
            return Interval(method=method, level=0.95, clusters=self.clusters)
        level: Any = None
        options: dict[str, ast.Expr] = {}
        for arg in node.args:
            if arg.name is None and level is None and isinstance(arg.value, ast.Literal):
                level = arg.value.value
            elif arg.name is not None and arg.name.text in ("cluster", *_OPTIONS.get(method, ())):
                options[arg.name.text] = arg.value
            else:
                more = ", resamples: 1000, seed: 0" if method == "bootstrap" else ""
                self.values.faults.error("E213", f"unknown argument of `{method}`", arg.span,
                                  help=f"write `{method}(0.95, cluster: AXIS{more})`")  # fmt: skip
        if not is_exact(level) or not 0 < float(level) < 1:
            self.values.faults.error("E843", "the level of an interval must be between 0 and 1", node.span,
                              help=f"write `{method}(0.95)`")  # fmt: skip
            return None
        return Interval(
            method=method, level=float(level),
            clusters=self._clusters(options["cluster"]) if "cluster" in options else self.clusters,
            resamples=self.values.whole(options["resamples"], 100) if "resamples" in options else 1_000,
            seed=self.values.whole(options["seed"], 0) if "seed" in options else 0,
        )  # fmt: skip

    def _clusters(self, node: ast.Expr) -> Clusters:
        """Return the clusters that an interval names: they take the place of those of the experiment."""
        names = cluster_names(node, self.cluster_columns, self.values.faults)
        return Clusters(names=names or (), items_only=not names, written=True)


def apart_from(interval: Interval, names: Collection[str], compared: Collection[str]) -> Interval:
    """Return an interval without some of its clusters; names that are `compared` are no items to speak of others."""
    clusters = interval.clusters
    kept = tuple(n for n in clusters.names if n not in names)
    if clusters.detected and clusters.names[:1] != kept[:1]:
        kept = ()  # of one item, the samples are independent
    items_only = clusters.items_only and not (clusters.few and {*names, *compared} >= {*clusters.few})
    return dataclasses.replace(interval, clusters=dataclasses.replace(clusters, names=kept, items_only=items_only))
