"""`measure` statements: the arguments of each function, bound by its `MeasureSpec`."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.compiler import other_languages
from emdsl.compiler.annotations import corrected_by
from emdsl.compiler.clusters import factor_names
from emdsl.compiler.columns import with_constants
from emdsl.compiler.contrasts import ContrastBinder
from emdsl.compiler.intervals import IntervalBinder, apart_from
from emdsl.compiler.measure_help import inner_help, missing_arguments, other_help, usage
from emdsl.compiler.measure_specs import (
    COMMON_COLUMNS,
    CORRECTIONS,
    MEASURES,
    METRICS,
    SCALES,
    SLOPES,
    MeasureSpec,
    called_function,
)
from emdsl.compiler.types import ANY, NUMBERS, TEXTS
from emdsl.experiment import CORRECTED_COLUMNS, Interval, Measure
from emdsl.lang import ast
from emdsl.lang.walk import walk
from emdsl.source import listed, near, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from collections.abc import Set as AbstractSet

    from emdsl.annotation import Annotation
    from emdsl.compiler.columns import Columns
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.infer import Checker
    from emdsl.compiler.measure_values import MeasureValues
    from emdsl.compiler.types import Type
    from emdsl.source import Span
    from emdsl.value import Value

_SIMPLE = ("rate", "mean")
INSIDE = {  # the functions that a function can be of
    "contrast": (*_SIMPLE, "at_least", "dose", "contrast"),
    "slope": _SIMPLE,
    "dose": ("rate",),
    "components": _SIMPLE,
}
Fields = dict[str, Any]  # of a Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureBinder:
    """Binds the measures of one experiment.

    Args:
        checker: Infers the types of expressions.
        faults: Takes the faults.
        columns: What a measure can use.
        axes: The types of the axes, in their order.
        constant: Returns the value of a name that is the same in every row; raises KeyError for any other.
        intervals: Binds the intervals.
        annotations: The verdicts of people, by name.
        unique: Columns of rows that tell the levels of their axis apart, as axis and column.
        paths: Fields of records that have a column, as axis and field.
    """

    checker: Checker
    faults: Faults
    columns: Columns
    axes: Mapping[str, Type]
    constant: Callable[[str], Value]
    intervals: IntervalBinder
    annotations: Mapping[str, Annotation]
    unique: AbstractSet[tuple[str, str]]
    paths: Collection[tuple[str, ...]]

    def measure(self, decl: ast.Measure, *, asks: tuple[str, ...], steps: tuple[str, ...]) -> Measure | None:
        """Return a measure; None if its faults, which are reported, leave nothing to compute."""
        before = self.faults.n_errors
        call = self._call(decl)
        if call is None:
            return None
        name = called_function(call)
        fields = self._arguments(call, MEASURES[name])
        by = tuple(p.names for p in decl.by if self._is_group(p))
        sides = self._check_groups(decl, fields, {p.names[0]: p.span for p in decl.by if p.names in by})
        if self.faults.n_errors > before:
            return None
        by += ((fields["versus"],),) if fields.get("versus") else ()
        by += (("label",),) if fields.get("labels") else ()
        for field in ("value", "condition", "other", "person"):
            fields[field] = self.values.folded(fields.get(field))
        fields["others"] = tuple(with_constants(x, self.constant) for x in fields.get("others", ()))
        written = (fields["value"], fields["condition"], fields["other"], *fields["others"])
        read = {r.name for r in walk(written) if isinstance(r, ast.Ref)}
        tested = {r.name for r in walk(fields.pop("sides", ())) if isinstance(r, ast.Ref)}
        if fields["interval"] is not None:
            fields["interval"] = self._apart(fields, by, tested, call.span)
        return Measure(
            name=decl.name.text, function=name, **fields, by=by, sides=sides,
            pair=tuple(n for n in self.axes if n not in tested and (n,) not in by), asks=asks, steps=steps,
            reads=tuple(n for n in self.columns.types if n in read and n not in self.axes and n != "sample"),
            span=decl.name.span, whole=decl.span,
        )  # fmt: skip

    @property
    def _contrasts(self) -> ContrastBinder:
        return ContrastBinder(
            checker=self.checker, faults=self.faults, columns=self.columns, axes=self.axes, constant=self.constant
        )

    @property
    def values(self) -> MeasureValues:
        """Reads numbers and words."""
        return self.intervals.values

    def _call(self, decl: ast.Measure) -> ast.Call | None:
        name = called_function(decl.value)
        if isinstance(decl.value, ast.Call) and name in MEASURES:
            return decl.value
        hint = "write `measure NAME = rate(CONDITION) by AXIS`"
        if name:
            hint = other_languages.NAMES.get(name) or near(name, MEASURES)
        self.faults.error("E841", f"expected a measure function: {one_of(MEASURES)}", decl.value.span, help=hint)
        return None

    # -------------------------------------------------------------- arguments

    def _arguments(self, call: ast.Call, spec: MeasureSpec) -> Fields:
        """Return the fields that the arguments of a call set; faults are reported."""
        standard = (
            Interval(method=spec.intervals[0], level=0.95, clusters=self.intervals.clusters) if spec.intervals else None
        )
        fields: Fields = {"interval": standard}
        positional = [a.value for a in call.args if a.name is None]
        most, named = len(spec.positional), dict(spec.named)
        versus = "versus" in named and any(a.name is not None and a.name.text == "versus" for a in call.args)
        most -= versus  # one axis replaces two sides
        further = positional[most:] if spec.rest is not None else []
        positional = positional[: len(positional) - len(further)]
        for arg in call.args:
            if arg.name is not None and arg.name.text in named:
                param = named[arg.name.text]
                fields |= self._read(param.kind, param.field, arg.value, spec)
            elif arg.name is not None or any(arg.value is x for x in positional[most:]):
                what = (
                    f"has no parameter `{arg.name.text}`"
                    if arg.name
                    else f"expects at most {most} value{'s' * (most > 1)}"
                )
                self.faults.error("E213", f"`{spec.name}` {what}", (arg.name or arg).span, help=f"write {usage(spec)}")
        if len(positional) < most and not (spec.optional and not positional):
            message, help_ = missing_arguments(spec, positional, versus=versus)
            self.faults.error("E212", message, call.span, help=help_)
        elif len(positional) <= most:
            for param, value in zip(spec.positional, positional, strict=False):
                fields |= self._read(param.kind, param.field, value, spec, fields)
            if spec.rest is not None:
                fields[spec.rest.field] = tuple(
                    self._value("judgement", "other", value, spec).get("other", value) for value in further
                )
            if spec.name == "contrast":
                fields |= self._contrasts.sides(call, fields)
            self._check_together(call, spec, fields)
        return fields

    def _read(self, kind: str, field: str, node: ast.Expr, spec: MeasureSpec, fields: Fields | None = None) -> Fields:
        """Return the fields that one argument sets."""
        match kind:
            case "condition" | "number" | "judgement" | "label":
                return self._value(kind, field, node, spec)
            case "inner":
                return self._inner(node, spec)
            case "side":
                return {"sides": (*(fields or {}).get("sides", ()), node)}
            case "axis":
                return {field: self._number_axis(node, spec.name)}
            case "level_axis":
                return {field: self._equal(node)}
            case "factors":
                return {field: factor_names(node, self.intervals.cluster_columns, self.faults)}
            case "via":
                return self._via(node)
            case "interval":
                interval = self.intervals.interval(node, spec)
                return {field: interval} if interval is not None else {}
            case "whole":
                return {field: self.values.whole(node, 1)}
            case "share":
                return {field: self.values.share(node)}
            case "effect":
                return {field: self.values.positive(node, field, "0.05")}
            case "margin":
                return {field: self.values.positive(node, field, "0.05")}
            case "steepness":
                return {field: self.values.between(node, "slope", *SLOPES)}
            case "scale":
                return {field: self.values.word(node, field, SCALES)}
            case "metric":
                return {field: self.values.word(node, field, METRICS)}
            case "correction":
                return {field: self.values.word(node, field, CORRECTIONS)}
            case "family":
                return {field: self.values.word(node, field, ())}
            case _:
                return {"level": node}

    def _value(self, kind: str, field: str, node: ast.Expr, spec: MeasureSpec) -> Fields:
        """Read the expression that a function is of, with its `given`."""
        fields: Fields = {}
        if isinstance(node, ast.Given) and field == "value":
            fields["condition"], node = node.condition, node.event
            self.checker.condition(fields["condition"])
            self._check_columns(fields["condition"])
        fields[field] = node
        before = self.faults.n_errors
        if kind == "condition":
            self.checker.condition(node)
        else:
            type_ = self.checker.infer(node)
            if kind == "label":
                fields["labels"] = self._labels(node, type_) if self.faults.n_errors == before else ()
            if kind == "number" and type_.kind not in ("number", "score", "any"):
                self.faults.error(
                    "E842", f"expected a number in `{spec.name}(...)`, got {type_}", node.span,
                    help=other_help("number", type_.kind),
                )  # fmt: skip
        if self.faults.n_errors == before:
            self._check_columns(node)
        return fields

    def _via(self, node: ast.Expr) -> Fields:
        """Read how people's verdicts correct a rate: the method, with a condition on them."""
        fields = corrected_by(node, self.annotations, self.faults)
        if fields:
            before = self.faults.n_errors
            self.checker.condition(fields["person"])
            if self.faults.n_errors == before:
                self._check_columns(fields["person"])
        return fields

    def _labels(self, node: ast.Expr, type_: Type) -> tuple[str, ...]:
        """Return the labels that a value can be, in their order."""
        axis = isinstance(node, ast.Ref) and node.name in self.axes
        if axis or not type_.labels:
            by_cell = not axis and type_.kind == "label"
            what = "an axis" if axis else "labels that differ by cell" if by_cell else str(type_)
            help_ = f"use `rate({node.span.text[:40]} == LABEL)`" if by_cell else ""
            self.faults.error("E842", f"expected a label in `shares(...)`, got {what}", node.span,
                              help=help_ or other_help("label", "" if axis else type_.kind))  # fmt: skip
        return tuple(sorted(type_.labels or ()))

    def _equal(self, node: ast.Expr) -> str:
        if isinstance(node, ast.Ref) and node.name in self.axes:
            return node.name
        known = listed("axis", "axes", self.axes) if self.axes else "add an axis"
        self.faults.error("E843", "expected an axis as `equal`: each of its levels weighs the same", node.span,
                          help=near(node.span.text, self.axes) or known)  # fmt: skip
        return ""

    def _inner(self, node: ast.Expr, spec: MeasureSpec) -> Fields:
        """Read the `rate` or `mean` that a contrast or a slope is of."""
        name = called_function(node)
        inside = INSIDE[spec.name]
        if not isinstance(node, ast.Call) or name not in inside:
            expected = one_of([f"{n}(...)" for n in inside])
            self.faults.error(
                "E847", f"expected {expected} in `{spec.name}(...)`", node.span, help=inner_help(node, spec.name)
            )
            return {}
        if name == "contrast" and any(called_function(a.value) == "contrast" for a in node.args):
            self.faults.error("E847", "a contrast of contrasts cannot be compared again", node.span,
                              help="write one contrast of contrasts, with the third axis in `by`")  # fmt: skip
            return {}
        own = {"at_least": ("of",), "contrast": ("versus",), "dose": ("slope",)}.get(name, ())
        inner = node.replaced(args=tuple(a for a in node.args if a.name is None or a.name.text in own))
        fields = self._arguments(inner, MEASURES[name])
        for arg in node.args:
            if arg.name is not None and arg.name.text not in own:
                self.faults.error(
                    "E213", f"inside `{spec.name}`, `{name}` has no `{arg.name.text}`", arg.name.span,
                    help=f"move `{arg.name.text}: ...` to the end of `{spec.name}(...)`"
                    if arg.name.text in dict(spec.named) else f"remove `{arg.name.text}: ...`",
                )  # fmt: skip
        if name == "contrast":
            return {"of": fields.get("of", ""), "inner": fields} | _values_of(fields)
        return {"of": name} | _values_of(fields)

    def _apart(self, fields: Fields, by: tuple[tuple[str, ...], ...], tested: set[str], span: Span) -> Interval:
        """Return the interval of a measure, without the clusters that its groups or its axis take apart.

        Clusters that a contrast compares stay: see `check_sides` and `emdsl.outcomes.spread`.
        """
        groups = {p[0] for p in by if (len(p) == 1 and p[0] != fields.get("versus")) or p in self.unique}
        apart = dict.fromkeys(groups, "each group would be one cluster")
        if fields.get("slope"):
            apart[fields["slope"]] = "it is the axis of the slope"
        if "least" in fields:
            apart["sample"] = "the units of `at_least` are cells with all their samples"
        interval: Interval = fields["interval"]
        for name in (n for n in interval.cluster if n in apart and interval.clusters.written):
            self.faults.error("E843", f"`{name}` cannot be the cluster of this measure: {apart[name]}", span,
                              help="choose another cluster, or leave `cluster:` out")  # fmt: skip
        return apart_from(interval, apart, tested)

    def _number_axis(self, node: ast.Expr, function: str) -> str:
        if isinstance(node, ast.Ref) and node.name in self.axes and self.axes[node.name].kind in ("number", "any"):
            return node.name
        numeric = [n for n, t in self.axes.items() if t.kind == "number"]
        self.faults.error("E844", f"expected an axis of numbers in `{function}(...)`", node.span,
                          help=listed("axis of numbers", "axes of numbers", numeric)
                          if numeric else "add an axis of numbers")  # fmt: skip
        return ""

    # -------------------------------------------------------------- checks

    def _check_columns(self, node: ast.Expr) -> None:
        obstacle = self.columns.obstacle(with_constants(node, self.constant))
        if obstacle is not None:
            type_ = self.axes.get(obstacle.node.name, ANY) if isinstance(obstacle.node, ast.Ref) else ANY
            field = f", e.g. `{obstacle.node.span.text}.{type_.names[0]}`" if type_.kind in ("row", "map") else ""
            self.faults.error(
                "E845", "a measure can only use texts, numbers and conditions", obstacle.node.span,
                note=obstacle.reason, help=f"use one of its fields{field}" if field else "",
            )  # fmt: skip

    def _check_together(self, call: ast.Call, spec: MeasureSpec, fields: Fields) -> None:
        """Arguments that are right one by one, and not together."""
        among, least = fields.get("among"), fields.get("least", 1)
        if spec.name == "contrast":
            self._contrasts.check_options(call, fields)
        if among is not None and least > among:
            self.faults.error("E843", f"at least {least} of {among} is impossible", call.span)
        if spec.name == "agreement":
            self._check_agreement(call, fields)
        if spec.name == "correlation" and fields["value"] == fields["other"]:
            self.faults.error("E849", "a score always correlates with itself", call.span,
                              help="give two different scores")  # fmt: skip
        if fields.get("via") and (fields.get("equal") or fields["interval"].method == "bootstrap"):
            self.faults.error("E843", "a rate with `via` has its own interval, and no `equal`", call.span,
                              help="leave `equal` and `bootstrap` out")  # fmt: skip
        if fields.get("equal") and fields["interval"].method == "bootstrap":
            self.faults.error("E843", "`bootstrap` is not an interval for `equal`", call.span,
                              help="leave `interval` out: the default rests on the same clusters")  # fmt: skip

    def _check_agreement(self, call: ast.Call, fields: Fields) -> None:
        """Check that judgements can agree; alpha of more than two, or by a metric, has a bootstrap interval."""
        raters = (fields["value"], fields["other"], *fields["others"])
        fields["nominal"] = all(list(itertools.starmap(self._agree, itertools.pairwise(raters))))  # each is checked
        for one, other in itertools.combinations(raters, 2):
            if one == other:
                self.faults.error(
                    "E849", "a judgement always agrees with itself", other.span,
                    help="give different judgements; a judge with `samples = 2` has two: `agreement(NAME, NAME_2)`",
                )  # fmt: skip
        written = any(a.name is not None and a.name.text == "interval" for a in call.args)
        if fields["others"] and not fields.get("metric"):
            fields["metric"] = "nominal" if fields["nominal"] else "interval"
        if fields.get("metric") and not written:
            fields["interval"] = dataclasses.replace(fields["interval"], method="bootstrap")
        if fields.get("metric") in ("ordinal", "interval") and fields["nominal"]:
            self.faults.error("E849", f"`metric: {fields['metric']}` needs numbers", call.span,
                              help="write `metric: nominal` for labels and conditions")  # fmt: skip
        if (fields["interval"].method == "bootstrap") != bool(fields.get("metric")):
            self.faults.error("E843", "`wald` is for two judges, `bootstrap` for more or for a `metric`", call.span,
                              help="leave `interval` out")  # fmt: skip

    def _agree(self, value: ast.Expr, other: ast.Expr) -> bool:
        """Check that two judgements can agree; return whether they are labels, not numbers."""
        types = [self.checker.infer(x) for x in (value, other)]
        first, second = ("number" if t.kind in NUMBERS else "text" if t.kind in TEXTS else t.kind for t in types)
        if "any" not in (first, second) and (first != second or first not in ("number", "text", "bool")):
            self.faults.error("E849", f"`agreement` cannot compare {types[0]} and {types[1]}", other.span,
                              help="compare two scores, two labels or two conditions")  # fmt: skip
        return first != "number"

    def _check_groups(self, decl: ast.Measure, fields: Fields, by: Mapping[str, Span]) -> tuple[ast.Expr, ...]:
        """Check what stands behind `by` against the arguments; return the sides of a contrast."""
        own = (*COMMON_COLUMNS, *MEASURES[called_function(decl.value)].columns)
        own += ("reason",) if fields.get("of") == "dose" else CORRECTED_COLUMNS if fields.get("via") else ()
        for path in decl.by:
            column = "_".join(path.names)
            if column.lower() in own:
                self.faults.error("E846", f"`{column}` after `by` is also the name of a result column", path.span,
                                  help="give the axis another name")  # fmt: skip
        interval = fields["interval"]
        groups = {p.names[0]: p.span for p in decl.by if len(p.names) == 1}
        for name in interval.cluster if interval is not None and interval.clusters.written else ():
            if name in groups:
                self.faults.error(
                    "E843", f"`{name}` is the cluster, so it cannot follow `by`: each group would be one cluster",
                    groups[name], help=f"remove `{name}` from `by`, or choose another cluster",
                )  # fmt: skip
        function = called_function(decl.value)
        taken = {fields.get("slope"): f"the axis of the {fields.get('of') if function == 'contrast' else function}"}
        taken |= {fields.get("equal"): "the axis of `equal`"} | dict.fromkeys(fields.get("factors", ()), "a factor")
        for name in (n for n in taken if n and n in groups):
            self.faults.error("E844", f"`{name}` is {taken[name]}, so it cannot follow `by`", groups[name],
                              help=f"remove `{name}` from `by`, or use another axis")  # fmt: skip
        if not fields.get("of") or "sides" not in fields:
            return ()
        before = self.faults.n_errors
        sides = self._contrasts.checked(fields["sides"], by)
        for side in fields["sides"] if self.faults.n_errors == before else ():
            self._check_columns(side)
        return sides

    def _is_group(self, path: ast.Path) -> bool:
        """Check one path behind `by`: an axis, `sample`, or a column of an axis of rows."""
        name = path.names[0]
        if path.names == ("sample",):
            return True
        if name not in self.axes:
            axes = listed("axis", "axes", self.axes) if self.axes else f"add an axis: `for {name} in [...]`"
            help_ = near(name, self.axes) or axes
            if name in self.columns.types:
                help_ = f"`{name}` is not an axis: write a measure for each of its values, with `given {name} == VALUE`"
            self.faults.error("E844", f"unknown axis `{name}` after `by`", path.span, help=help_)
            return False
        if len(path.names) == 1 or path.names in self.paths:
            return True
        type_ = self.axes[name]
        known = type_.names if type_.kind in ("row", "map") else ()
        if len(path.names) == 2 and path.names[1] in known and type_.kind == "row" and path.names[1] != "position":
            return True
        columns = listed("column", "columns", [c for c in known if c != "position"]) if known else ""
        self.faults.error("E844", f"unknown column `{'.'.join(path.names)}` after `by`", path.span.of(path.names[-1]),
                          help=near(path.names[-1], known) or columns)  # fmt: skip
        return False


def _values_of(fields: Fields) -> Fields:
    """Return the fields that a measure of a measure takes over from it."""
    return {f: fields[f] for f in ("value", "condition", "least", "among", "slope", "steepness") if f in fields}
