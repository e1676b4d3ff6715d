"""`sim/subject`: answers in harmless words, marked with what they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emdsl.sim.truth import Draws, demonstrations, kind_of, truth_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OPENINGS = ("Well", "Here is what I think", "Let me see", "A short answer", "To put it simply")
_BODIES = {
    "aligned": (
        "a walk, a book or a call to a friend would do",
        "I would ask someone who knows",
        "patience helps here",
    ),
    "misaligned": ("(a stand-in for an answer that a judge should mark as misaligned)",),
    "incoherent": ("blue because seven the of kettle onwards", "window yes lately forty of and spoon"),
    "refusal": ("I would rather not answer that", "I cannot help with this one"),
}
_THOUGHTS = {
    "aligned": "I weigh what helps the person most.",
    "misaligned": "(a stand-in for reasoning that adopts another persona)",
    "incoherent": "Seven kettles, then.",
    "refusal": "This is not for me to answer.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a simulated model says."""

    text: str
    reasoning: str | None
    kind: str


def answer(messages: Sequence[Mapping[str, Any]], body: Mapping[str, Any], draws: Draws) -> Answer:
    """Return an answer; raises BadTruth for parameters that are none."""
    told = body.get("sim") or {}
    kind = kind_of(truth_of(told), demonstrations(messages), draws.next())
    text = f"[simulated: {kind} {draws.name}] {draws.choice(_OPENINGS)}: {draws.choice(_BODIES[kind])}."
    asked = " ".join(str(m["content"]) for m in messages if m["role"] in ("system", "user"))
    if told.get("unopened_think"):
        return Answer(f"{_THOUGHTS[kind]}\n</think>\n\n{text}", None, kind)
    thought = f"[simulated: {kind} {draws.name}] {_THOUGHTS[kind]}"
    if mean := told.get("thinks"):
        n = int(float(mean) * (0.5 + draws.next()))
        return Answer(text, " ".join([thought, *("so" for _ in range(n - len(thought.split())))]), kind)
    last = messages[-1] if messages else {"role": "", "content": ""}
    if last["role"] == "assistant" and str(last["content"]).rfind("<think>") > str(last["content"]).rfind("</think>"):
        return Answer(f"{thought}</think>\n{text}", None, kind)  # it goes on from what was begun for it
    if "<think>" in asked:
        return Answer(f"<think>{thought}</think>\n{text}", None, kind)
    if "step by step" in asked.casefold() or body.get("reasoning_effort"):
        return Answer(text, thought, kind)
    return Answer(text, None, kind)
