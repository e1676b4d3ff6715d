"""`ask` and `judge` statements to steps: which request a cell and sample makes, and what it depends on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.capability import unbounded
from emdsl.compiler import settings as tables
from emdsl.compiler.expr import Compiler, bound, ordered, refs
from emdsl.compiler.models import merged
from emdsl.experiment import ASK, JUDGE, Step
from emdsl.frame import EvalFault, Fn, Frame, MissingInput, fail
from emdsl.lang import ast
from emdsl.prompt import Prompt, of_text
from emdsl.query import Head, Model, Params
from emdsl.service import SIM
from emdsl.source import Diagnostic, Label, Span, near, one_of
from emdsl.value import Missing, describe, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.compiler.faults import Faults
    from emdsl.compiler.resolve import Resolver, RubricMaker, Scope
    from emdsl.judge import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`set step.parameter = value when condition`, compiled."""

    parameter: str
    value: Fn
    condition: Fn | None
    axes: frozenset[str]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBuilder:
    """Builds the steps of one experiment."""

    scope: Scope
    resolver: Resolver
    faults: Faults
    compiler: Compiler
    axes: list[str]
    steps: Mapping[str, ast.Ask | ast.Judge]
    reached: Callable[..., frozenset[str]]
    constants: Mapping[str, Any]
    lets: Mapping[str, Fn]
    budget: Span | None  # where it is set
    matched: set[Span] = field(default_factory=set)  # `set` rules that held in some cell

    def rules(self, written: list[ast.SetRule]) -> dict[str, list[Rule]]:
        """Return `set` rules by the step that they are for; faults are told."""
        found: dict[str, list[Rule]] = {}
        for rule in written:
            names = rule.target.names
            if len(names) != 2 or names[0] not in self.steps:
                self.faults.error(
                    "E416",
                    f"`set` takes `step.parameter`, and `{names[0]}` is no step",
                    rule.target.span,
                    help=near(names[0], self.steps) or f"the steps are {one_of(self.steps)}",
                )
                continue
            if names[1] not in tables.PARAMS or names[1] == "seed":
                self.faults.error(
                    "E202",
                    f"no parameter is called `{names[1]}`",
                    rule.target.span,
                    help=near(names[1], tables.PARAMS) or f"known are {one_of(tables.PARAMS, 30)}",
                )
                continue
            read = self.reached(rule.value, rule.condition)
            asked = [n for n in read if n in self.steps or n == "sample"]
            if asked:
                self.faults.error(
                    "E409", f"a `set` reads axes only, not `{asked[0]}`", rule.span,
                    note="parameters are known before anything runs",
                )  # fmt: skip
                continue
            found.setdefault(names[0], []).append(
                Rule(
                    parameter=names[1],
                    value=self._parameter(names[1], rule.value),
                    condition=self.compiler.expr(rule.condition) if rule.condition is not None else None,
                    axes=frozenset(n for n in read if n in self.axes),
                    span=rule.span,
                )
            )
        return found

    def _parameter(self, name: str, value: ast.Expr) -> Fn:
        """Return the function that reads a parameter; it raises EvalFault for one of the wrong kind."""
        compiled = self.compiler.expr(value)
        spec = tables.PARAMS[name]

        def read(frame: Frame) -> Any:
            found = compiled(frame)
            if found is None:
                return None
            try:
                return spec.read(found)
            except tables.Refused as refused:
                raise fail("E520", f"`{name}` is {refused}", value.span) from None

        return read

    def step(
        self,
        decl: ast.Ask | ast.Judge,
        conditions: tuple[ast.Expr, ...],
        rubric: RubricMaker | None,
        rules: list[Rule],
    ) -> Step:
        """Return a step; faults of its settings are told."""
        name = decl.name.text
        model = self._model(decl, rubric)
        settings, numbers = self._settings(decl)
        head_reads = self.reached(decl.model, *(s.value for s in decl.settings))
        for read in sorted(head_reads & {*self.steps, "sample"}):
            self.faults.error("E401", f"who is asked, and how, is known before: this reads `{read}`", decl.span)
        head_axes = frozenset(n for n in head_reads if n in self.axes)
        for rule in rules:
            head_axes |= rule.axes
        node = decl.prompt if isinstance(decl, ast.Ask) else decl.rubric
        prompt_reads = self.reached(node)
        needs = tuple(n for n in self.steps if n in prompt_reads)
        condition_reads = self.reached(*conditions)
        return Step(
            name=name,
            kind=ASK if isinstance(decl, ast.Ask) else JUDGE,
            needs=needs,
            head=self._head(decl, model, settings, numbers.get("replicate", 0), rules, rubric),
            head_axes=self._positions(head_axes),
            prompt=self._prompt(decl, rubric),
            prompt_axes=self._positions(frozenset(prompt_reads)),
            prompt_sample="sample" in prompt_reads,
            condition=self._condition(conditions),
            condition_needs=tuple(n for n in self.steps if n in condition_reads),
            reading=rubric.reading if rubric else None,
            again=numbers.get("again", 0),
            rubric=rubric.name if rubric else "",
            set_at={s.name.text: s.span for s in decl.settings} | {r.parameter: r.span for r in rules},
            set_by_rubric=rubric.places if rubric else {},
            span=decl.name.span,
        )

    def _positions(self, names: frozenset[str]) -> tuple[int, ...]:
        return tuple(i for i, n in enumerate(self.axes) if n in names)

    def _condition(self, conditions: tuple[ast.Expr, ...]) -> Fn | None:
        if not conditions:
            return None
        if len(conditions) == 1:
            return self.compiler.expr(conditions[0])
        both = ast.Logic(op="and", items=conditions, span=conditions[0].span)
        return self.compiler.expr(both)

    def _model(self, decl: ast.Ask | ast.Judge, rubric: RubricMaker | None) -> Callable[[Frame], Model]:
        if decl.model is None:
            assert rubric is not None
            found = rubric.model
            if found is None:
                raise fail(
                    "E417", f"who judges? neither `{rubric.name}` nor this statement names a model", decl.span,
                    help="add `from MODEL` at the end, or `rubric ... from MODEL`",
                )  # fmt: skip
            return lambda _: found
        node = decl.model
        compiled = self.compiler.expr(node)
        return lambda frame: self.resolver.as_model(compiled(frame), node.span)

    def _settings(self, decl: ast.Ask | ast.Judge) -> tuple[dict[str, Fn], dict[str, int]]:
        """Return the settings of a step as functions of the axes, and those that are one number for all cells."""
        kind = "ask" if isinstance(decl, ast.Ask) else "judge"
        table = tables.ASK if kind == "ask" else tables.JUDGE
        found: dict[str, Fn] = {}
        numbers: dict[str, int] = {}
        for item in decl.settings:
            name = item.name.text
            if name not in table:
                self.faults.add(tables.unknown_setting(name, item.name.span, kind, table))
            elif name in found or name in numbers:
                self.faults.error("E203", f"`{name}` is set twice", item.name.span)
            elif name in ("replicate", "again"):
                numbers[name] = self._number(table[name], item.value)
            else:
                found[name] = self._parameter(name, item.value)
        return found, numbers

    def _number(self, spec: tables.Spec, node: ast.Expr) -> int:
        """Return a setting that is one number for all cells; 0 where it is none, which is told."""
        read = sorted(self.reached(node) & {*self.axes, *self.steps, "sample"})
        if read:
            self.faults.error("E401", f"`{spec.name}` is one number for all cells: this reads `{read[0]}`", node.span)
            return 0
        try:
            number: int = spec.read(self.compiler.expr(node)(Frame(self.constants, self.lets)))
        except tables.Refused as refused:
            self.faults.error("E520", f"`{spec.name}` is {refused}", node.span)
            return 0
        return number

    def _head(
        self,
        decl: ast.Ask | ast.Judge,
        model: Callable[[Frame], Model],
        settings: Mapping[str, Fn],
        replicate: int,
        rules: list[Rule],
        rubric: RubricMaker | None,
    ) -> Callable[[Frame], Head]:
        def head(frame: Frame) -> Head:
            who = model(frame)
            own = {name: value(frame) for name, value in settings.items()}
            decided = _decided(rules, frame, self.matched)
            if rubric is not None:
                _agree(rubric, who, {*own, *decided}, decl.span)
            params = merged(who.params, {**(rubric.settings if rubric else {}), **own, **decided})
            if who.service.name == SIM:
                params = _for_simulator(who, params, rubric)
            else:
                params = tuple(p for p in params if p[0] != "sim")
                params = merged(who.service.unasked, dict(params))
            if self.resolver.models.simulate:
                who, params = self.resolver.models.simulated(who, params, judge=rubric is not None)
                params = _for_simulator(who, params, rubric)
            if self.budget is not None:
                _affordable(who, params, decl.model.span if decl.model is not None else decl.span, self.budget)
            return Head(who, params, replicate)

        return head

    def _prompt(self, decl: ast.Ask | ast.Judge, rubric: RubricMaker | None) -> Callable[[Frame], Prompt]:
        if rubric is not None:
            assert isinstance(decl, ast.Judge)
            return self._judge_prompt(decl, rubric)
        assert isinstance(decl, ast.Ask)
        node = decl.prompt
        compiled = self.compiler.expr(node)

        def prompt(frame: Frame) -> Prompt:
            value = compiled(frame)
            if isinstance(value, Missing):
                raise MissingInput(value)
            made = value if isinstance(value, Prompt) else None
            if made is None and (text := render(value)) is not None and isinstance(value, str):
                made = of_text(text)
            if made is None:
                raise fail("E415", f"{describe(value)} is no prompt", node.span)
            if not made.messages:
                raise fail("E418", "this prompt has no message", node.span)
            return made

        return prompt

    def _judge_prompt(self, decl: ast.Judge, rubric: RubricMaker) -> Callable[[Frame], Prompt]:
        call = decl.rubric
        assert isinstance(call, ast.Call)
        args = [(a.name, self.compiler.expr(a.value)) for a in call.args]
        values = ordered(rubric.name, rubric.params, len(rubric.params), args, call.span)
        axes = refs(call, args)

        def prompt(frame: Frame) -> Prompt:
            inside = bound(rubric.params, values, axes, frame)
            for param in rubric.params:
                if isinstance(inside[param], Missing):
                    raise MissingInput(inside[param])
            messages = rubric.messages(inside)
            if not messages:
                raise fail("E418", f"the rubric `{rubric.name}` has no message", call.span)
            return Prompt(messages)

        return prompt


def _decided(rules: list[Rule], frame: Frame, matched: set[Span]) -> dict[str, Any]:
    """Return the parameters that `set` rules give; two that disagree are a fault, whatever their order."""
    found: dict[str, tuple[Any, Rule]] = {}
    for rule in rules:
        if rule.condition is not None and rule.condition(frame) is not True:
            continue
        matched.add(rule.span)
        value = rule.value(frame)
        known = found.get(rule.parameter)
        if known is not None and known[0] != value:
            raise EvalFault(
                Diagnostic(
                    code="E410",
                    message=f"two `set`s give one cell different values of `{rule.parameter}`",
                    span=rule.span,
                    labels=(Label(span=known[1].span, text="the other one"),),
                    help="make their conditions exclude each other: order never decides",
                )
            )
        found[rule.parameter] = (value, rule)
    return {name: value for name, (value, _) in found.items()}


def _affordable(model: Model, params: Params, span: Span, budget: Span) -> None:
    """Under a budget, the most that a request can cost is known before it is sent."""
    said = unbounded(model, dict(params))
    if said is not None:
        code, message, note, help_ = said
        raise fail(code, message, span, labels=(Label(span=budget, text="the budget"),), note=note, help=help_)


def _agree(rubric: RubricMaker, model: Model, decided: set[str], span: Span) -> None:
    """A rubric's settings hold for whichever model judges: a model that says otherwise is a fault."""
    own = dict(model.params)
    for name, value in rubric.settings.items():
        if name in own and own[name] != value and name not in decided:
            raise fail(
                "E419",
                f"`{rubric.name}` wants {name} = {render(value) or value}, "
                f"and `{model.name}` sets {render(own[name]) or own[name]}",
                span,
                help=f"decide with `set` or `{{ {name} = ... }}` here",
            )


def _for_simulator(model: Model, params: Params, rubric: RubricMaker | None) -> Params:
    """A simulated judge is told what to answer with: all that changes an answer is in the key."""
    if rubric is None or model.service.name != SIM:
        return params
    told = dict(dict(params).get("sim") or {})
    reading = rubric.reading
    if reading.shape:
        told["shape"] = {p.name: _simulated_part(p) for p in reading.shape}
    elif reading.scale is not None:
        told["scale"] = (int(reading.scale[0]), int(reading.scale[1]))
    else:
        told["choices"] = reading.choices
    if reading.words:
        told["words"] = reading.words
    return merged(params, {"sim": told})


def _simulated_part(part: Part) -> Any:
    """Return what the simulated judge is told of a field: its kind, its ends or its labels."""
    if part.choices:
        return part.choices
    return (int(part.scale[0]), int(part.scale[1])) if part.scale is not None else part.kind
