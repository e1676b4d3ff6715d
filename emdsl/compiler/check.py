"""Rules about programs without errors: each looks at an experiment and the requests that it would send.

A rule warns, or reports a request that its provider would refuse. `dry_render` chooses the requests.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from emdsl.body import EXTRA, FieldConflict, as_sent, field_conflicts, format_of, merge_fields, setting_fields
from emdsl.capability import max_answer_tokens, may_reason, reasons_by_default, unsupported, unsupported_prompt
from emdsl.compiler.leaks import leaks
from emdsl.compiler.measure_specs import MEASURES
from emdsl.compiler.written import called, written
from emdsl.digest import digest
from emdsl.experiment import ASK
from emdsl.lang import ast
from emdsl.parameters import PREFILL
from emdsl.query import keyed
from emdsl.source import Label
from emdsl.value import Row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emdsl.capability import Unsupported
    from emdsl.compiler.check_input import CheckInput
    from emdsl.compiler.dry_render import Request
    from emdsl.compiler.faults import Faults
    from emdsl.experiment import Experiment, Measure, Step
    from emdsl.query import Model, RequestSettings
    from emdsl.source import Span

CHARACTERS_A_TOKEN = 4  # of English text, roughly
MIN_REASONING = 1_000  # tokens: models think that much of the shortest question
MAX_SHOWN = 60  # characters of an expression in a help
MIN_WHOLE = 128  # tokens of output under which many answers are cut
_ASKED_TO_REASON = re.compile(r"<think|step[- ]by[- ]step|reason(?:ing)?\b", re.IGNORECASE)


def check(experiment: Experiment, requests: list[Request], given: CheckInput, faults: Faults) -> None:
    """Take every rule through an experiment; what they find gathers in `faults`."""
    for rule in RULES:
        rule(experiment, requests, given, faults)


def _of_each_head(requests: list[Request]) -> Iterable[Request]:
    """Return the first request of each head: a step's requests with the same settings share theirs."""
    first: dict[int, Request] = {}
    for request in requests:
        first.setdefault(id(request.head), request)
    return first.values()


def equal_requests(experiment: Experiment, requests: list[Request], _: CheckInput, faults: Faults) -> None:
    """Cells that render one request share its answers: they are not independent."""
    heads: dict[int, bytes] = {}
    for step in experiment.steps:
        first: dict[Any, Request] = {}
        copies: list[tuple[Request, Request]] = []
        for request in (r for r in requests if r.step is step and step.kind == ASK and r.prompt.messages):
            if id(request.head) not in heads:
                heads[id(request.head)] = request.without_messages
            other = first.setdefault((request.prompt, heads[id(request.head)]), request)
            if other is not request:
                copies.append((other, request))
        if copies and not (
            faults.has("W401", experiment.whole) or faults.has("W404", experiment.whole)
        ):  # equal values say why already
            one, two = copies[0]
            n = f"{len(copies)} cell{'s send' if len(copies) > 1 else ' sends'} the same request as another cell"
            faults.warning(
                "W403", n, step.span,
                note=f"`{two.shown}` and `{one.shown}` share their answers, and measures count them once",
                help="exclude the duplicates with `skip when`",
            )  # fmt: skip


def equal_bodies(experiment: Experiment, requests: list[Request], __: CheckInput, faults: Faults) -> None:
    """Requests that are sent alike under two keys are paid for twice: 0.3 and 0.30000000000000000001 are one number."""
    bodies: dict[int, tuple[Any, Any]] = {}  # by head: the request without its messages, and the head's digest
    first: dict[Any, tuple[Any, Request]] = {}
    for request in (r for r in requests if r.prompt.messages):
        head = request.head
        if id(head) not in bodies:
            bodies[id(head)] = _sent(head), digest("head", head.model.identity, keyed(head.params))
        sent, key = bodies[id(head)]
        other_key, other = first.setdefault((sent, request.prompt), (key, request))
        if other_key != key and sent is not None:
            axes = [i for i in request.step.settings_axes if request.levels.get(i) != other.levels.get(i)]
            if request.step is not other.step:
                who = f"`{other.step.name}` and `{request.step.name}`"
                labels = [Label(span=other.step.span, text="the other request")]
            else:
                who = f"the cells `{_cell(experiment, axes, other)}` and `{_cell(experiment, axes, request)}`"
                labels = [Label(span=experiment.axes[i].span, text="the axis with both values") for i in axes]
            faults.warning(
                "W741", f"{who} send the same request, but it would be paid for twice", request.step.span,
                labels=tuple(labels), note=_two_ways(dict(other.head.params), dict(head.params)),
                help="remove one of the two values, or write both in the same way",
            )  # fmt: skip


def _cell(experiment: Experiment, axes: list[int], request: Request) -> str:
    """Return the levels of a request on some axes, as people call them."""
    pairs = ((experiment.axes[i], request.levels[i]) for i in axes)
    return ", ".join(f"{axis.name} = {called(axis.levels[level])[:40]}" for axis, level in pairs)


def _two_ways(one: dict[str, Any], two: dict[str, Any]) -> str:
    """Return the parameters in which two equal requests differ, as written."""
    differ = [n for n in sorted({*one, *two}) if one.get(n) != two.get(n)]
    if not differ:
        return "their models are sent as one"
    first, second = (
        ", ".join(f"{n} = {written(params[n])}" for n in differ if n in params) for params in (one, two)
    )  # fmt: skip
    if not first or not second:
        return f"`{first or second}` changes nothing in the request"
    return f"`{first}` and `{second}` reach the provider as one value, but are stored as two answers"


def _sent(head: RequestSettings) -> Any:
    """Return the model, headers, draw and body of a request, without its messages; None for a body with a fault."""
    params = dict(head.params)
    try:
        body = merge_fields(setting_fields(head.model, params, format_of(head.model, params)))
    except FieldConflict:  # reported as E739
        return None
    return digest("model", *head.model.identity), head.replicate, as_sent(body)


def greedy_samples(experiment: Experiment, requests: list[Request], _: CheckInput, faults: Faults) -> None:
    """At temperature 0 the draws of a cell are alike, or nearly so."""
    warned: set[str] = set()
    for request in _of_each_head(requests):
        step, params = request.step, dict(request.head.params)
        many = (step.kind == ASK and experiment.samples > 1 and not step.prompt_sample) or step.draw > 0
        if many and params.get("temperature") == 0 and step.name not in warned:
            warned.add(step.name)
            n = experiment.samples if step.kind == ASK else step.draw + 1
            faults.warning(
                "W734", f"`{step.name}` draws {n:,} samples at temperature 0", step.span,
                note="the samples would be nearly identical, and an interval over them meaningless",
                help="set a higher `temperature`, or `samples = 1`",
            )  # fmt: skip


def too_long(_: Experiment, requests: list[Request], __: CheckInput, faults: Faults) -> None:
    """A prompt past the context length comes back as an error, or cut."""
    longest: dict[str, tuple[int, Request]] = {}
    for request in requests:
        context = request.head.model.context
        if context is None:
            continue
        sent = sum(len(m.text) for m in request.prompt.messages) // CHARACTERS_A_TOKEN
        tokens = sent + (max_answer_tokens(request.head.model, dict(request.head.params)) or 0)
        if tokens > context and tokens > longest.get(request.step.name, (0, None))[0]:
            longest[request.step.name] = (tokens, request)
    for name, (tokens, request) in longest.items():
        model = request.head.model
        faults.warning(
            "W733", f"`{name}` needs about {tokens:,} tokens, but the `context` of `{model.name}` is {model.context:,}",
            request.step.span, note=f"the prompt plus `max_tokens`, in {request.shown}",
            help="shorten the prompt, lower `max_tokens`, or exclude these cells with `skip when`",
        )  # fmt: skip


def parameters(_: Experiment, requests: list[Request], __: CheckInput, faults: Faults) -> None:
    """A parameter that a server refuses costs a run; one that it ignores costs the study."""
    # by step and certainty, then by model and parameter: the reason, where it is set, what to do
    objections_by_step: dict[
        tuple[str, bool], dict[tuple[str, str], tuple[str, str, str]]
    ] = {}  # by step, then model and parameter
    for request in _of_each_head(requests):
        model, step = request.head.model, request.step
        for objection in unsupported(model, dict(request.head.params)):
            by_param = objections_by_step.setdefault((step.name, objection.sure), {})
            by_param.setdefault((model.use, objection.param), (objection.why, *_remedy(objection, step, model)))
    spans = {r.step.name: r.step.span for r in requests}
    for (name, sure), by_param in objections_by_step.items():  # a place has one fault of a kind: all of a step together
        whys, places, ways = (list(dict.fromkeys(x)) for x in zip(*by_param.values(), strict=True))
        why, note, help_ = ("; ".join(x) for x in (whys, places, ways))
        if sure:
            faults.error("E736", why, spans[name], note=note, help=help_)
        else:
            more = "the model is newer than this version of emdsl, or its documentation is contradictory"
            faults.warning("W740", f"perhaps {why}", spans[name], note=f"{more}. {note}",
                           help=f"{help_}, or test it with `emdsl doctor FILE`")  # fmt: skip


def meeting_settings(_: Experiment, requests: list[Request], __: CheckInput, faults: Faults) -> None:
    """Two settings that are sent as one field: one would be lost, and both are in the key."""
    for request in _of_each_head(requests):
        model, step = request.head.model, request.step
        for met in field_conflicts(model, dict(request.head.params)):
            first, second = (_place(name, step, model) for name in met.settings)
            faults.error(
                "E739", f"{met}: one of them would be lost", second or step.span,
                labels=(Label(span=first, text=f"`{met.settings[0]}` is set here"),) if first is not None else (),
                help=f"keep one of them: {_take_back(met)}",
            )  # fmt: skip


def _take_back(met: FieldConflict) -> str:
    one, two = met.settings
    if two == EXTRA:
        return f"remove `{met.path}` from `extra`, or `{one}` (`{one} = none`, without quotes, if it is inherited)"
    return f"remove `{one}` or `{two}` (`{two} = none`, without quotes, if it is inherited)"


def _place(name: str, step: Step, model: Model) -> Span | None:
    """Return the place at which a parameter of a request is set."""
    return step.set_at.get(name) or step.set_by_rubric.get(name) or model.places.get(name)


def _remedy(objection: Unsupported, step: Step, model: Model) -> tuple[str, str]:
    """Return the place of a parameter that is not supported, and what to do."""
    name = objection.param
    if name == "top_logprobs":
        if not step.rubric:
            return f"`read` of {_statement(step)} requests token probabilities (`top`)", "use `read = number`"
        other = f"`{step.rubric}_number` or " if step.rubric in ("alignment", "coherence") else ""
        return (
            f"the rubric `{step.rubric}` requests token probabilities (`top`)",
            objection.help or f"use {other}a rubric with `read = number`",
        )
    if name == "json_schema":
        of = f"the rubric `{step.rubric}`" if step.rubric else _statement(step)
        back = "remove `strict = true`: the reply is read without it too; or use another model, see `emdsl models`"
        return f"`strict = true` of {of} sends a JSON schema", back
    if name in step.set_at:
        place, back = f"`{name}` is set in this statement, or by a `set`", f"remove `{name}`"
    elif name in step.set_by_rubric:
        place, back = (
            f"`{name}` is set by the rubric `{step.rubric}`",
            f"add `{{ {name} = none }}` to {_statement(step)}",
        )
    else:
        place = f"`{name}` is set in `{model.name}`, or in its base model"
        back = f"remove `{name}`, or write `{name} = none` in `{model.name}`"
    if objection.value:
        return place, f"`{name}` must be {objection.help}" if objection.help[:1].isdigit() else objection.help
    return place, f"{back}; {objection.help}" if objection.help else back


def short_answers(_: Experiment, requests: list[Request], __: CheckInput, faults: Faults) -> None:
    """What a model thinks counts as output: with few tokens nothing is left to answer with."""
    warned: set[tuple[str, str]] = set()
    for request in _of_each_head(requests):
        model, step, params = request.head.model, request.step, dict(request.head.params)
        most = max_answer_tokens(model, params)
        if most is None or most >= MIN_REASONING or not reasons_by_default(model, params):
            continue
        if (step.name, model.use) not in warned:
            warned.add((step.name, model.use))
            faults.warning(
                "W737", f"`{model.wire_name}` has only {most:,} tokens for reasoning and answer together", step.span,
                note="its answers would be empty or rejected",
                help=f"add `{{ max_tokens = 4000 }}` to {_statement(step)}, or use a model without reasoning"
                if "max_tokens" not in step.set_at
                else f"raise `max_tokens` of {_statement(step)}, e.g. to 4000, or use a model without reasoning",
            )  # fmt: skip


def _statement(step: Step) -> str:
    """Return what a help calls the statement of a step."""
    return f"`{step.kind} {step.name}`"


def cut_answers(experiment: Experiment, requests: list[Request], given: CheckInput, faults: Faults) -> None:
    """Answers that few tokens cut off are judged and counted as whole ones."""
    warned: set[str] = set()
    for request in _of_each_head(requests):
        step = request.step
        most = max_answer_tokens(request.head.model, dict(request.head.params))
        measure = next((m for m in experiment.measures if step.name in m.asks), None)
        if most is None or most >= MIN_WHOLE or step.kind != ASK or measure is None:
            continue
        if step.reply_format is not None or step.name in warned | given.finish_read:  # a cut number is not read
            continue
        warned.add(step.name)
        complete = f'{step.name}.finish == "stop"'
        faults.warning(
            "W738", f"answers longer than {most:,} tokens are truncated, but counted as complete",
            step.set_at.get("max_tokens", step.span), labels=(Label(span=measure.span, text="counts cut answers"),),
            help=f"raise `max_tokens`, or exclude cut answers: `{_given(measure, complete)}`",
        )  # fmt: skip


def _given(measure: Measure, condition: str) -> str:
    """Return the function of a measure with one more condition, as a program writes it."""
    function = measure.of or measure.function
    if measure.value is None:
        return f"{function}({condition})"
    if measure.condition is not None:
        either = isinstance(measure.condition, ast.Logic) and measure.condition.op == "or"
        own = _short(measure.condition, "CONDITION")
        condition = f"{f'({own})' if either else own} and {condition}"
    rest = ", ..." if len(MEASURES[function].positional) > 1 else ""
    return f"{function}({_short(measure.value, '...')} given {condition}{rest})"


def _short(node: ast.Expr, instead: str) -> str:
    """Return an expression as written, or something instead of a long one."""
    text = " ".join(node.span.text.split())
    return text if len(text) <= MAX_SHOWN else instead


def messages(_: Experiment, requests: list[Request], given: CheckInput, faults: Faults) -> None:
    """A last message of the assistant is the start of the answer, which not every provider takes; and more such."""
    reported: set[tuple[str, str]] = set()
    for request in requests:
        if not request.prompt.messages:
            continue
        model, step = request.head.model, request.step
        prompt, last = given.last_messages.get(step.name, ("the prompt", None))
        objection = unsupported_prompt(model, dict(request.head.params), request.prompt.messages, prompt)
        if objection is not None and (step.name, model.use) not in reported:
            reported.add((step.name, model.use))
            at_end = objection.param == PREFILL
            faults.error(
                "E735", objection.why, step.span, note="" if request.shown == "this cell" else f"in {request.shown}",
                labels=(Label(span=last, text="the last message"),) if at_end and last else (), help=objection.help,
            )  # fmt: skip


def unasked_reasoning(_: Experiment, requests: list[Request], given: CheckInput, faults: Faults) -> None:
    """Reasoning is missing where nothing asks for it."""
    for name, span in given.reasoning_read.items():
        mine = [r for r in requests if r.step.name == name]
        if mine and not any(_reasons(r) for r in mine):
            faults.warning(
                "W531", f"`{name}.reasoning` will be missing: `{name}` does not request reasoning", span,
                labels=(Label(span=mine[0].step.span, text="the request"),),
                help=f'add `{{ reasoning_effort = "low" }}` to {_statement(mine[0].step)}, or let the prompt ask for '
                "the reasoning inside `<think></think>`",
            )  # fmt: skip


def _reasons(request: Request) -> bool:
    params, model = dict(request.head.params), request.head.model
    if not request.prompt.messages:
        return True  # it may: its prompt reads an answer
    asked = any(_ASKED_TO_REASON.search(m.text) for m in request.prompt.messages if m.role in ("system", "user"))
    last = request.prompt.messages[-1]
    begun = last.role == "assistant" and last.text.rfind("<think>") > last.text.rfind("</think>")
    return (
        asked
        or begun
        or bool({"reasoning_effort", "reasoning_tokens", "reasoning_summary", "extra"} & set(params))
        or may_reason(model)
    )


def conditional_measures(experiment: Experiment, __: list[Request], given: CheckInput, faults: Faults) -> None:
    """A rate over judgements that run only `when` something holds is a rate among those."""
    for name, (span, condition) in given.conditional.items():
        measure = next(m for m in experiment.measures if m.whole.start <= span.start < m.whole.end)
        faults.warning(
            "W532", f"`{name}` has a `when` condition: this measure counts only the rows where it holds", span,
            help=f"make it explicit: `{_given(measure, condition)}`",
        )  # fmt: skip


def pooled_intervals(experiment: Experiment, __: list[Request], ___: CheckInput, faults: Faults) -> None:
    """An interval that takes all answers as independent, where several answer one question."""
    rows = [a for a in experiment.axes if len(a.levels) > 1 and all(isinstance(x.value, Row) for x in a.levels)]
    if not rows or experiment.samples == 1:
        return
    axis = max(rows, key=lambda a: len(a.levels))
    for measure in experiment.measures:
        clusters = measure.interval.clusters if measure.interval is not None else None
        if clusters is not None and clusters.written and clusters.items_only and (axis.name,) not in measure.by:
            faults.warning(
                "W852", f"`{measure.name}` pools {experiment.samples:,} samples of each level of `{axis.name}`",
                measure.span, note=f"its interval is too narrow for conclusions beyond these levels of `{axis.name}`",
                help=f"remove `cluster: none`, so that draws are clustered by `{axis.name}`",
            )  # fmt: skip


def idle_sets(_: Experiment, __: list[Request], given: CheckInput, faults: Faults) -> None:
    """A `set` whose condition holds in no cell."""
    for span in given.idle_sets:
        faults.warning(
            "W405", "the condition of this `set` holds in no cell", span, help="correct its condition, or delete it"
        )


def idle_axes(_: Experiment, __: list[Request], given: CheckInput, faults: Faults) -> None:
    """An axis that no step reads makes cells that send the same."""
    for name, span in given.unread_axes:
        faults.warning(
            "W404", f"the axis `{name}` is not used: all its levels send the same requests", span,
            help=f"use it in a prompt or a parameter, e.g. `{{ temperature = {name} }}`, or delete it",
        )  # fmt: skip


def overlap(experiment: Experiment, _: list[Request], __: CheckInput, faults: Faults) -> None:
    """A question that is also a demonstration is answered from the context."""
    warned: set[int] = set()
    for leak in leaks(experiment):
        axis = experiment.axes[leak.axis]
        if leak.axis in warned:
            continue
        warned.add(leak.axis)
        of_rows = isinstance(axis.levels[0].value, Row)
        faults.warning(
            "W736",
            f"{len(leak.levels)} of the {len(axis.levels)} {'rows' if of_rows else 'levels'} of `{axis.name}` are "
            "also demonstrations in their own prompt",
            axis.span,
            note=f'one of them: "{leak.text[:60]}"',
            labels=(Label(span=leak.step.span, text="this prompt contains the demonstrations"),),
            help="exclude them from the demonstrations: `[r for r in DATASET if r.COLUMN != q.COLUMN]`",
        )


RULES = (
    idle_axes,
    equal_requests,
    equal_bodies,
    greedy_samples,
    too_long,
    parameters,
    meeting_settings,
    short_answers,
    cut_answers,
    messages,
    unasked_reasoning,
    conditional_measures,
    pooled_intervals,
    idle_sets,
    overlap,
)
