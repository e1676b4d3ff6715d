"""`contrast(...)`: its sides, a baseline, contrasts of contrasts, and the options of its tests."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.compiler.columns import with_constants
from emdsl.compiler.measure_help import usage
from emdsl.compiler.measure_specs import MEASURES
from emdsl.experiment import plain_difference
from emdsl.lang import ast
from emdsl.lang.walk import walk
from emdsl.source import Label, listed, near
from emdsl.value import render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.compiler.columns import Columns
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.infer import Checker
    from emdsl.compiler.types import Type
    from emdsl.experiment import Measure
    from emdsl.source import Span
    from emdsl.value import Value

Fields = dict[str, Any]  # of a Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastBinder:
    """Binds what only contrasts have; the arguments are those of a `MeasureBinder`."""

    checker: Checker
    faults: Faults
    columns: Columns
    axes: Mapping[str, Type]
    constant: Callable[[str], Value]

    def sides(self, call: ast.Call, fields: Fields) -> Fields:
        """Return the sides of a contrast: two, or four for a contrast of contrasts."""
        inner, level = fields.pop("inner", {}), fields.pop("level", None)
        sides = fields.get("sides", ())
        found = {f: inner[f] for f in ("versus", "baseline") if inner.get(f)}
        if level is not None and sides:
            if found:
                self.faults.error("E848", "only one of two nested contrasts can have `versus`", call.span,
                                  help="write the sides of the other: `AXIS is A, AXIS is B`")  # fmt: skip
            baseline = self._baseline(sides[0], level)
            if baseline is None:
                return {"sides": ()}
            found = {"versus": sides[0].name, "baseline": baseline}
            sides = (ast.Not(value=baseline, span=level.span), baseline)
        if inner.get("sides") and fields.get("of") == "dose":
            self.faults.error("E848", "a contrast of doses cannot be in another contrast", call.span,
                              help="compare two doses at a time")  # fmt: skip
        if inner.get("sides"):
            sides = tuple(
                ast.Logic(op="and", items=(one, other), span=other.span) for one in sides for other in inner["sides"]
            )
        return found | {"sides": sides}

    def _baseline(self, axis: ast.Expr, level: ast.Expr) -> ast.Expr | None:
        """Return the condition that an axis has its baseline level; None for a fault."""
        if not (isinstance(axis, ast.Ref) and axis.name in self.axes):
            self.faults.error("E848", "expected an axis before `versus`", axis.span,
                              help=listed("axis", "axes", self.axes) if self.axes else "add an axis")  # fmt: skip
            return None
        known = self.columns.levels.get(axis.name)
        named = level.name if isinstance(level, ast.Ref) else level.span.text if _is_word(level) else None
        if named is not None and (known is None or named in known) and self.axes[axis.name].kind != "bool":
            return ast.Is(value=axis, label=ast.Name(text=named, span=level.span), negated=False, span=level.span)
        value = with_constants(level, self.constant)
        if known is not None and _shown(value) not in known:
            self.faults.error("E848", f"`{axis.name}` has no level `{level.span.text}`", level.span,
                              help=near(level.span.text, known)
                              or listed("level", "levels", sorted(known)))  # fmt: skip
            return None
        return ast.Compare(left=axis, op="==", right=value, span=level.span)

    def check_options(self, call: ast.Call, fields: Fields) -> None:
        """Options of a contrast that are right one by one, and not together."""
        if fields.get("of") == "dose":
            if fields.get("scale", "ratio") != "ratio":
                self.faults.error("E843", "a contrast of doses is a ratio", call.span, help="leave `scale` out")
            fields["scale"] = "ratio"
            for node in (x for side in fields.get("sides", ()) for x in walk(side)):
                if isinstance(node, ast.Ref) and node.name == fields.get("slope"):
                    self.faults.error("E848", f"`{node.name}` is the axis of the doses: its levels cannot be compared",
                                      node.span, help="compare levels of another axis")  # fmt: skip
            if fields.get("equivalent") is not None or fields["interval"].method != "wald":
                option = "interval: bootstrap" if fields["interval"].method != "wald" else "equivalent"
                self.faults.error("E843", f"a contrast of doses has no `{option}`", call.span,
                                  help=f"leave `{option.split(':', maxsplit=1)[0]}` out")  # fmt: skip
        scale, correct, margin = fields.get("scale", "difference"), fields.get("correct"), fields.get("equivalent")
        wald = fields["interval"] is None or fields["interval"].method == "wald"
        if not wald and (correct or scale != "difference" or margin is not None):
            option = "correct" if correct else "scale" if scale != "difference" else "equivalent"
            self.faults.error("E843", f"`{option}:` needs a `wald` interval", call.span,
                              help="write `interval: wald(0.95)`, or leave it out")  # fmt: skip
        if scale == "odds" and fields.get("of") == "mean":
            self.faults.error("E843", "`scale: odds` is for rates, not for means", call.span,
                              help="use `scale: ratio` or `scale: difference`")  # fmt: skip
        if scale != "difference" and margin is not None and margin <= 1:
            self.faults.error("E843", f"with `scale: {scale}` the margin `equivalent` is a factor over 1", call.span,
                              help="write `equivalent: 1.25`")  # fmt: skip
        if fields.get("effect") is not None and not plain_difference(fields.get("scale", ""), fields.get("of", "")):
            self.faults.error("E843", "`effect` is for a difference of two rates or means", call.span,
                              help="remove `effect`, or compare rates or means by their difference")  # fmt: skip
        if fields.get("family") and not correct:
            self.faults.error("E843", "a `family` of contrasts is for a correction, and none is given", call.span,
                              help=f"write `family: {fields['family']}, correct: holm`")  # fmt: skip

    def checked(self, sides: tuple[ast.Expr, ...], by: Mapping[str, Span]) -> tuple[ast.Expr, ...]:
        """Return the sides of a contrast: conditions on axes alone, which `by` does not take apart."""
        for side in sides:
            self.checker.condition(side)
            for node in walk(side):
                if isinstance(node, ast.Ref) and node.name in by:
                    self.faults.error(
                        "E848", f"`{node.name}` is compared in this contrast, so it cannot follow `by`", node.span,
                        labels=(Label(span=by[node.name], text=f"`{node.name}` follows `by`"),),
                        help=f"remove `{node.name}` from `by`, or compare another axis",
                    )  # fmt: skip
                    return ()
                if isinstance(node, ast.Ref) and node.name not in self.axes:
                    self.faults.error(
                        "E848", f"`{node.name}` is not an axis: a contrast can only compare levels of axes", node.span,
                        help=f"write {usage(MEASURES['contrast'])}; {listed('axis', 'axes', self.axes)}"
                        if self.axes
                        else "add an axis: `for AXIS in [...]`",
                    )  # fmt: skip
                    return ()
        folded = tuple(with_constants(x, self.constant) for x in sides)
        if any(one == other for one, other in itertools.combinations(folded, 2)):
            self.faults.error("E848", "both sides of this contrast are the same", sides[1].span,
                              help="change one of the conditions")  # fmt: skip
        return folded


def check_families(measures: tuple[Measure, ...], faults: Faults) -> tuple[Measure, ...]:
    """Check that all contrasts of a family are corrected in one way; return the measures."""
    first: dict[str, Measure] = {}
    for measure in measures:
        if not measure.family:
            continue
        other = first.setdefault(measure.family, measure)
        if other.correct != measure.correct:
            faults.error(
                "E843", f"the family `{measure.family}` is corrected by `{other.correct}` and by `{measure.correct}`",
                measure.span, labels=(Label(span=other.span, text=f"`{other.correct}` is used here"),),
                help="use one correction for all contrasts of a family",
            )  # fmt: skip
    return measures


def _is_word(node: ast.Expr) -> bool:
    """Whether a node is `none`, `true` or `false`, which can be the name of a level."""
    return isinstance(node, ast.Literal) and (node.value is None or isinstance(node.value, bool))


def _shown(node: ast.Expr) -> str | None:
    """Return the text of a number or a text, as levels show it."""
    if isinstance(node, ast.Text):
        return "".join(p for p in node.parts if isinstance(p, str))
    return render(node.value) if isinstance(node, ast.Literal) else None
