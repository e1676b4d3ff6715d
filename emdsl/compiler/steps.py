"""`ask` and `judge` statements to steps: which request a cell and sample makes, and what it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.capability import why_unbounded
from emdsl.compiler import settings as tables
from emdsl.compiler.arguments import argument, by_parameter, call_frame
from emdsl.compiler.cell_choices import format_by_cell
from emdsl.compiler.choice_texts import CHOICES
from emdsl.compiler.models import check_truth, merged
from emdsl.compiler.ordering import circle, in_order
from emdsl.compiler.set_rules import SetRule, parameter_reader, parameters_set, set_rules
from emdsl.compiler.written import describe, written
from emdsl.experiment import ASK, JUDGE, Step
from emdsl.frame import Fn, Frame, MissingInput, fail
from emdsl.json_schema import sent_for
from emdsl.lang import ast
from emdsl.prompt import Prompt, of_text
from emdsl.query import Model, Params, RequestSettings
from emdsl.service import SIM
from emdsl.source import Label, Span
from emdsl.value import Missing, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emdsl.compiler.callables import RubricMaker
    from emdsl.compiler.faults import Faults
    from emdsl.compiler.local_scope import LocalScope
    from emdsl.compiler.resolve import Resolver
    from emdsl.compiler.statements import Statements, WrittenStep
    from emdsl.reply_format import ReplyField, ReplyFormat

_NUMBERS = ("replicate", "again")  # settings that are one number for all cells


def steps_of(
    statements: Statements, local: LocalScope, resolver: Resolver, lets: Mapping[str, Fn], faults: Faults
) -> tuple[tuple[Step, ...], tuple[SetRule, ...]]:
    """Return the steps of an experiment, each after what it reads, and its `set` rules; faults are reported.

    Args:
        statements: The experiment as written.
        local: Its names.
        resolver: Makes models of values.
        lets: Every `let` as a function of a frame.
        faults: Takes the faults.
    """
    rules = set_rules(statements.sets, local, faults)
    budget = next((s.span for s in statements.settings if s.name.text == "budget"), None)
    maker = _StepMaker(local=local, resolver=resolver, faults=faults, lets=lets, budget=budget)
    steps: dict[str, Step] = {}
    for name, stmt in local.steps.items():
        if isinstance(stmt.decl, ast.Judge) and name not in local.rubrics:
            continue
        with faults.caught():
            own_rules = tuple(r for r in rules if r.step == stmt.written_name)
            steps[name] = maker.step(stmt, local.rubrics.get(name), own_rules)
    return _in_order(steps, faults), rules


def _in_order(steps: dict[str, Step], faults: Faults) -> tuple[Step, ...]:
    """Return steps so that each comes after what it reads; asks before judges if both can come next."""
    needs = {s.name: {*s.needs, *s.condition_needs} for s in sorted(steps.values(), key=lambda s: s.kind != ASK)}
    if members := [steps[n] for n in circle(needs)]:
        faults.error(
            "E404", "these steps depend on each other", members[0].span,
            help="remove one of the references",
            labels=tuple(Label(span=s.span, text="and this one") for s in members[1:]),
        )  # fmt: skip
        return tuple(steps.values())
    return tuple(steps[n] for n in in_order(needs))


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepMaker:
    local: LocalScope
    resolver: Resolver
    faults: Faults
    lets: Mapping[str, Fn]
    budget: Span | None  # where it is set

    def step(self, stmt: WrittenStep, rubric: RubricMaker | None, rules: tuple[SetRule, ...]) -> Step:
        """Return a step; faults of its settings are reported."""
        decl, local = stmt.decl, self.local
        model = self._model(decl, rubric)
        settings, numbers = self._settings(decl)
        reply_format = rubric.reply_format if rubric else local.formats.get(stmt.name)
        by_cell = format_by_cell(decl, reply_format, local.compiler)
        sent = [
            s.value for s in decl.settings
            if rubric or s.name.text not in tables.READING or (by_cell and s.name.text == CHOICES)
        ]  # fmt: skip
        head_reads = local.reads(decl.model, *sent)
        for name in sorted(head_reads & {*local.steps, "sample"}):
            parts = [x for x in (decl.model, *sent) if x is not None]
            span = next(x.span for x in parts if name in local.reads(x))
            self.faults.error(
                "E401", f"the model and parameters cannot depend on `{name}`: they are fixed before the run", span,
                help="use only axes and constants",
            )  # fmt: skip
        settings_axes = (head_reads & local.axes.keys()).union(*(rule.axes for rule in rules))
        set_at = {s.name.text: s.span for s in decl.settings} | {r.parameter: r.span for r in rules}
        prompt_reads = local.reads(decl.prompt if isinstance(decl, ast.Ask) else decl.rubric)
        return Step(
            name=stmt.name,
            kind=ASK if isinstance(decl, ast.Ask) else JUDGE,
            needs=tuple(n for n in local.steps if n in prompt_reads),
            settings=self._head(
                decl,
                model,
                settings,
                numbers.get("replicate", 0),
                rules,
                rubric,
                by_cell or (lambda _: reply_format),
                set_at,
            ),
            settings_axes=self._positions(settings_axes),
            prompt=self._prompt(decl, rubric),
            prompt_axes=self._positions(prompt_reads),
            prompt_sample="sample" in prompt_reads,
            condition=self._condition(stmt.conditions),
            condition_needs=local.steps_read(stmt.conditions),
            reply_format=reply_format,
            format_by_cell=by_cell,
            choices=next((s.value for s in decl.settings if s.name.text == CHOICES), None) if by_cell else None,
            draw=stmt.draw,
            again=numbers.get("again", 0),
            rubric=rubric.name if rubric else "",
            set_at=set_at,
            set_by_rubric=rubric.places if rubric else {},
            span=decl.name.span,
        )

    def _positions(self, names: frozenset[str]) -> tuple[int, ...]:
        return tuple(i for i, n in enumerate(self.local.axes) if n in names)

    def _condition(self, conditions: tuple[ast.Expr, ...]) -> Fn | None:
        if not conditions:
            return None
        if len(conditions) == 1:
            return self.local.compiler.expr(conditions[0])
        both = ast.Logic(op="and", items=conditions, span=conditions[0].span)
        return self.local.compiler.expr(both)

    def _model(self, decl: ast.Ask | ast.Judge, rubric: RubricMaker | None) -> Callable[[Frame], Model]:
        if decl.model is None:
            assert rubric is not None
            own = rubric.model
            if own is None:
                raise fail(
                    "E417", "this judge has no model", decl.span,
                    help=f"add `from MODEL` to this statement, or to the rubric `{rubric.name}`",
                )  # fmt: skip
            return lambda _: own
        node = decl.model
        compiled = self.local.compiler.expr(node)
        return lambda frame: self.resolver.as_model(compiled(frame), node.span)

    def _settings(self, decl: ast.Ask | ast.Judge) -> tuple[dict[str, Fn], dict[str, int]]:
        """Return the settings of a step as functions of the axes, and those that are one number for all cells."""
        kind, table = ("ask", tables.ASK) if isinstance(decl, ast.Ask) else ("judge", tables.JUDGE)
        settings: dict[str, Fn] = {}
        numbers: dict[str, int] = {}
        for item in decl.settings:
            name = item.name.text
            if kind == "ask" and name in tables.READING:
                continue  # read with the names of the experiment
            if name not in table:
                self.faults.add(tables.unknown_setting(name, item.name.span, kind, table))
            elif name in settings or name in numbers:
                self.faults.error("E203", f"`{name}` is set twice", item.name.span)
            elif name in _NUMBERS:
                numbers[name] = self._number(table[name], item.value)
            else:
                settings[name] = parameter_reader(name, item.value, self.local.compiler)
        return settings, numbers

    def _number(self, spec: tables.Spec, node: ast.Expr) -> int:
        """Return a setting that is one number for all cells; 0 for a fault, which is reported."""
        varying = sorted(self.local.reads(node) & {*self.local.axes, *self.local.steps, "sample"})
        if varying:
            self.faults.error(
                "E401", f"`{spec.name}` must be the same in all cells, but it depends on `{varying[0]}`", node.span,
                help=f"write a whole number: `{spec.name} = 1`",
            )  # fmt: skip
            return 0
        try:
            number: int = spec.read(self.local.compiler.expr(node)(Frame(self.local.constants, self.lets)))
        except tables.Refused as refused:
            self.faults.error("E520", f"`{spec.name}` must be {refused}", node.span)
            return 0
        return number

    def _head(
        self,
        decl: ast.Ask | ast.Judge,
        model: Callable[[Frame], Model],
        settings: Mapping[str, Fn],
        replicate: int,
        rules: tuple[SetRule, ...],
        rubric: RubricMaker | None,
        format_in: Callable[[Frame], ReplyFormat | None],
        set_at: Mapping[str, Span],
    ) -> Callable[[Frame], RequestSettings]:
        models, span = self.resolver.models, decl.model.span if decl.model is not None else decl.span

        def head(frame: Frame) -> RequestSettings:
            who, reply_format = model(frame), format_in(frame)
            inherited = rubric.settings if rubric else sent_for(reply_format) if reply_format is not None else {}
            own = {name: value(frame) for name, value in settings.items()}
            decided = parameters_set(rules, frame)
            if rubric is not None:
                _agree(rubric, who, {*own, *decided}, decl.span)
            params = merged(who.params, {**inherited, **own, **decided})
            truth = dict(params).get("sim") or {}  # of a real model: for `--sim` alone
            check_truth(truth, span, set_at)
            if who.service.name == SIM:
                params = _for_simulator(who, params, reply_format)
            else:
                params = tuple(p for p in params if p[0] != "sim")
                params = merged(who.service.implied_params, dict(params))
            if models.simulate:
                who, params = models.simulated(who, params, truth, judge=rubric is not None)
                params = _for_simulator(who, params, reply_format)
            if self.budget is not None:
                _affordable(who, params, span, self.budget)
            return RequestSettings(who, params, replicate)

        return head

    def _prompt(self, decl: ast.Ask | ast.Judge, rubric: RubricMaker | None) -> Callable[[Frame], Prompt]:
        if rubric is not None:
            assert isinstance(decl, ast.Judge)
            return self._judge_prompt(decl, rubric)
        assert isinstance(decl, ast.Ask)
        node = decl.prompt
        compiled = self.local.compiler.expr(node)

        def prompt(frame: Frame) -> Prompt:
            value = compiled(frame)
            if isinstance(value, Missing):
                raise MissingInput(value)
            made = value if isinstance(value, Prompt) else None
            if made is None and (text := render(value)) is not None and isinstance(value, str):
                made = of_text(text)
            if made is None:
                raise fail("E415", f"expected a prompt after `with`, got {describe(value)}", node.span,
                           help="use a text or a `prompt`")  # fmt: skip
            if not made.messages:
                raise fail("E418", "this prompt has no messages", node.span,
                           help="give it at least one message in every cell")  # fmt: skip
            return made

        return prompt

    def _judge_prompt(self, decl: ast.Judge, rubric: RubricMaker) -> Callable[[Frame], Prompt]:
        call = decl.rubric
        assert isinstance(call, ast.Call)
        given = [(a.name, argument(a, self.local.compiler.expr(a.value))) for a in call.args]
        args = by_parameter(rubric.name, rubric.params, len(rubric.params), given, call.span)

        def prompt(frame: Frame) -> Prompt:
            inside = call_frame(args, frame)
            for param in rubric.params:
                if isinstance(inside[param], Missing):
                    raise MissingInput(inside[param])
            messages = rubric.messages(inside)
            if not messages:
                raise fail("E418", f"the rubric `{rubric.name}` has no messages", call.span)
            return Prompt(messages)

        return prompt


def _affordable(model: Model, params: Params, span: Span, budget: Span) -> None:
    """Under a budget, the most that a request can cost is known before it is sent."""
    fault = why_unbounded(model, dict(params))
    if fault is not None:
        code, message, note, help_ = fault
        raise fail(code, message, span, labels=(Label(span=budget, text="the budget"),), note=note, help=help_)


def _agree(rubric: RubricMaker, model: Model, decided: set[str], span: Span) -> None:
    """A rubric's settings hold for whichever model judges: a model with other ones is a fault."""
    own = dict(model.params)
    for name, value in rubric.settings.items():
        if name in own and own[name] != value and name not in decided:
            raise fail(
                "E419",
                f"the rubric `{rubric.name}` sets `{name} = {written(value)}`, "
                f"but the model `{model.name}` sets `{name} = {written(own[name])}`",
                span,
                help=f"choose one value: add `{{ {name} = ... }}` to this statement",
            )


def _for_simulator(model: Model, params: Params, reply_format: ReplyFormat | None) -> Params:
    """Give a simulated model what it answers with: all that changes an answer is in the key."""
    if reply_format is None or model.service.name != SIM:
        return params
    truth = dict(dict(params).get("sim") or {})
    if reply_format.shape:
        truth["shape"] = {p.name: _simulated_part(p) for p in reply_format.shape}
    elif reply_format.scale is not None:
        truth["scale"] = (int(reply_format.scale[0]), int(reply_format.scale[1]))
    else:
        truth["choices"] = reply_format.choices
    if reply_format.words:
        truth["words"] = reply_format.words
    return merged(params, {"sim": truth})


def _simulated_part(part: ReplyField) -> Any:
    """Return a field as the simulator needs it: its kind, its ends or its labels."""
    if part.choices:
        return part.choices
    return (int(part.scale[0]), int(part.scale[1])) if part.scale is not None else part.kind
