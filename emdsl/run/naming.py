"""The names of a settled step in the frame of its row: its answer or verdict, and their fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emdsl.experiment import ASK
from emdsl.label_share import FIELD, LabelShare
from emdsl.logprobs import LabelWeights
from emdsl.reply_format import share
from emdsl.value import NO_LOGPROBS, NO_REASONING, NOT_REPORTED, LabelledMap, Missing

if TYPE_CHECKING:
    from emdsl.experiment import Step
    from emdsl.frame import Frame
    from emdsl.outcome import Result


def name_step(frame: Frame, step: Step, result: Result) -> None:
    """Give the names of a settled step their values."""
    name, value = step.name, result.value
    frame[name] = value
    if step.reply_format is not None:
        _name_verdict(frame, step, result)
    if step.kind != ASK:
        return
    response = result.response
    if response is None:
        for field_ in ("reasoning", "finish", "tokens", "logprobs"):
            frame[f"{name}.{field_}"] = value
        return
    frame[f"{name}.reasoning"] = result.reasoning if result.reasoning is not None else NO_REASONING
    frame[f"{name}.finish"] = response.finish
    tokens = response.usage.output_tokens
    frame[f"{name}.tokens"] = tokens if tokens is not None else NOT_REPORTED
    frame[f"{name}.logprobs"] = response.logprobs or NOT_REPORTED


def _name_verdict(frame: Frame, step: Step, result: Result) -> None:
    """Give the fields of a verdict their values, or those of an answer that was read."""
    assert step.reply_format is not None
    name, verdict, parts = step.name, result.value, step.reply_format.shape
    if step.kind == ASK:
        parts = step.reply_format.parts
        verdict = verdict if isinstance(verdict, Missing) else result.reading
    for part in parts:
        frame[f"{name}.{part.name}"] = verdict.get(part.name) if isinstance(verdict, LabelledMap) else verdict
    if step.weighs:
        weights = result.weights
        none = verdict if isinstance(verdict, Missing) else NO_LOGPROBS
        frame[f"{name}.mass"] = weights.mass if weights is not None else none
        frame[f"{name}.word_mass"] = weights.word_mass if weights is not None else none
        shares = weights if isinstance(weights, LabelWeights) and not isinstance(verdict, Missing) else None
        for label in step.labels:
            frame[f"{name}.{share(label)}"] = shares.share(label) if shares is not None else none
        if step.reply_format.choices:
            frame[f"{name}.{FIELD}"] = LabelShare(shares, none)
