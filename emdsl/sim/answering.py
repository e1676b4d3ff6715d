"""What the simulator says, whatever format it is asked in."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emdsl.parameters import IGNORED, Row, refusals
from emdsl.service import PROBE, SIM_MODELS
from emdsl.sim.judge import digit_by_digit, judge
from emdsl.sim.subject import answer
from emdsl.sim.truth import MARK, BadTruth, Draws

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OVERHEAD = 4  # tokens of a message, beside its words
DEFAULT_TOP = 20


class Refused(ValueError):
    """A request that a real server would refuse; `kind` is what it calls that, `param` the field."""

    def __init__(self, message: str, *, status: int = 400, kind: str = "", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, neutral of its format. `cut` is where a beginning is marked for the cache of prefixes, in messages."""

    model: str
    messages: list[dict[str, str]]
    told: Mapping[str, Any] = field(default_factory=dict)  # ground truth
    max_tokens: int | None = None
    thinks: bool = False
    top_logprobs: int | None = None
    cut: int | None = None

    @property
    def judges(self) -> bool:
        """Whether it is asked to judge: by its name, by what judges are asked first, or by a simulated answer in it."""
        if self.model in SIM_MODELS:
            return self.model == "judge"
        last = self.messages[-1]
        return last["role"] == "user" and (last["content"] == PROBE or bool(MARK.search(last["content"])))


Token = tuple[str, list[tuple[str, float]]]  # and its candidates, with their log probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer, neutral of its format; tokens are words, but for a judge that splits digits."""

    name: str
    text: str
    reasoning: str | None
    truncated: bool
    tokens: list[Token]  # at its beginning
    input_tokens: int
    output_tokens: int  # without reasoning
    reasoning_tokens: int


def respond(asked: Asked, body: str, sample: str) -> Said:
    """Return what is answered; the same body and sample always get the same. Raises Refused."""
    draws = Draws(body, sample)
    try:
        if asked.judges:
            text, found = judge(asked.messages, {"sim": asked.told}, draws)
            reasoning = None
        else:
            said = answer(asked.messages, {"sim": asked.told, "reasoning_effort": asked.thinks}, draws)
            text, reasoning, found = said.text, said.reasoning, [(said.text.split(" ")[0], 0.9)]
    except BadTruth as error:
        raise Refused(str(error), param="sim") from error
    splits = asked.told.get("split_digits") and asked.judges and text.isdecimal()
    words, glue = (list(text), "") if splits else (text.split(" "), " ")
    tokens = digit_by_digit(text, found) if splits else [(text, found)]
    thought = len(reasoning.split()) if reasoning else 0
    room = len(words) if asked.max_tokens is None else asked.max_tokens
    if reasoning and "thinks" in asked.told and asked.max_tokens is not None:  # it thinks within the same bound
        reasoning = " ".join(reasoning.split()[: asked.max_tokens])
        thought = min(thought, asked.max_tokens)
        room = asked.max_tokens - thought
    truncated = len(words) > room
    if truncated:
        text = glue.join(words[:room])
        tokens = tokens[:room] if splits else [(text, found)]
    top = asked.top_logprobs or DEFAULT_TOP
    return Said(
        name=draws.name, text=text, reasoning=reasoning, truncated=truncated,
        tokens=[(token, [(t, math.log(p)) for t, p in candidates[:top]]) for token, candidates in tokens],
        input_tokens=sum(len(m["content"].split()) + OVERHEAD for m in asked.messages),
        output_tokens=len(words[:room]), reasoning_tokens=thought,
    )  # fmt: skip


def checked(body: Any, known: Mapping[str, Any], unknown: str) -> dict[str, Any]:
    """Return a body whose fields are all known; `unknown` says what is said of others."""
    if not isinstance(body, dict):
        raise Refused("the body is no JSON object")
    for name in body:
        if name not in known:
            raise Refused(unknown.format(name), param=name)
    return body


def refused_by_table(provider: str, model: str, params: Mapping[str, Any], *, thinking: bool) -> tuple[str, Row] | None:
    """Return the first setting that a model does not take, by our name for it, and the row that says so."""
    for name, _, row in refusals(provider, model, params, thinking=thinking):
        if row.sure and row.takes != IGNORED:
            return name, row
    return None


def number(
    body: Mapping[str, Any], name: str, low: float, high: float, say: Callable[[str, Any, float, bool], Refused]
) -> None:
    """Refuse a field that is no number within bounds; one that is absent is right.

    `say` makes the complaint in a format's words: of a name, its value, the bound and whether it is the lower one.
    """
    value = body.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise say(name, value, math.nan, True)
    if not low <= value <= high:
        raise say(name, value, low if value < low else high, value < low)
