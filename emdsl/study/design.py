"""Designs: an experiment as JSON that depends on its meaning alone, for registrations."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from emdsl.compiler.free_names import free_names
from emdsl.digest import digest
from emdsl.experiment import Interval, request_settings
from emdsl.lang import ast
from emdsl.lang.canonical import canonical
from emdsl.lang.walk import renamed
from emdsl.value import Row, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emdsl.annotation import Annotation
    from emdsl.experiment import Axis, Experiment, Measure, Step
    from emdsl.run.symbolic import StepRequests

Design = dict[str, Any]
NO_MEANING = frozenset(  # fields of a Measure: its name and place, and what follows from the others
    ("name", "span", "whole", "asks", "steps", "reads", "pair", "nominal", "by", "levels", "strata")
)
CALLED = {"condition": "given", "among": "of", "of": "function of"}  # fields of a Measure, as people call them
UNSET = (None, ())


def design(
    experiment: Experiment, requests: Mapping[str, StepRequests], names: Mapping[str, str] | None = None
) -> Design:
    """Return the size, the axes, the steps and the measures of an experiment.

    Nothing depends on layout, order, comments, names of constants, prompts, functions or models, or stored answers.

    Args:
        experiment: The experiment.
        requests: The requests of its steps.
        names: Other names for some of its axes and steps.
    """
    made = _Plain(experiment, names or {})
    models: dict[str, set[str]] = {s.name: set() for s in experiment.steps}
    for step, settings in request_settings(experiment):
        models[step.name].add(settings.model.use)
    return {
        "samples": experiment.samples,
        "cells": experiment.n_cells,
        "axes": {made.name(a.name): levels_of(a) for a in experiment.axes},
        "steps": {
            made.name(s.name): {
                "models": sorted(models[s.name]), "requests": requests[s.name].n,
                "digest": requests[s.name].digest.hex(),
            } | made.step(s)
            for s in experiment.steps
        },
        "measures": {m.name: made.measure(m) for m in experiment.measures},
    }  # fmt: skip


def levels_of(axis: Axis) -> dict[str, str]:
    """Return the levels of an axis as people see them, with a digest of a value that this does not show.

    A request has the content of a prompt, a model or a dataset, and a measure can read none.
    """
    levels = {}
    for level in axis.levels:
        value = level.value
        hidden = isinstance(value, Row) or (level.label is not None and not hasattr(value, "name"))
        levels[level.shown] = digest("value", plain(value)).hex()[:16] if hidden else ""
    return levels


@dataclasses.dataclass(frozen=True, slots=True)
class _Plain:
    experiment: Experiment
    names: Mapping[str, str]

    def name(self, name: str) -> str:
        return self.names.get(name, name)

    def step(self, step: Step) -> dict[str, Any]:
        """Return what the requests of a step do not show: its condition, and how its reply is read."""
        conditions = self.experiment.conditions.get(step.name, ())
        both = ast.Logic(op="and", items=conditions, span=conditions[0].span) if conditions else None
        reply = self.value(step.reply_format)
        if step.choices is not None:
            reply["choices"] = self.value(step.choices)
        fields = {"when": self.value(both), "reply": reply, "again": step.again}
        return {name: value for name, value in fields.items() if value}

    def measure(self, measure: Measure) -> dict[str, Any]:
        """Return a measure by its fields, without those that have their default."""
        fields = {CALLED.get(n, n): value for n, value in self.fields(measure).items() if n not in NO_MEANING}
        by = sorted(".".join((self.name(first), *rest)) for first, *rest in measure.by)
        read = {*measure.reads, *(free_names(measure.person) if measure.person is not None else ())}
        people = {f"annotation {a.name}": self.annotation(a) for a in self.experiment.annotations if a.name in read}
        return fields | people | ({"by": by} if by else {})

    def annotation(self, annotation: Annotation) -> dict[str, Any]:
        """Return what people were asked, and which rows are drawn: another draw is another figure."""
        within = sorted(map(self.name, annotation.within))
        fields = {
            "of": self.name(annotation.ask), "choices": dict(annotation.choices), "draw": annotation.draw,
            "within": within, "raters": annotation.raters, "split": annotation.split,
            "seed": None if annotation.seed is None else str(annotation.seed),
        }  # fmt: skip
        return {name: value for name, value in fields.items() if value}

    def fields(self, noun: Any) -> dict[str, Any]:
        """Return the fields of a noun, without those that have their default."""
        values = ((f, getattr(noun, f.name)) for f in dataclasses.fields(noun))
        return {f.name: self.value(x) for f, x in values if x not in (*UNSET, f.default)}

    def value(self, value: Any) -> Any:
        """Return the value of a field."""
        match value:
            case _ if isinstance(value, ast.Expr):
                return canonical(renamed(self.experiment.inlined(value), self.names))
            case Interval(method=method, level=level):
                drawn = {"resamples": value.resamples, "seed": value.seed} if method == "bootstrap" else {}
                cluster = {"cluster": sorted(map(self.name, value.cluster))} if value.cluster else {}
                return {"method": method, "level": level} | drawn | cluster
            case tuple():
                return [self.value(x) for x in value]
            case str():
                return self.name(value)
            case _:
                return self.fields(value) if dataclasses.is_dataclass(value) else value
