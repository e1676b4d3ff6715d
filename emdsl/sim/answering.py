"""The simulator's answers, independent of wire formats."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.parameters import IGNORED, Row, refusals
from emdsl.service import PROBE, SIM_MODELS
from emdsl.sim.judge_model import digit_by_digit, judge
from emdsl.sim.subject_model import reply
from emdsl.sim.truth import MARK, BadTruth, Draws

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OVERHEAD = 4  # tokens of a message in addition to its words
DEFAULT_TOP = 20


class Refused(ValueError):
    """A request that a real server would refuse; `kind` is its error code, `param` the field."""

    def __init__(self, message: str, *, status: int = 400, kind: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request in no wire format. `cut` is the number of messages before the mark of the prompt cache."""

    model: str
    messages: list[dict[str, str]]
    sim: Mapping[str, Any] = field(default_factory=dict)  # ground truth
    max_tokens: int | None = None
    thinks: bool = False
    top_logprobs: int | None = None
    cut: int | None = None

    @property
    def is_for_judge(self) -> bool:
        """Whether it is for a judge: by the model, by the probe of judges, or by a simulated answer in it."""
        if self.model in SIM_MODELS:
            return self.model == "judge"
        last = self.messages[-1]
        return last["role"] == "user" and (last["content"] == PROBE or bool(MARK.search(last["content"])))


Token = tuple[str, list[tuple[str, float]]]  # with its candidates and their log probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer in no wire format; tokens are words, or digits for a judge with `split_digits`."""

    name: str
    text: str
    reasoning: str | None
    truncated: bool
    tokens: list[Token]  # the first ones
    input_tokens: int
    output_tokens: int  # without reasoning
    reasoning_tokens: int


def respond(request: Request, body: str, sample: str) -> Answer:
    """Answer a request; equal bodies and samples get equal answers. Raises Refused."""
    draws = Draws(body, sample)
    try:
        if request.is_for_judge:
            text, candidates = judge(request.messages, {"sim": request.sim}, draws)
            reasoning = None
        else:
            subject = reply(request.messages, {"sim": request.sim, "reasoning_effort": request.thinks}, draws)
            text, reasoning, candidates = subject.text, subject.reasoning, subject.candidates
    except BadTruth as error:
        raise Refused(str(error), param="sim") from error
    splits = request.sim.get("split_digits") and text.isdecimal()
    words, glue = (list(text), "") if splits else (text.split(" "), " ")
    tokens = digit_by_digit(text, candidates) if splits else [(text, candidates)]
    reasoning_tokens = len(reasoning.split()) if reasoning else 0
    room = len(words) if request.max_tokens is None else request.max_tokens
    if reasoning and "thinks" in request.sim and request.max_tokens is not None:  # reasoning counts towards the maximum
        reasoning = " ".join(reasoning.split()[: request.max_tokens])
        reasoning_tokens = min(reasoning_tokens, request.max_tokens)
        room = request.max_tokens - reasoning_tokens
    truncated = len(words) > room
    if truncated:
        text = glue.join(words[:room])
        tokens = tokens[:room] if splits else [(text, candidates)]
    top = request.top_logprobs or DEFAULT_TOP
    return Answer(
        name=draws.name, text=text, reasoning=reasoning, truncated=truncated,
        tokens=[(token, [(t, math.log(p)) for t, p in pairs[:top]]) for token, pairs in tokens],
        input_tokens=sum(len(m["content"].split()) + OVERHEAD for m in request.messages),
        output_tokens=len(words[:room]), reasoning_tokens=reasoning_tokens,
    )  # fmt: skip


def check_fields(body: Any, known: Mapping[str, Any], unknown: str) -> dict[str, Any]:
    """Return a body whose fields are all known; `unknown` is the message for any other field."""
    if not isinstance(body, dict):
        raise Refused("the body is not a JSON object")
    for name in body:
        if name not in known:
            raise Refused(unknown.format(name), param=name)
    return body


def refused_by_table(provider: str, model: str, params: Mapping[str, Any], *, thinking: bool) -> tuple[str, Row] | None:
    """Return the first setting that a model does not support, by our name, and its row of the table."""
    for name, _, row in refusals(provider, model, params, thinking=thinking):
        if row.sure and row.takes != IGNORED:
            return name, row
    return None


def check_number(
    body: Mapping[str, Any], name: str, low: float, high: float, error: Callable[[str, Any, float, bool], Refused]
) -> None:
    """Refuse a field that is not a number within bounds; an absent field passes.

    `error` makes the error in the words of a format: of a name, its value, the bound and whether it is the lower one.
    """
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise error(name, value, math.nan, True)
    if not low <= value <= high:
        raise error(name, value, low if value < low else high, value < low)
